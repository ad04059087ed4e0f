"""The tables of statistics: how methods stand, how pairs differ, what an ablation changes."""

from __future__ import annotations

import itertools

from causal2vec.reporting.analysis.compare import Panel, compare, control_notes, split_blocks
from causal2vec.reporting.analysis.evidence import ALL
from causal2vec.reporting.analysis.study import Ablation, Study
from causal2vec.reporting.analysis.summary import Entry
from causal2vec.reporting.show.tables.grid import (
    MARKS_NOTE,
    Cell,
    Column,
    RowGroup,
    Table,
    label_columns,
    labels,
    name_column,
    number_cell,
    panel_groups,
)
from causal2vec.reporting.show.tables.layout import AblationsSpec, DifferencesSpec, NumberColumn, StatisticsSpec
from causal2vec.reporting.show.tables.scores import (
    AVERAGES_NOTE,
    SCORES_NOTE,
    interval_notes,
    measures,
    overall,
    score_cell,
    with_tests,
)

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


def statistics_table(spec: StatisticsSpec, study: Study) -> Table | None:
    """One row per method: where it stands among those it is compared with; None without statistics.

    Numbers other than ``average`` and ``seed_sd`` come from `Evidence.standings`, and are gaps for a method that
    lacks a task, as every rival must have been met on every task.
    """
    parts = split_blocks(compare(study.summary.entries, study.bases), spec.rows)
    if not study.evidence.standings or not parts:
        return None

    def cell(panel: Panel, entry: Entry, column: NumberColumn) -> Cell:
        if column.key == "average":
            return score_cell(study, entry, overall(study))
        found = study.evidence.estimate(entry, ALL) if column.key == "seed_sd" else None
        return _number(found or study.evidence.standings.get((panel.base, entry)), column)

    entries = list(dict.fromkeys(entry for part in parts for entry in part.entries))
    heads = label_columns(entries)
    groups = panel_groups(parts, heads, lambda panel, entry: [cell(panel, entry, c) for c in spec.columns])
    halved = any(column.spread == "half" for column in spec.columns)
    notes = [
        f"Over all {len(study.summary.tasks)} tasks. {MARKS_NOTE}",
        *(_MEANINGS[c.key] for c in spec.columns if c.key in _MEANINGS),
        *(["±: half the width of the 95 % interval, the exact ends in the CSV file."] if halved else []),
        *_closing(study, entries),
    ]
    return spec.table(heads, spec.columns, groups, notes)


def differences_table(spec: DifferencesSpec, study: Study) -> Table | None:
    """Every pair of methods over the average of all tasks; None without statistics or without a pair."""
    parts = [p for p in split_blocks(compare(study.summary.entries, study.bases), spec.rows) if len(p.entries) > 1]
    if not study.evidence.differences or not parts:
        return None
    entries = list(dict.fromkeys(entry for part in parts for entry in part.entries))
    heads = label_columns(entries)
    second = [name_column(f"minus {c.title.lower()}", f"minus_{c.key}") for c in heads]
    groups, whole = [], True
    for part in parts:
        rows = []
        for a, b in itertools.combinations(part.entries, 2):
            found = study.evidence.difference(a, b, ALL)
            whole = whole and found is not None
            rows.append([*labels(a, heads), *labels(b, heads), *(_number(found, c) for c in spec.columns)])
        groups.append(RowGroup(part.title, rows))
    notes = [
        *(_PAIR_MEANINGS[c.key] for c in spec.columns if c.key in _PAIR_MEANINGS),
        *([] if whole else ["A pair is compared only if both methods have all tasks and a seed in common."]),
        *_closing(study, entries),
    ]
    return spec.table([*heads, *second], spec.columns, groups, notes)


def _number(record: object, column: NumberColumn) -> Cell:
    """A number of a record with its interval; a gap where there is none."""
    ends = ("low", "high") if column.key == "difference" else (f"{column.key}_low", f"{column.key}_high")
    return column.cell(*(getattr(record, name, None) for name in (column.key, *ends)))


def _closing(study: Study, entries: list[Entry]) -> list[str]:
    return [*control_notes(entries, study.bases), *study.summary.notes_on(entries), *study.evidence.notes]


def ablations_table(spec: AblationsSpec, study: Study) -> Table | None:
    """One group of rows per ablation (and base), one row per value; None if no variant has scores.

    Raises:
        UserError: As in `causal2vec.reporting.show.tables.scores.measures`.
    """
    summary = study.summary
    shown = measures(spec.columns, summary.types)
    groups, members = [], []
    for ablation in study.ablations:
        values = _with_default(ablation)
        for base in _bases(ablation, study):
            entries = [(method, base) for method in values.values()]
            rows = [
                [
                    Cell(value),
                    *(score_cell(study, entry, measure) for measure in shown),
                    *_to_default(study, entry, (ablation.method, base)),
                ]
                for value, entry in zip(values, entries, strict=True)
            ]
            groups.append(RowGroup(_heading(ablation, base, study), rows))
            members.append(entries)
    if not groups:
        return None
    scores = [RowGroup("", [row[: len(shown) + 1] for row in group.rows]) for group in groups]
    notes = [
        f"{SCORES_NOTE} {MARKS_NOTE}",
        AVERAGES_NOTE,
        *interval_notes(study, scores),
        "Difference: average of the value minus that of the default, over the seeds that both have, with its paired "
        "95 % interval over test items; p: paired permutation test, not corrected for the number of values.",
        *summary.notes_on([e for e in dict.fromkeys(itertools.chain(*members)) if e in summary.seeds]),
    ]
    columns = [
        name_column("Value", "value"),
        *(measure.column(spec.decimals) for measure in shown),
        Column("Difference", "difference", "To the default, all tasks", f"+.{spec.decimals}f", spread="interval"),
        Column("p", "p", "To the default, all tasks", "p"),
    ]
    table = Table("", spec.title, columns, groups, notes)
    return with_tests(table, study, lambda g, r, c: (members[g][r], shown[c - 1].group))


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
