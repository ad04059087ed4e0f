"""Full disks, folders that cannot be written, too little memory: said in one sentence, whichever library met them."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from causal2vec.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)
_FULL_WORDS = re.compile(r"No space left on device|Disk quota exceeded|os error 28\b|os error 122\b", re.IGNORECASE)
_DENIED_WORDS = re.compile(r"Read-only file system|Permission denied|os error 30\b|os error 13\b", re.IGNORECASE)
_MEMORY_WORDS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|cannot allocate memory|malloc of size",
    re.IGNORECASE,
)
_ASKED = re.compile(r"(?:allocate|of size|size:?) ([\d.]+) ?(bytes|GiB|MiB|GB|MB)?", re.IGNORECASE)
_UNITS = {"bytes": 1.0, "": 1.0, "mib": 2.0**20, "gib": 2.0**30, "mb": 1e6, "gb": 1e9}

AGAIN = "then run the same command again: what is finished is kept"


def explained(error: BaseException, places: Sequence[Path] = (), *, memory: str = "") -> UserError | None:
    """The sentence for an error that is the machine's and not ours; ``None`` for any other.

    Args:
        error: What was raised; its causes count, too.
        places: Folders that were being written to; the fullest disk among theirs is named where the error itself names
            none.
        memory: What lowers the need for memory, for example ``lower budget.mini_batch_size``.
    """
    for cause in _chain(error):
        number, words = getattr(cause, "errno", None), str(cause)
        if number in _FULL or (number is None and _FULL_WORDS.search(words)):
            return UserError(_no_room(cause, places))
        if isinstance(cause, MemoryError) or number == errno.ENOMEM or _MEMORY_WORDS.search(words):
            return UserError(_no_memory(words, memory))
        if number in _DENIED or (number is None and _DENIED_WORDS.search(words)):
            return UserError(_not_writable(cause, places))
    return None


def check_room(folder: Path, needed: int, what: str) -> None:
    """Stop before writing what the disk cannot hold.

    Args:
        folder: Where it will be written; it need not be there yet.
        needed: Bytes.
        what: For the sentence, for example ``the model``.

    Raises:
        UserError: With the room needed and the room there is.
    """
    free = _free(folder)
    if needed > free:
        raise UserError(
            f"{folder} has no room for {what}: it needs {_size(needed)}, but {_size(free)} are free on its disk; "
            f"make room, {AGAIN}"
        )


def _no_room(error: BaseException, places: Sequence[Path]) -> str:
    folder, written = getattr(error, "draft", (None, 0))
    if folder is None:
        named = getattr(error, "filename", None)
        candidates = [Path(os.fsdecode(named)).parent] if named else [Path(place) for place in places]
        folder = min(candidates or [Path.cwd()], key=_free)
    need = f"more than the {_size(written)} that had been written" if written else "more room"
    return (
        f"the disk of {folder} is full: this job needs {need}, and {_size(_free(folder))} are free there; make room, "
        f"{AGAIN}"
    )


def _not_writable(error: BaseException, places: Sequence[Path]) -> str:
    named = getattr(error, "filename", None)
    where = os.fsdecode(named) if named else ", ".join(map(str, places)) or str(Path.cwd())
    why = "is on a read-only disk" if getattr(error, "errno", None) == errno.EROFS else "may not be read or written"
    return f"{where} {why} by user {os.geteuid()}; make it writable, or work in another folder, {AGAIN}"


def _no_memory(words: str, remedy: str) -> str:
    asked = _ASKED.search(words)
    size = float(asked[1]) * _UNITS[(asked[2] or "").lower()] if asked else 0.0
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    limited = f" (its limit is {_size(limit)}: ulimit -v)" if limit != resource.RLIM_INFINITY else ""
    need = f"; the last request was for {_size(size)}" if size else ""
    return (
        f"this job ran out of memory{limited}{need}; {remedy or 'run fewer jobs at once (--cores)'}, or give it more "
        f"memory, {AGAIN}"
    )


def _free(place: Path) -> int:
    """Free bytes on the disk of a file or folder that need not be there."""
    place = place.absolute()
    return shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
