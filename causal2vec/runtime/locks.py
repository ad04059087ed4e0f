"""One process at a time. The kernel frees these locks when their holder ends, however it ends.

On a file system without locks (some cluster disks) nothing is locked, and Snakemake's own guard is all there is.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class InUseError(Exception):
    """Somebody else holds the lock; the message says who, as far as is known."""


def try_lock(path: Path) -> IO[str] | None:
    """Lock a file, which is made if it is not there, for as long as the returned handle is open.

    Returns:
        The handle; ``None`` where the file system knows no locks.

    Raises:
        BlockingIOError: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("a+", encoding="utf-8"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return None
        stack.pop_all()
        return file


def take(path: Path) -> IO[str] | None:
    """`try_lock`, with the name of this process in the file.

    Raises:
        InUseError: Another process holds it.
    """
    try:
        file = try_lock(path)
    except BlockingIOError as error:
        raise InUseError(_holder(path)) from error
    if file is None:
        return None
    file.truncate(0)
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}")
    file.flush()
    return file


def _holder(path: Path) -> str:
    """Who has the lock. Whoever has just got it writes its name a moment later, over that of the one before."""
    for _ in range(20):
        time.sleep(0.1)
        if holder := path.read_text(encoding="utf-8").strip():
            return holder
    return "an unknown process"


@contextlib.contextmanager
def alone(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock on a file, whose content stays as it is; wait for whoever has it.

    Args:
        path: Made if it is not there.
        waiting: Called once if there is something to wait for.
    """
    try:
        file = try_lock(path)
    except BlockingIOError:
        waiting()
        file = path.open("a", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
    with file or contextlib.nullcontext():
        yield
