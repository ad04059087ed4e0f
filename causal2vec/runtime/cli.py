"""The commands' common ending: one sentence for the user, an exit status for the shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from causal2vec.errors import UserError, explained
from causal2vec.runtime.folders import have_home
from causal2vec.runtime.secrets import mask


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """End the process with one line on stderr and exit status 2 where the input or the machine is at fault.

    Set ``CAUSAL2VEC_TRACEBACK=1`` to see the traceback all the same.
    """
    try:
        yield
    except Exception as error:
        known = error if isinstance(error, UserError) else explained(error)
        if known is None or os.environ.get("CAUSAL2VEC_TRACEBACK"):
            raise
        sys.stderr.write(f"error: {mask(str(known))}\n")
        sys.exit(known.status or 2)


def run_cli(main: Callable[[], None]) -> None:
    """Run a command line's ``main``, `in_one_sentence`."""
    with in_one_sentence():
        have_home()
        main()
