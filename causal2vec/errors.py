"""The one way this suite says that the user's input is at fault."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input, explained in one sentence that says what is wrong, where, and what to do.

    Everything that can be traced to a config key, a file, a command line or the machine raises this; anything else that
    escapes is a bug of ours and keeps its traceback.
    """

    status: int | None = None
    """Exit status of the process, where it is to be another than the usual one."""


class StoppedError(UserError):
    """Work that was told to stop by a signal and can go on later.

    Args:
        message: As for any `UserError`.
        signal: The signal's number; the process ends with 128 and this, as a shell reports it and schedulers know it.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.status = 128 + signal


def run_cli(main: Callable[[], None]) -> None:
    """Run a command line's ``main``; a `UserError` becomes one line on stderr and exit status 2.

    So does what the machine lacks (`causal2vec.faults`). Set ``CAUSAL2VEC_TRACEBACK=1`` to see the traceback all the
    same.
    """
    from causal2vec.home import have_home

    try:
        have_home()
        main()
    except Exception as error:
        from causal2vec.faults import explained
        from causal2vec.masking import mask

        known = error if isinstance(error, UserError) else explained(error)
        if known is None or os.environ.get("CAUSAL2VEC_TRACEBACK"):
            raise
        sys.stderr.write(f"error: {mask(str(known))}\n")
        sys.exit(known.status or 2)
