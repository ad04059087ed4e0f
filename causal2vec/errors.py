"""The one way this suite says that the user's input is at fault."""

from __future__ import annotations

import difflib
import errno
import importlib.util
import os
import re
import resource
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args


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
    for cause in chain(error):
        number, words = getattr(cause, "errno", None), str(cause)
        if number in _FULL or (number is None and _FULL_WORDS.search(words)):
            return UserError(_no_room(cause, places))
        if isinstance(cause, MemoryError) or number == errno.ENOMEM or _MEMORY_WORDS.search(words):
            return UserError(_no_memory(words, memory))
        if number in _DENIED or (number is None and _DENIED_WORDS.search(words)):
            return UserError(_not_writable(cause, places))
    return None


def check_room(folder: Path, needed: int, what: str, remedy: str = "make room") -> None:
    """Stop before writing what the disk cannot hold.

    Args:
        folder: Where it will be written; it need not be there yet.
        needed: Bytes.
        what: For the sentence, for example ``the model``.
        remedy: What to do.

    Raises:
        UserError: With the room needed and the room there is.
    """
    free = _free(folder)
    if needed > free:
        raise UserError(
            f"{folder} has no room for {what}: it needs {_size(needed)}, but {_size(free)} are free on its disk; "
            f"{remedy}, {AGAIN}"
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


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, each once: causes can go round in a circle."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__ or current.__context__


def hint(word: str, known: list[str]) -> str:
    """`` (did you mean 'x'?)`` if a known word is near, else the known words, else nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else (f" (known: {', '.join(known)})" if known else "")


def one_line(error: Exception) -> str:
    """The first sentence of what a library's error says, in one line; its kind where it says nothing."""
    text = " ".join(str(error).split())
    return re.split(r"(?<=[\w)`'])\. (?=[A-Z])", text)[0][:400].removesuffix(".") or type(error).__name__


_PATTERNS = {
    r"^[0-9a-f]{64}$": "SHA-256 of 64 hexadecimal digits in lower case; it stands beside the file on the package "
    "index, or `sha256sum FILE` computes it",
    r"^[^+]+\+\w+=.+$": "variant in the form METHOD+KEY=VALUE, such as causal2vec+place=after_instruction",
    r"^[a-z]{3}-[A-Z][a-z]{3}$": "language with its script, such as eng-Latn, deu-Latn or zho-Hans",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "name of a study (letters, digits and . _ -), as folders are called so",
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "name of a task (letters, digits, _ and -)",
    r"^[A-Za-z0-9][A-Za-z0-9._+-]*$": "name (letters, digits and . _ + -); a model is named by its key under models, "
    "and organisation/name belongs to its repository there",
}
"""What is meant by a pattern, in words."""


def fault_sentence(fault: Any, key: str, known: Sequence[str] = (), remedy: str = "") -> str:
    """One fault of pydantic's as 'key: what is wrong; what to do'.

    Args:
        fault: One of ``ValidationError.errors()``.
        key: Where it is.
        known: The keys that are valid there, to propose the nearest one for a typing slip.
        remedy: What to do, where that is not to correct the key by hand.
    """
    key = key if key.isprintable() else ascii(key)[1:-1]
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}'{hint(str(fault['loc'][-1]), list(known))}; remove it or correct its name"
    if fault["type"] == "missing":
        return f"key '{key}' is missing; {remedy or 'add it'}"
    if fault["type"] == "value_error":  # our own words, which say what to do where no remedy is given
        message = fault["msg"].removeprefix("Value error, ") + (f"; {remedy}" if remedy else "")
        return f"{key}: {message}" if key else message
    if fault["type"] == "string_pattern_mismatch" and (meant := _PATTERNS.get(fault["ctx"]["pattern"])):
        return f"{key}: {_shown(fault['input'])} is no {meant}; {remedy or 'correct it'}"
    if fault["type"] in ("dict_type", "model_type", "model_attributes_type"):
        message = "Input should be a mapping"
    else:
        message = fault["msg"].partition(" after validation")[0]
    return f"{key or 'the whole'}: {message}, but is {_shown(fault['input'])}; {remedy or 'correct it'}"


def checked(kind: Any, value: Any, where: object, remedy: str, also: Sequence[str] | None = None) -> Any:
    """A value from a file as a type of pydantic's, or as a ``TypeAdapter`` makes it.

    Args:
        kind: The type.
        value: As it was read.
        where: The file, for the sentence.
        remedy: What to do.
        also: Names that are valid elsewhere, to propose for a typing slip; given, all faults are said and not only the
            first, with the keys that are known where each is.

    Raises:
        UserError: ``where`` and under which key, what is wrong, and the ``remedy``.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return (kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)).validate_python(value)
    except ValidationError as error:
        said: dict[str, str] = {}
        for fault in error.errors():
            # Without what pydantic calls the forms that one value may have.
            key = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("constrained-"))
            near = difflib.get_close_matches(key, also or ())
            known = [] if also is None else [*_fields_at(kind, fault["loc"][:-1]), *near]
            said.setdefault(key, fault_sentence(fault, key, known, remedy))
        faults = list(said.values())
        raise UserError(f"{where}: {'; '.join(faults[:1] if also is None else faults)}") from error


def _fields_at(kind: Any, location: Sequence[int | str]) -> list[str]:
    """The keys that a model of pydantic's, or one inside it, knows at a location, found by its annotations."""
    for part in location:
        if part in getattr(kind, "model_fields", ()):
            kind = kind.model_fields[part].annotation
            kind = next((inner for inner in (kind, *get_args(kind)) if hasattr(inner, "model_fields")), kind)
    return list(getattr(kind, "model_fields", ()))


def _shown(value: Any) -> str:
    """A value as Python writes it, no longer than it takes to recognise it."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def module_exists(name: str) -> bool:
    """Whether Python finds a module of this name; imports at most the packages above it."""
    try:
        return bool(name) and importlib.util.find_spec(name) is not None
    except Exception:  # a package above it that does not import, or a name that no module can have
        return False
