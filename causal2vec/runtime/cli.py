"""The commands' common ending: one sentence for the user, an exit status for the shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from causal2vec.errors import UserError, explained


def run_cli(main: Callable[[], None]) -> None:
    """Run a command line's ``main``; a `UserError` becomes one line on stderr and exit status 2.

    So does what the machine lacks (`explained`). Set ``CAUSAL2VEC_TRACEBACK=1`` to see the traceback all the
    same.
    """
    from causal2vec.runtime.resume import have_home

    try:
        have_home()
        main()
    except Exception as error:
        from causal2vec.runtime.secrets import mask

        known = error if isinstance(error, UserError) else explained(error)
        if known is None or os.environ.get("CAUSAL2VEC_TRACEBACK"):
            raise
        sys.stderr.write(f"error: {mask(str(known))}\n")
        sys.exit(known.status or 2)
