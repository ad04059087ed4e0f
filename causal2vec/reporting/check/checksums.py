"""``SHA256SUMS``: one line per result file, in the format of ``sha256sum``, so that ``sha256sum -c`` reads it too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from causal2vec.errors import UserError
from causal2vec.reporting.check.findings import Findings
from causal2vec.runtime.files import sha256_file, write_text

SUMS = "SHA256SUMS"
"""The file of checksums in a results folder."""

NOT_OURS = ("bench", "README.md")
"""What stands in a results folder besides a study's results: what ``make bench`` writes, and the folder's guide."""

MARKERS = (".snakemake_timestamp",)
"""Snakemake's own files, which differ from copy to copy."""

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def write_checksums(results: Path, parts: Iterable[Path] | None = None, workers: int = 1) -> int:
    """Write ``SHA256SUMS`` of a results folder.

    Args:
        results: The folder.
        parts: The files and folders in it that a study made; None for all that is in it. What is listed nowhere is
            what `causal2vec.reporting.check.verify_results` calls extra.
        workers: Files that are read at once.

    Returns:
        How many files are listed.

    Raises:
        UserError: A part is missing or lies outside the folder, or a file cannot be read.
    """
    files = listed_files(results)
    if parts is not None:
        chosen = [_inside(part, results) for part in parts]
        files = [name for name in files if any(_is_within(name, part) for part in chosen)]
    sums = hashed(results, files, workers)
    unreadable = [name for name in files if name not in sums]
    if unreadable:
        raise UserError(f"{results / unreadable[0]} is no file that can be read; delete it, then run snakemake again")
    write_text(results / SUMS, "".join(_line(sums[name], name) for name in files))
    return len(files)


def listed_files(results: Path) -> list[str]:
    """Paths of all files in a results folder that checksums are about, relative to it, sorted."""
    found = (path for path in results.rglob("*") if path.is_symlink() or not path.is_dir())
    names = sorted(path.relative_to(results).as_posix() for path in found)
    return [
        name
        for name in names
        if name != SUMS and PurePosixPath(name).name not in MARKERS and not any(_is_within(name, n) for n in NOT_OURS)
    ]


def hashed(results: Path, names: Iterable[str], workers: int = 1) -> dict[str, str]:
    """SHA-256 of files, by their relative path; a path without a readable file is left out."""
    names = list(names)
    with ThreadPoolExecutor(max(1, workers)) as pool:  # hashing lets other threads run
        found = pool.map(lambda name: _sha256(results / name), names)
        return {name: value for name, value in zip(names, found, strict=True) if value}


def read_checksums(path: Path) -> tuple[dict[str, str], list[int]]:
    """The checksums by relative path, and the numbers of lines that are none.

    Raises:
        UserError: There is no such file.
    """
    try:
        lines = path.read_bytes().decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    except OSError as error:
        raise UserError(f"{path} does not exist; finish the run, which writes it last") from error
    sums: dict[str, str] = {}
    bad = []
    for number, line in enumerate(lines, start=1):
        found = _LINE.fullmatch(line)
        name = found and (_unescaped(found[3]) if found[1] else found[3])
        if not found or not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            bad.append(number)
        else:
            sums[name] = found[2]
    return sums, bad


def check_checksums(results: Path, findings: Findings, *, models: bool = True, workers: int = 1) -> None:
    """Compare every file with its line in ``SHA256SUMS``, and find the files without one.

    Args:
        results: The folder.
        findings: Takes what is found.
        models: Whether the models' files are looked at; they are often left behind when results are copied.
        workers: Files that are read at once.
    """
    try:
        sums, bad = read_checksums(results / SUMS)
    except UserError:
        findings.add(SUMS, "is missing, so that no file can be held against its checksum", "copy it too")
        return
    present = listed_files(results)
    if not models:
        present, sums = _without_models(present), {n: sums[n] for n in _without_models(sums)}
    found = hashed(results, [name for name in present if name in sums], workers)
    extra = [name for name in present if name not in sums]
    missing = [name for name in sums if name not in found]
    for name in sorted(found.keys() - missing):
        if found[name] != sums[name]:
            findings.add(
                name, f"its content is not what {SUMS} says (SHA-256 {found[name][:12]}…, not {sums[name][:12]}…)"
            )
    moved = {value: name for name, value in hashed(results, extra, workers).items()} if missing and extra else {}
    for name in missing:
        new = moved.get(sums[name])
        if new in extra:
            extra.remove(new)
            findings.renamed.add(new)
            findings.add(name, f"is now called {new}", "give it its name back")
        else:
            findings.add(name, f"is missing, or cannot be read, but stands in {SUMS}")
    if bad:
        # Files without a line may be those of the broken lines.
        findings.add(SUMS, f"line {bad[0]} is no checksum and path within the folder", "copy the file again")
    else:
        for name in extra:
            findings.add(name, f"is not in {SUMS}: no part of this study made it", "delete it or move it away")
    own = sha256_file(results / SUMS)[:12]
    findings.count(len(sums), "file", f"{SUMS} {own}{'' if models else ', models left out'}")


def _without_models(names: Iterable[str]) -> list[str]:
    return [name for name in names if not _is_within(name, "models")]


def _sha256(path: Path) -> str | None:
    try:
        return sha256_file(path) if path.is_file() else None  # reading a pipe would never end
    except OSError:
        return None


def _inside(part: Path, results: Path) -> str:
    try:
        name = part.absolute().relative_to(results.absolute()).as_posix()
    except ValueError as error:
        raise UserError(f"{part} is not in {results}; name files and folders in it") from error
    if not part.exists():
        raise UserError(f"{part} does not exist; make it first or leave it out")
    return name


def _is_within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}/")


def _line(value: str, name: str) -> str:
    """A line as sha256sum writes it: with a backslash before it where the path is escaped."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{value}  {escaped}\n"


def _unescaped(name: str) -> str:
    return re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], name)
