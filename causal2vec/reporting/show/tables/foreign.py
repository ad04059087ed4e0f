"""Rows of models that are not ours, published or imported, for standing below ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry
from causal2vec.reporting.read.others import KINDS, PublishedRow, external_rows, published_rows
from causal2vec.reporting.show.tables.grid import Column

_KIND_TITLES = {
    "zero-shot": "zero-shot",
    "supervised": "trained on public pairs",
    "full-data": "as released, trained on all that its authors had",
    "other": "other recipes",
}


@dataclass(frozen=True)
class ForeignRow:
    """One model that is not ours.

    Attributes:
        entry: Its name and its base.
        setting: How it was trained and evaluated, with the confidence if that is not ``confirmed``.
        source: What to cite.
        values: As in `PublishedRow`.
        note: What else a reader must know.
    """

    entry: Entry
    setting: str
    source: str
    values: dict[str, float]
    note: str = ""

    def average(self, name: str, tasks: Sequence[str]) -> float | None:
        """What was published under this name, or the mean over ``tasks`` if all are known; else None.

        An empty name looks at the tasks alone.
        """
        if name in self.values:
            return self.values[name]
        found = [self.values[task] for task in tasks if task in self.values]
        return math.fsum(found) / len(found) if found and len(found) == len(tasks) else None


@dataclass(frozen=True)
class Foreign:
    """Rows under one heading, and what a reader must know of them all."""

    title: str
    rows: list[ForeignRow]
    notes: list[str] = field(default_factory=list)


def published(
    benchmark: str, types: dict[str, list[str]], names: Sequence[str], kinds: Sequence[str] = KINDS
) -> list[Foreign]:
    """Published models of a benchmark that have a value of one of ``names``, by what they may be compared with."""
    rows = published_rows(benchmark, types)
    found = []
    for kind in (kind for kind in KINDS if kind in kinds):
        members = [_row(row) for row in rows if row.setting_kind == kind and any(name in row.values for name in names)]
        if members:
            found.append(Foreign(f"Published (not ours): {_KIND_TITLES.get(kind, kind)}", members))
    return found


def imported(study: Study, types: dict[str, list[str]]) -> list[Foreign]:
    """The study's imported models that have any of these tasks."""
    if study.external is None:
        return []
    rows = [_row(row) for row in external_rows(study.external, types) if row.values]
    return [Foreign("Imported (not ours)", rows, study.external.notes)] if rows else []


def _row(row: PublishedRow) -> ForeignRow:
    doubt = "" if row.confidence in ("confirmed", "as imported") else f" ({row.confidence})"
    return ForeignRow((row.method, row.base), f"{row.setting}{doubt}", row.source, row.values, row.note)


def setting_column(others: list[Foreign]) -> list[Column]:
    """The column that names the setting, where there are rows that are not ours."""
    return [Column("Setting", "setting", label=True, number="")] if any(other.rows for other in others) else []


def source_notes(others: list[Foreign]) -> list[str]:
    """Where rows that are not ours come from, one sentence per source, and that they are not ranked."""
    if not others:
        return []
    sources: dict[str, list[str]] = {}
    for row in (row for other in others for row in other.rows):
        names = sources.setdefault(row.source, [])
        names += [row.entry[0]] if row.entry[0] not in names else []
    return [
        "Rows that are not ours were trained on other data and are not ranked; a gap was not published.",
        *(f"{', '.join(names)}: {source}." for source, names in sources.items()),
        *dict.fromkeys(f"{row.entry[0]}: {row.note}" for other in others for row in other.rows if row.note),
        *(note for other in others for note in other.notes),
    ]
