"""The one way this suite says that the user's input is at fault."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input, explained in one sentence that says what is wrong, where, and what to do.

    Everything that can be traced to a config key, a file or a command line raises this; anything else that
    escapes is a bug of ours and keeps its traceback.
    """


def run_cli(main: Callable[[], None]) -> None:
    """Run a command line's ``main``; a `UserError` becomes one line on stderr and exit status 2.

    Set ``CAUSAL2VEC_TRACEBACK=1`` to see the traceback all the same.
    """
    try:
        main()
    except UserError as error:
        if os.environ.get("CAUSAL2VEC_TRACEBACK"):
            raise
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
