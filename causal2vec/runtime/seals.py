"""Every artefact carries its checksum: sealed when it is made, compared before it is used, never believed if damaged.

A seal is a small file in the study's ``work/STUDY/seals``, beside the artefacts and not in them, so that they keep
their formats. What has no seal (a user's own file, results copied from elsewhere) is left to the checks of whoever
reads it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from causal2vec.runtime.files import read_record, sha256_file, write_record
from causal2vec.runtime.folders import Folders, study_of

_MARKERS = (".snakemake_timestamp",)


def seal(artefact: Path, *, made: int | None = None) -> None:
    """Record size, time and SHA-256 of a file, or of every file in a folder.

    Args:
        artefact: A file or a folder.
        made: When it was made, in nanoseconds since 1970; now, unless it is only sealed anew.
    """
    files = {name: [*_facts(path), sha256_file(path)] for name, path in _files(artefact)}
    write_record(_seal_of(artefact), {"made": time.time_ns() if made is None else made, "files": files})


def seal_copy(artefact: Path, original: Path) -> None:
    """Seal the copy of a folder whose files have kept their times, without reading them again."""
    write_record(_seal_of(artefact), {**(read_record(_seal_of(original)) or {}), "made": time.time_ns()})


def unseal(artefact: Path) -> None:
    """Forget an artefact that is about to be made anew."""
    _seal_of(artefact).unlink(missing_ok=True)


def is_sealed(artefact: Path) -> bool:
    """Whether there is something to compare an artefact with."""
    return _seal_of(artefact).is_file()


def damage(artefact: Path, *, thorough: bool = True) -> str | None:
    """What is wrong with a sealed artefact, or ``None``.

    Files beyond those that were sealed are no damage.

    Args:
        artefact: A file or a folder.
        thorough: Read every byte. Else only files whose size or time has changed since they were sealed: quick enough
            for every artefact of a study at once.
    """
    place = _seal_of(artefact)
    if not place.is_file():
        return None
    record = read_record(place)
    if record is None:
        return "its seal is damaged"
    present, changed = dict(_files(artefact)), False
    for name, (size, changed_at, checksum) in record["files"].items():
        shown = name or artefact.name
        if name not in present:
            return f"{shown} is gone"
        facts = _facts(present[name])
        if facts[0] != size:
            return f"{shown} has {facts[0]:,} bytes, not {size:,}"
        if thorough or facts[1] != changed_at:
            found = sha256_file(present[name])
            if found != checksum:
                return f"{shown} has the SHA-256 {found[:12]}…, not {checksum[:12]}…"
            changed |= facts[1] != changed_at
    if changed:  # copied or touched, but the same bytes: next time its time is as it should be
        seal(artefact, made=record["made"])
    return None


def content(artefact: Path) -> str:
    """SHA-256 over an artefact's file names and bytes; a file that is as it was sealed is not read again."""
    known = (read_record(_seal_of(artefact)) or {"files": {}})["files"]
    digest = hashlib.sha256()
    for name, path in _files(artefact):
        *facts, checksum = known.get(name, [None])
        digest.update(f"{name}\0{checksum if facts == [*_facts(path)] else sha256_file(path)}\n".encode())
    return digest.hexdigest()


def sealed(folders: Folders) -> Iterator[Path]:
    """All artefacts of a study that have a seal, whether they are still there or not."""
    seals = folders.seals
    for place in sorted(seals.rglob("*.seal")):
        yield place.relative_to(seals).with_suffix("")


def set_aside(artefact: Path) -> Path:
    """Move a damaged artefact out of the way and break its seal; where it is now.

    So it is made anew, and yet can be looked at.
    """
    target = study_of(artefact).work / "damaged" / str(artefact).replace("/", "__")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    if artefact.exists():
        shutil.move(artefact, target)
    unseal(artefact)
    return target


def _seal_of(artefact: Path) -> Path:
    return study_of(artefact).seals / f"{artefact}.seal"


def _files(artefact: Path) -> Iterator[tuple[str, Path]]:
    """Relative names (empty for a file itself) and paths, sorted."""
    if artefact.is_file():
        yield "", artefact
        return
    for path in sorted(artefact.rglob("*")):
        if path.is_file() and path.name not in _MARKERS:
            yield path.relative_to(artefact).as_posix(), path


def _facts(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
