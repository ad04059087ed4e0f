"""Files that are either whole or absent: atomic writes, checksums."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from causal2vec.errors import UserError

DRAFT = ".draft"
"""Part of the name of everything that is not finished."""

ABANDONED_SECONDS = 2 * 24 * 3600
"""A draft of another machine of this age is nobody's any more."""

CHECKSUM = "sha256_of_the_rest"
"""The key of a record that holds its own checksum."""

SETTLED = "finished.json"
"""In a folder of work in progress: its result is whole."""

WORK = "work.json"
"""In a folder of work in progress: the settings and inputs that it is for."""

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where the suite's own configuration lies."""

_numbers = itertools.count()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(folder: Path, skip: Callable[[Path], bool] = lambda path: False) -> str:
    """SHA-256 over the relative names and contents of all files below ``folder``, in sorted order.

    ``skip`` tells, of a path relative to the folder, whether it does not count, such as a manifest that holds this very
    hash.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".snakemake_timestamp"):
        if not skip(name := path.relative_to(folder)):
            digest.update(f"{name.as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON-serialisable value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that takes its place, whole, when the block ends well.

    On any error the half-written folder is removed and an earlier ``target`` stays as it was.
    """
    draft = draft_of(target)
    draft.mkdir()
    try:
        yield draft
        if target.exists():
            # A folder cannot take another's place at once; a kill in between leaves none, never a mixture.
            old = draft_of(target)
            target.replace(old)
            draft.replace(target)
            shutil.rmtree(old)
        else:
            draft.replace(target)
    except BaseException as error:
        _note_size(error, draft)
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a draft path beside ``target`` that is moved into place when the block ends well."""
    draft = draft_of(target)
    try:
        yield draft
        draft.replace(target)
    except BaseException as error:
        _note_size(error, draft)
        raise
    finally:
        draft.unlink(missing_ok=True)


def draft_of(target: Path) -> Path:
    """A name beside ``target`` that says whose draft it is; what dead processes left of theirs is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*{DRAFT}*"):
        remove_draft(left)
    owner = f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
    return target.with_name(f".{target.name}.{owner}{DRAFT}{target.suffix}")


def remove_draft(draft: Path) -> bool:
    """Remove a draft if the process that made it, on this machine, is dead, or nobody has touched it for days.

    Returns:
        Whether it was abandoned.
    """
    found = re.search(rf"\.(?P<host>[^/]+)-(?P<pid>\d+)-\d+{re.escape(DRAFT)}", draft.name)
    if found is None:
        return False
    try:
        if found["host"].endswith(f".{socket.gethostname()}"):
            abandoned = not _is_alive(int(found["pid"]))
        else:
            abandoned = draft.stat().st_mtime < time.time() - ABANDONED_SECONDS
        if abandoned:
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
    except FileNotFoundError:  # somebody else removes it
        return True
    return abandoned


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _note_size(error: BaseException, draft: Path) -> None:
    """Where a disk was full, how much had been written of what did not fit (`causal2vec.errors`)."""
    with contextlib.suppress(OSError):
        paths = draft.rglob("*") if draft.is_dir() else [draft]
        written = sum(path.stat().st_size for path in paths if path.is_file())
        error.__dict__.setdefault("draft", (draft.parent, written))


