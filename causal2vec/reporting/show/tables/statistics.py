"""The tables of statistics: how methods stand, how pairs differ, what an ablation changes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from causal2vec.reporting.analysis.compare import Panel, compare, control_notes, split_blocks
from causal2vec.reporting.analysis.evidence import ALL
from causal2vec.reporting.analysis.study import Ablation, Study
from causal2vec.reporting.analysis.summary import Entry
from causal2vec.reporting.show.tables.grid import (
    MARKS_NOTE,
    Cell,
    Column,
    Place,
    RowGroup,
    Table,
    number_cell,
    with_signs,
)
from causal2vec.reporting.show.tables.labels import label_columns, labels
from causal2vec.reporting.show.tables.layout import AblationsSpec, DifferencesSpec, NumberColumn, StatisticsSpec
from causal2vec.reporting.show.tables.scores import AVERAGES_NOTE, interval_notes, measures, score_cell, weaker

_MEANINGS = {
    "seed_sd": "SD over seeds: standard deviation of the average over training seeds.",
    "iqm": "IQM: mean over the middle half of the scores of all tasks and seeds.",
    "win_rate": "Win rate: share of (rival, task) pairs with the higher score, ties half.",
    "borda": "Borda points: over tasks, the rivals beaten, ties half, as on the MTEB leaderboard.",
    "mean_rank": "Mean rank: over tasks; 1 is best.",
}
_PAIR_MEANINGS = {
    "difference": "Difference: average over all tasks of the first minus that of the second, with its paired 95 % "
    "interval over test items.",
    "p": "p: two-sided paired permutation test of the average, not corrected for the number of pairs.",
    "win_rate": "Tasks won: share of tasks with the higher score, ties half.",
    "improvement": "P(improvement): probability that a run of the first beats one of the second on a task.",
    "seeds_above": "Seeds won: of the seeds that both have, those with the higher average.",
}


def statistics_table(name: str, spec: StatisticsSpec, study: Study) -> Table | None:
    """One row per method: where it stands among those it is compared with; None without statistics.

    Numbers other than ``average`` and ``seed_sd`` come from `Evidence.standings`, and are gaps for a method that
    lacks a task, as every rival must have been met on every task.
    """
    parts = split_blocks(compare(study.summary.entries, study.bases), spec.rows)
    if not study.evidence.standings or not parts:
        return None
    entries = list(dict.fromkeys(entry for part in parts for entry in part.entries))
    heads = label_columns(entries)
    groups = [
        RowGroup(
            part.title,
            [[*labels(e, heads), *(_standing(study, part.base, e, c) for c in spec.columns)] for e in part.entries],
        )
        for part in parts
    ]
    notes = [
        *spec.notes,
        f"Over all {len(study.summary.tasks)} tasks. {MARKS_NOTE}",
        *(_MEANINGS[c.key] for c in spec.columns if c.key in _MEANINGS),
        *_half_note(spec.columns),
        *control_notes(entries, study.bases),
        *study.summary.notes_on(entries),
        *study.evidence.notes,
    ]
    return Table(name, spec.title, [*heads, *(c.column() for c in spec.columns)], groups, notes)


def _half_note(columns: Sequence[NumberColumn]) -> list[str]:
    halved = any(column.spread == "half" for column in columns)
    return ["±: half the width of the 95 % interval, the exact ends in the CSV file."] if halved else []


def _standing(study: Study, panel: str, entry: Entry, column: NumberColumn) -> Cell:
    if column.key == "average":
        return score_cell(study, entry, study.summary.tasks, ALL)
    found = study.evidence.estimate(entry, ALL) if column.key == "seed_sd" else None
    return _numbers(found or study.evidence.standings.get((panel, entry)), column)


def _numbers(record: object, column: NumberColumn) -> Cell:
    """A number of a record with its interval, scaled as the column says; a gap where there is none."""
    names = [column.key, f"{column.key}_low", f"{column.key}_high"]
    if column.key == "difference":
        names = ["difference", "low", "high"]
    value, low, high = (getattr(record, name, None) for name in names)
    return number_cell(value, low, high, column.scale)


def differences_table(name: str, spec: DifferencesSpec, study: Study) -> Table | None:
    """Every pair of methods over the average of all tasks; None without statistics or without a pair."""
    parts = [p for p in split_blocks(compare(study.summary.entries, study.bases), spec.rows) if len(p.entries) > 1]
    if not study.evidence.differences or not parts:
        return None
    entries = list(dict.fromkeys(entry for part in parts for entry in part.entries))
    heads = label_columns(entries)
    second = [Column(f"minus {c.title.lower()}", f"minus_{c.key}", label=True, number="") for c in heads]
    groups = []
    for part in parts:
        rows = []
        for a, b in itertools.combinations(part.entries, 2):
            found = study.evidence.difference(a, b, ALL)
            rows.append([*labels(a, heads), *labels(b, heads), *(_numbers(found, c) for c in spec.columns)])
        groups.append(RowGroup(part.title, rows))
    notes = [
        *spec.notes,
        *(_PAIR_MEANINGS[c.key] for c in spec.columns if c.key in _PAIR_MEANINGS),
        *_gap_note(study, parts),
        *control_notes(entries, study.bases),
        *study.summary.notes_on(entries),
        *study.evidence.notes,
    ]
    columns = [*heads, *second, *(c.column() for c in spec.columns)]
    return Table(name, spec.title, columns, groups, notes)


def _gap_note(study: Study, parts: list[Panel]) -> list[str]:
    whole = all(
        study.evidence.difference(a, b, ALL) for p in parts for a, b in itertools.combinations(p.entries, 2)
    )  # fmt: skip
    return [] if whole else ["A pair is compared only if both methods have all tasks and a seed in common."]


def ablations_table(name: str, spec: AblationsSpec, study: Study) -> Table | None:
    """One group of rows per ablation (and base), one row per value; None if no variant has scores.

    Raises:
        UserError: As in `causal2vec.reporting.show.tables.scores.measures`.
    """
    summary = study.summary
    shown = measures(spec.columns, summary.types, where=f"table '{name}'")
    columns = [
        Column("Value", "value", label=True, number=""),
        *(measure.column(spec.decimals) for measure in shown),
        Column("Difference", "difference", "To the default, all tasks", f"+.{spec.decimals}f", spread="interval"),
        Column("p", "p", "To the default, all tasks", "p"),
    ]
    groups, members = [], []
    for ablation in study.ablations:
        values = _with_default(ablation)
        for base in _bases(ablation, study):
            entries = [(method, base) for method in values.values()]
            rows = []
            for value, entry in zip(values, entries, strict=True):
                scores = [score_cell(study, entry, measure.tasks, measure.group) for measure in shown]
                rows.append([Cell(value), *scores, *_to_default(study, entry, (ablation.method, base))])
            groups.append(RowGroup(_heading(ablation, base, study), rows))
            members.append(entries)
    if not groups:
        return None
    entries = [e for e in dict.fromkeys(entry for found in members for entry in found) if e in summary.seeds]
    notes = [
        *spec.notes,
        f"Main scores × 100, higher is better; the number of tasks in brackets. {MARKS_NOTE}",
        AVERAGES_NOTE,
        *interval_notes(study, [RowGroup("", [row[: len(shown) + 1] for row in group.rows]) for group in groups]),
        "Difference: average of the value minus that of the default, over the seeds that both have, with its paired "
        "95 % interval over test items; p: paired permutation test, not corrected for the number of values.",
        *summary.notes_on(entries),
    ]

    def weak(best: Place, second: Place) -> bool | None:
        rivals = members[best[0]]
        return weaker(study.evidence, rivals[best[1]], rivals[second[1]], shown[best[2] - 1].group)

    return with_signs(Table(name, spec.title, columns, groups, notes), weak)


def _with_default(ablation: Ablation) -> dict[str, str]:
    """Value -> method; the default says that it is, and is added where the ablation does not list it."""
    if ablation.method not in ablation.variants.values():
        return {"as configured (default)": ablation.method, **ablation.variants}
    return {f"{v} (default)" if m == ablation.method else v: m for v, m in ablation.variants.items()}


def _bases(ablation: Ablation, study: Study) -> list[str]:
    """The bases on which any variant has scores, compared ones first."""
    found = {
        base for method, base in study.summary.entries if method in set(ablation.variants.values()) - {ablation.method}
    }
    first = [base for base in study.bases or [] if base in found]
    return first + sorted(found - set(first))


def _heading(ablation: Ablation, base: str, study: Study) -> str:
    several = len({b for _, b in study.summary.entries if b in _bases(ablation, study)}) > 1
    return (
        f"{ablation.name}: {ablation.axis} of {ablation.method}"
        f"{', assumed' if ablation.assumed else ''}{f', base {base}' if several else ''}"
    )


def _to_default(study: Study, entry: Entry, default: Entry) -> list[Cell]:
    if entry == default:
        return [Cell(""), Cell("")]
    found = study.evidence.difference(entry, default, ALL)
    if found is not None:
        return [number_cell(found.difference, found.low, found.high, 100), number_cell(found.p)]
    a, b = (study.summary.average(e, study.summary.tasks) for e in (entry, default))
    # Without statistics, a difference of means over different seeds would compare unlike with unlike.
    alike = study.summary.seeds.get(entry) == study.summary.seeds.get(default)
    return [number_cell(a - b if a is not None and b is not None and alike else None, scale=100), Cell(None)]
