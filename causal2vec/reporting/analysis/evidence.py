"""What the statistics say, as files and as typed answers: intervals, differences, standings.

`causal2vec.reporting.analysis.statistics` computes them; tables, figures, claims and the report read them here.
All scores are on mteb's scale of 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError, one_line
from causal2vec.reporting.analysis.summary import Entry
from causal2vec.reporting.read.schema import Parser, number, number_or_gap, read_table, text, whole
from causal2vec.reporting.read.types import AVERAGE
from causal2vec.runtime.files import atomic_folder

ALPHA = 0.05
"""The error rate that Holm's correction keeps, and one minus the level of every interval."""

ENOUGH_SEEDS = 3
"""With fewer, what was found about trained methods may be the luck of one training: it is no more than indicated."""

Group = tuple[str, str]
"""Scope and name of what a number is over: ("task", "STSBenchmark"), ("type", "STS"),
("benchmark", "MTEB(eng, v2)"), ("benchmark_type", "MTEB(eng, v2): STS"), ("all", "Average")."""

ALL: Group = ("all", AVERAGE)


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval over test items.

    Attributes:
        score: Mean over seeds (and over the group's tasks).
        low: Lower end of the interval; NaN where no items were kept.
        high: Upper end.
        seeds: How many seeds.
        items: How many test items, summed over the group's tasks.
        seed_sd: Standard deviation over seeds; NaN for one seed.
    """

    score: float
    low: float
    high: float
    seeds: int
    items: int
    seed_sd: float


@dataclass(frozen=True)
class Difference:
    """How much one entry's score is above another's, over the seeds that both have.

    Attributes:
        difference: Score of the first minus score of the second.
        low: Lower end of the paired 95 % interval over test items; NaN where no items were kept.
        high: Upper end.
        p: Two-sided paired permutation p-value; NaN where no items were kept.
        p_holm: ``p`` after Holm's correction over the tasks of this pair; for groups it is ``p`` itself.
        seeds: How many seeds both have.
        seeds_above: On how many of them the first scored higher.
        seed_sd: Standard deviation of the difference over seeds; NaN for one seed.
        win_rate: Share of the group's tasks on which the first scores higher, ties half; NaN for a task.
        improvement: Probability that a run of the first beats one of the second on a task, averaged over tasks.
        improvement_low: Lower end of its interval.
        improvement_high: Upper end.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    seeds: int
    seeds_above: int
    seed_sd: float
    win_rate: float
    improvement: float
    improvement_low: float
    improvement_high: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero, the corrected p-value is below `ALPHA`, and all seeds agree in sign.

        The first two are about test items. That a seed says otherwise is the only sign of luck in training that few
        seeds can give.
        """
        agreed = self.seeds_above in (0, self.seeds)
        return self.p_holm < ALPHA and (self.low > 0 or self.high < 0) and agreed

    def reversed(self) -> Difference:
        """The same comparison seen from the second entry."""
        return replace(
            self,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            seeds_above=self.seeds - self.seeds_above,
            win_rate=1 - self.win_rate,
            improvement=1 - self.improvement,
            improvement_low=1 - self.improvement_high,
            improvement_high=1 - self.improvement_low,
        )


@dataclass(frozen=True)
class Standing:
    """Where an entry stands among those it is compared with, over all evaluated tasks.

    Attributes:
        iqm: Interquartile mean over tasks and seeds (rliable), with its interval.
        win_rate: Share of (rival, task) pairs that the entry wins, ties half, with its interval.
        borda: Borda points: over tasks, the rivals beaten, ties half, as on the MTEB leaderboard.
        borda_rank: Its rank by these points; 1 is best, equal points share the better rank.
        mean_rank: Mean rank over tasks; 1 is best.
    """

    iqm: float
    iqm_low: float
    iqm_high: float
    win_rate: float
    win_rate_low: float
    win_rate_high: float
    borda: float
    borda_rank: int
    mean_rank: float


@dataclass(frozen=True)
class Evidence:
    """All statistics of a study.

    Attributes:
        estimates: (entry, group) -> its score with interval.
        differences: (first, second, group) -> their difference; each pair is kept in one order only.
        standings: (base of the panel, entry) -> its standing among the panel's entries.
        notes: How all this was computed, for readers.
    """

    estimates: dict[tuple[Entry, Group], Estimate] = field(default_factory=dict)
    differences: dict[tuple[Entry, Entry, Group], Difference] = field(default_factory=dict)
    standings: dict[tuple[str, Entry], Standing] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def estimate(self, entry: Entry, group: Group) -> Estimate | None:
        """An entry's score on a group, or None where a task of it is missing."""
        return self.estimates.get((entry, group))

    def difference(self, first: Entry, second: Entry, group: Group) -> Difference | None:
        """``first`` minus ``second`` on a group, or None where it was not computed."""
        found = self.differences.get((first, second, group))
        if found is not None:
            return found
        other = self.differences.get((second, first, group))
        return None if other is None else other.reversed()


_FILES: dict[str, tuple[list[str], dict[str, Parser]]] = {
    "estimates.csv": (
        ["method", "base", "scope", "name"],
        {"seeds": whole, "items": whole, "score": number, **dict.fromkeys(["low", "high", "seed_sd"], number_or_gap)},
    ),
    "differences.csv": (
        ["method_a", "base_a", "method_b", "base_b", "scope", "name"],
        {
            "seeds": whole,
            "seeds_above": whole,
            "difference": number,
            **dict.fromkeys(["low", "high", "p", "p_holm", "seed_sd", "win_rate"], number_or_gap),
            **dict.fromkeys(["improvement", "improvement_low", "improvement_high"], number_or_gap),
        },
    ),
    "standings.csv": (
        ["panel", "method", "base"],
        {
            "iqm": number,
            "iqm_low": number_or_gap,
            "iqm_high": number_or_gap,
            "win_rate": number,
            "win_rate_low": number_or_gap,
            "win_rate_high": number_or_gap,
            "borda": number,
            "borda_rank": whole,
            "mean_rank": number,
        },
    ),
}
"""Columns of each file: those that name a row, and those that hold an object's fields."""


def read_evidence(folder: Path) -> Evidence:
    """Read the statistics of a study from ``estimates.csv``, ``differences.csv``, ``standings.csv``, ``notes.txt``.

    Raises:
        UserError: A file is missing or does not hold what it should.
    """
    estimates = {((m, b), (s, n)): Estimate(**row) for (m, b, s, n), row in _read(folder, "estimates.csv")}
    differences = {
        ((m1, b1), (m2, b2), (s, n)): Difference(**row)
        for (m1, b1, m2, b2, s, n), row in _read(folder, "differences.csv")
    }
    standings = {(panel, (m, b)): Standing(**row) for (panel, m, b), row in _read(folder, "standings.csv")}
    path = folder / "notes.txt"
    try:
        notes = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}); compute the statistics again") from error
    return Evidence(estimates, differences, standings, notes)


