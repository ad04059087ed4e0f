"""``SHA256SUMS``: one line per result file, in the format of ``sha256sum``, so that ``sha256sum -c`` reads it too.

Beside it what any check of a results folder finds: `Findings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from causal2vec.errors import UserError
from causal2vec.reporting.read.visible import one_line
from causal2vec.runtime.files import sha256_file, write_text

SUMS = "SHA256SUMS"
"""The file of checksums in a results folder."""

NOT_OURS = ("bench", "README.md")
"""What stands in a results folder besides a study's results: what ``make bench`` writes, and the folder's guide."""

MARKERS = (".snakemake_timestamp",)
"""Snakemake's own files, which differ from copy to copy."""

AGAIN = "copy it again from where it was made, or delete it and run snakemake again"
"""What to do about a file that is not what it was."""


@dataclass
class Findings:
    """Failures by file, notes, and counts for the verdict.

    Attributes:
        failures: Path relative to the results folder -> what is wrong and what to do. A later, more exact finding on
            a file takes the place of an earlier one, so that one fault gives one line.
        notes: What could not be checked, and why; no failures.
        counts: What was checked, in words, for the verdict.
    """

    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)

    def add(self, where: str, what: str, remedy: str = AGAIN) -> None:
        """Record that the file or folder ``where`` is not what it should be."""
        self.failures[where] = f"{' '.join(what.split())}; {remedy}"

    def add_error(self, where: str, error: Exception, root: Path) -> None:
        """Record what was said of a file that cannot be read; its path is shown relative to the folder ``root``."""
        if not (where in self.failures and "does not exist" in str(error)):  # that it is missing has been said
            self.failures[where] = str(error).replace(f"{root}/", "").removeprefix(where).lstrip(":, ")

    def failed(self, *where: str) -> str | None:
        """The first of these files, or of the files in these folders, that failed."""
        return next((f for w in where for f in sorted(self.failures) if f == w or f.startswith(f"{w}/")), None)

    def skip(self, what: str, *needed: str) -> bool:
        """Whether ``what`` cannot be made or held against what it is made of, as some of that failed; notes it."""
        bad = self.failed(*needed)
        if bad:
            self.notes.append(f"{what}, as {bad} failed")
        return bad is not None

    def lines(self) -> list[str]:
        """One line per failure, one per note, and the verdict."""
        failures = [f"FAILED {where}: {what}" for where, what in sorted(self.failures.items())]
        notes = [f"note: {note}" for note in self.notes]
        count = len(self.failures)
        verdict = f"{'NOT verified' if count else 'verified'}: {', '.join(self.counts)}; {_plural(count, 'failure')}"
        return [one_line(line) for line in (*failures, *notes, verdict)]

    def count(self, number: int, word: str, remark: str = "") -> None:
        """Add a count to the verdict, such as "12 files" with a remark in brackets."""
        self.counts.append(f"{_plural(number, word)}{f' ({remark})' if remark else ''}")


def _plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


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
    files = _listed_files(results)
    if parts is not None:
        chosen = [_inside(part, results) for part in parts]
        files = [name for name in files if any(_is_within(name, part) for part in chosen)]
    sums = _hashed(results, files, workers)
    if unreadable := [name for name in files if name not in sums or "\n" in name]:
        shown = one_line(str(results / unreadable[0]))
        raise UserError(f"{shown} is no file that can be read and listed; delete it, then run snakemake again")
    write_text(results / SUMS, "".join(f"{sums[name]}  {name}\n" for name in files))
    return len(files)


def _inside(part: Path, results: Path) -> str:
    try:
        name = part.absolute().relative_to(results.absolute()).as_posix()
    except ValueError as error:
        raise UserError(f"{part} is not in {results}; name files and folders in it") from error
    if not part.exists():
        raise UserError(f"{part} does not exist; make it first or leave it out")
    return name


def _listed_files(results: Path) -> list[str]:
    """Paths of all files in a results folder that checksums are about, relative to it, sorted."""
    found = (path for path in results.rglob("*") if path.is_symlink() or not path.is_dir())
    names = sorted(path.relative_to(results).as_posix() for path in found if path.name not in MARKERS)
    return [name for name in names if not any(_is_within(name, other) for other in (SUMS, *NOT_OURS))]


def _is_within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}/")


def _hashed(results: Path, names: list[str], workers: int = 1) -> dict[str, str]:
    """SHA-256 of files, by their relative path; a path without a readable file is left out."""
    with ThreadPoolExecutor(max(1, workers)) as pool:  # hashing lets other threads run
        found = pool.map(lambda name: _sha256(results / name), names)
        return {name: value for name, value in zip(names, found, strict=True) if value}


def _sha256(path: Path) -> str | None:
    try:
        return sha256_file(path) if path.is_file() else None  # reading a pipe would never end
    except OSError:
        return None


def read_checksums(path: Path) -> tuple[dict[str, str], list[int]]:
    """The checksums by relative path, and the numbers of lines that are none.

    Raises:
        FileNotFoundError: There is no such file.
    """
    sums: dict[str, str] = {}
    bad = []
    lines = path.read_bytes().decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        if found and not PurePosixPath(found[2]).is_absolute() and ".." not in PurePosixPath(found[2]).parts:
            sums[found[2]] = found[1]
        else:
            bad.append(number)
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
    except OSError:
        findings.add(SUMS, "is missing, so that no file can be held against its checksum", "copy it too")
        return
    present = _listed_files(results)
    if not models:
        present, listed = ([n for n in names if not _is_within(n, "models")] for names in (present, sums))
        sums = {name: sums[name] for name in listed}
    found = _hashed(results, [name for name in present if name in sums], workers)
    for name, value in sums.items():
        if name not in found:
            findings.add(name, f"is missing, or cannot be read, but stands in {SUMS}")
        elif found[name] != value:
            findings.add(name, f"its content is not what {SUMS} says (SHA-256 {found[name][:12]}…, not {value[:12]}…)")
    if bad:
        # Files without a line may be those of the broken lines.
        findings.add(SUMS, f"line {bad[0]} is no checksum and path within the folder", "copy the file again")
    else:
        for name in (name for name in present if name not in sums):
            findings.add(name, f"is not in {SUMS}: no part of this study made it", "delete it or move it away")
    own = sha256_file(results / SUMS)[:12]
    findings.count(len(sums), "file", f"{SUMS} {own}{'' if models else ', models left out'}")