def take_up(state: Path, work: dict[str, Any], keep: tuple[str, ...] = ()) -> None:
    """Take a folder for a work in progress: what is there of the same work is gone on with, all else is set aside.

    Args:
        state: The folder.
        work: All settings and the content of all inputs, as JSON can hold them.
        keep: Names of files in the folder that stay, whatever work they are of.
    """
    work = json.loads(json.dumps(work, default=str))
    known = read_record(state / WORK)
    if known == work:
        return
    left = [path for path in state.iterdir() if path.name not in keep] if state.is_dir() else []
    if left:
        aside = state.with_name(f"{state.name}.{sha256_json(known)[:8]}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for path in left:
            path.rename(aside / path.name)
        differing = ", ".join(_differing(known, work)) if known else "it does not say which"
        said = f"{state} holds unfinished work of other settings or inputs ({differing})"
        logging.getLogger(__name__).warning("%s; it was moved to %s", said, aside)
        sys.stderr.write(f"warning: {said}; it was moved to {aside}, and this begins anew\n")
    state.mkdir(parents=True, exist_ok=True)
    write_record(state / WORK, work)


def _differing(one: Any, other: Any, key: str = "") -> Iterator[str]:
    """The keys, with dots, at which two values of JSON differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from _differing(one.get(name), other.get(name), f"{key}.{name}" if key else name)
    elif one != other:
        yield key


def settle(state: Path, output: Path, *, keep: bool) -> None:
    """Be done with the folder of a work in progress, once its result is whole.

    Args:
        state: The folder.
        output: The result.
        keep: Leave it until somebody has taken note of the result (`causal2vec.runtime.resume`): until then Snakemake
            would delete a result whose job was killed in its last moment, and all of the work would have to be done
            again.
    """
    if keep:
        state.mkdir(parents=True, exist_ok=True)
        write_record(state / SETTLED, {"output": str(output)})
    else:
        shutil.rmtree(state, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_record(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON mapping with its own checksum inside, for `read_record`."""
    write_json(path, {**value, CHECKSUM: sha256_json(value)})


def read_record(path: Path) -> dict[str, Any] | None:
    """What `write_record` wrote; ``None`` if there is no such file, or it is not what was written."""
    try:
        value = read_json(path)
    except (UserError, OSError):
        return None
    if not isinstance(value, dict):
        return None
    checksum = value.pop(CHECKSUM, None)
    return value if checksum == sha256_json(value) else None


def located(name: str | Path) -> Path:
    """A file that a configuration names, ``~`` allowed: in the working folder, or else the suite's own of that name.

    Another working folder (Snakemake's ``--directory``) has no ``config`` unless the user puts one there.
    """
    path = Path(name).expanduser()
    return CHECKOUT / path if not path.exists() and (CHECKOUT / path).exists() else path


def read_yaml(path: Path, advice: str) -> Any:
    """Read a YAML file, `located` if there is none of that name.

    Raises:
        UserError: The file is absent (``advice`` says what to do then) or not YAML.
    """
    return _parsed(located(path), yaml_value, "YAML", (advice, advice, "correct it"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is absent or not JSON.
    """
    again = "make it again or name another file"
    wrong = "delete it and run the same command again"
    return _parsed(path, json_value, "JSON", ("make it first or name another file", again, wrong))


def _parsed(path: Path, parse: Callable[[str], Any], kind: str, remedies: tuple[str, str, str]) -> Any:
    """A file's value; the remedies are for one that is absent, cannot be read, or is not of its kind."""
    absent, unreadable, wrong = remedies
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {absent}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {unreadable}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid {kind} ({error}); {wrong}") from error


MAX_VALUES = 1_000_000
"""More values than a file of settings has, aliases unfolded: a file that lets a few lines stand for millions."""


class _Loader(yaml.SafeLoader):
    """Plain data only, and no key twice in a mapping, of which the last would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        known = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in known:
                    said = f"the key '{key.value}' stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
                known.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """A number in the form in which people write numbers: YAML's 060 is 48, and its 12:00:00 is 43200."""
        is_whole = node.tag.endswith("int")
        value = self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)
        digits = node.value.lstrip("+-")
        if ":" in digits or (is_whole and re.match(r"0[0-9_]", digits)):
            base = 60 if ":" in digits else 8
            said = f"'{node.value}' is {value} in YAML, to the base {base}; write {value}, or quote a text"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return value


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def yaml_value(text: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        ValueError: Why it is none, in one line; ``line 3: ...`` where the place is known.
    """
    try:
        value = _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        where = f"line {place.line + 1}: " if place else ""
        raise ValueError(f"{where}{error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise ValueError(f"character {error.position + 1} is not allowed in YAML") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # A value whose form promises a number or a date, but that is none, such as 2026-02-31.
        raise ValueError(f"a value is not what its form says: {' '.join(str(error).split())}") from None
    if fault := fault_of(value):
        raise ValueError(fault)
    return value


def json_value(text: str) -> Any:
    """The value that a JSON text holds.

    Raises:
        ValueError: Why it is none, in one line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(str(error).partition(";")[0]) from None


def fault_of(value: Any) -> str:
    """Why plain data cannot be written to a file again, in words; empty if it can.

    It leads into itself, or a text in it holds half a character, which no UTF-8 can say.
    """
    left = [value]
    for _ in range(MAX_VALUES):
        if not left:
            return ""
        found = left.pop()
        if isinstance(found, str) and not found.isascii():
            try:
                found.encode()
            except UnicodeEncodeError as error:
                return f"a text holds half a character (\\u{ord(found[error.start]):x})"
        elif isinstance(found, dict):
            left += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple | set):
            left += found
    return f"it unfolds to more than {MAX_VALUES:,} values, or to itself"