def _read(folder: Path, file: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    key, fields = _FILES[file]
    frame = read_table(folder / file, {**dict.fromkeys(key, text), **fields}, key, empty=True)
    for row in frame.itertuples(index=False, name=None):
        yield row[: len(key)], dict(zip(fields, row[len(key) :], strict=True))


def write_evidence(evidence: Evidence, output: Path) -> None:
    """Write the four files that `read_evidence` reads, whole or not at all."""
    tables: dict[str, list[tuple[tuple[str, ...], object]]] = {
        "estimates.csv": [((*e, *g), row) for (e, g), row in evidence.estimates.items()],
        "differences.csv": [((*a, *b, *g), row) for (a, b, g), row in evidence.differences.items()],
        "standings.csv": [((panel, *e), row) for (panel, e), row in evidence.standings.items()],
    }
    with atomic_folder(output) as draft:
        for file, rows in tables.items():
            key, fields = _FILES[file]
            made = [(*names, *(_ten_digits(getattr(row, name)) for name in fields)) for names, row in rows]
            pd.DataFrame(made, columns=[*key, *fields]).to_csv(draft / file, index=False, lineterminator="\n")
        (draft / "notes.txt").write_text("".join(f"{note}\n" for note in evidence.notes), encoding="utf-8")


def _ten_digits(value: Any) -> Any:
    # Ten digits are more than any reader needs and fewer than differ between machines; 0.0 also for -0.0.
    return float(f"{value:.10g}") + 0.0 if isinstance(value, float) else value


def excludes_zero(low: float, high: float) -> bool:
    """Whether an interval lies wholly on one side of zero; False where there is none."""
    return not math.isnan(low) and (low > 0 or high < 0)
