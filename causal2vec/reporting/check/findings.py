"""What a check of a results folder finds: at most one line per file, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from causal2vec.errors import UserError
from causal2vec.reporting.read.visible import one_line

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
        renamed: New names of files that are named by their old ones.
    """

    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    renamed: set[str] = field(default_factory=set)

    def add(self, where: str, what: str, remedy: str = AGAIN) -> None:
        """Record that the file or folder ``where`` is not what it should be."""
        self.failures[where] = f"{' '.join(what.split())}; {remedy}"

    def add_error(self, where: str, error: UserError, root: Path) -> None:
        """Record what was said of a file that cannot be read; its path is shown relative to the folder ``root``."""
        if where in self.failures and "does not exist" in str(error):
            return  # that it is missing has been said
        said = str(error).replace(f"{root}/", "").removeprefix(where).lstrip(":, ")
        self.failures[where] = said

    def failed(self, *where: str) -> str | None:
        """The first of these files, or of the files in these folders, that failed."""
        return next((f for w in where for f in sorted(self.failures) if f == w or f.startswith(f"{w}/")), None)

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
