"""The tables of scores: methods against task types, tasks against methods, and a benchmark beside published scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from causal2vec.errors import UserError, hint
from causal2vec.reporting.analysis.compare import Panel, compare, control_notes, split_blocks
from causal2vec.reporting.analysis.evidence import ALL, ENOUGH_SEEDS, Group
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, entry_name
from causal2vec.reporting.read.benchmarks import benchmark_part, load_benchmarks, task_types, types_of
from causal2vec.reporting.read.others import KINDS, PublishedRow, external_rows, published_rows
from causal2vec.reporting.read.types import AVERAGE
from causal2vec.reporting.show.tables.grid import (
    MARKS_NOTE,
    WEAK,
    Cell,
    Column,
    Place,
    RowGroup,
    Table,
    label_columns,
    labels,
    name_column,
    number_cell,
    panel_groups,
    with_signs,
)
from causal2vec.reporting.show.tables.layout import BenchmarkSpec, ScoresSpec, TaskColumn, TasksSpec

SCORES_NOTE = "Main scores × 100, higher is better; the number of tasks in brackets."
AVERAGES_NOTE = "An average is the mean over its tasks, and is left out unless all of them are there."

SHORT = {
    "Retrieval": "Retr.",
    "Reranking": "Rerank.",
    "Clustering": "Clust.",
    "PairClassification": "PairCl.",
    "Classification": "Class.",
    "Summarization": "Summ.",
    AVERAGE: "Avg.",
}
"""Headings for a page that is too narrow for the whole words, as papers on MTEB have them."""


@dataclass(frozen=True)
class Measure:
    """A column of scores.

    Attributes:
        title: Its heading.
        key: Its heading in the CSV file, and the name of its values among published scores.
        tasks: The tasks that it averages.
        group: Under what the statistics have it; None where they do not.
    """

    title: str
    key: str
    tasks: list[str]
    group: Group | None

    def column(self, decimals: int) -> Column:
        """The column of the table."""
        short = self.title.replace(self.key, SHORT[self.key], 1) if self.key in SHORT else ""
        return Column(self.title, self.key, number=f".{decimals}f", better="higher", spread="half", short=short)


def measures(wanted: Sequence[str | TaskColumn], types: dict[str, list[str]], scope: str = "") -> list[Measure]:
    """What the columns of a table show.

    Args:
        wanted: As the layout has them.
        types: Task type -> its tasks, of the study or of the benchmark.
        scope: The benchmark, if it is about one.

    Raises:
        UserError: A name is neither a word of the layout nor a task type or task, or a title comes twice.
    """
    found: list[Measure] = []
    for item in wanted:
        found += [_own_choice(item)] if isinstance(item, TaskColumn) else _named(item, types, scope)
    keys = [measure.key for measure in found]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise UserError(f"two columns are called '{twice}'; rename or remove one of them")
    return found


def _named(name: str, types: dict[str, list[str]], scope: str) -> list[Measure]:
    tasks = [task for members in types.values() for task in members]
    if name == "average":
        return [Measure(f"Average ({len(tasks)})", AVERAGE, tasks, ("benchmark", scope) if scope else ALL)]
    if name == "types" or name in types:
        return [_of_type(kind, types, scope) for kind in ([name] if name in types else types)]
    if name == "tasks" or name in tasks or name in task_types():
        return [Measure(task, task, [task], ("task", task)) for task in (tasks if name == "tasks" else [name])]
    known = ["types", "average", "tasks", *types, *tasks]
    near = hint(name, known) if len(known) < 20 or "did you mean" in hint(name, known) else ""
    raise UserError(f"'{name}' is neither a word of the layout nor a task type or task{near}; correct it")


def overall(study: Study) -> Measure:
    """The average over all tasks of the study."""
    return Measure(AVERAGE, AVERAGE, study.summary.tasks, ALL)


def _of_type(kind: str, types: dict[str, list[str]], scope: str) -> Measure:
    group = ("benchmark_type", f"{scope}: {kind}") if scope else ("type", kind)
    return Measure(f"{kind} ({len(types[kind])})", kind, types[kind], group)


def _own_choice(item: TaskColumn) -> Measure:
    tasks = item.tasks or load_benchmarks()[str(item.benchmark)]
    if len(set(tasks)) < len(tasks):
        raise UserError(f"the column '{item.title}' names a task twice; remove one of them")
    group = ("benchmark", item.benchmark) if item.benchmark else ("task", tasks[0]) if len(tasks) == 1 else None
    return Measure(f"{item.title} ({len(tasks)})", item.title, tasks, group)


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


def _source_notes(others: list[Foreign]) -> list[str]:
    """Where rows that are not ours come from, one sentence per source, and that they are not ranked."""
    if not others:
        return []
    rows = [row for other in others for row in other.rows]
    sources: dict[str, dict[str, None]] = {}
    for row in rows:
        sources.setdefault(row.source, {})[row.entry[0]] = None
    return [
        "Rows that are not ours were trained on other data and are not ranked; a gap was not published.",
        *(f"{', '.join(names)}: {source}." for source, names in sources.items()),
        *dict.fromkeys(f"{row.entry[0]}: {row.note}" for row in rows if row.note),
        *(note for other in others for note in other.notes),
    ]


def score_cell(study: Study, entry: Entry, measure: Measure) -> Cell:
    """An entry's average over tasks, times 100, with its interval; a gap unless every task is there."""
    value = study.summary.average(entry, measure.tasks)
    found = study.evidence.estimate(entry, measure.group) if measure.group and value is not None else None
    return number_cell(value, found.low, found.high, 100) if found else number_cell(value, scale=100)


def foreign_cell(row: ForeignRow, measure: Measure) -> Cell:
    """The same of a model that is not ours; what is not known is a gap."""
    # A column of one's own choice of tasks may bear any title, even a task type's.
    return number_cell(row.average(measure.key if measure.group else "", measure.tasks))


def with_tests(table: Table, study: Study, at: Callable[[int, int, int], tuple[Entry, Group | None]]) -> Table:
    """The table with a sign behind every best value that is not significantly better than the second.

    Args:
        table: The table.
        study: The study with the tests.
        at: Whose score stands at a `Place`, and under what the statistics have it.
    """

    def weak(best: Place, second: Place) -> bool | None:
        (first, group), (rival, _) = at(*best), at(*second)
        found = study.evidence.difference(first, rival, group) if group else None
        return None if found is None or math.isnan(found.p_holm) else not (found.significant and found.difference > 0)

    return with_signs(table, weak)


def interval_notes(study: Study, groups: list[RowGroup], corrected: bool = False) -> list[str]:
    """How to read the intervals and the sign of significance, or that there are none."""
    ours = [cell for group in groups if group.ranked for row in group.rows for cell in row]
    scores = [cell for cell in ours if isinstance(cell.value, float)]
    known = [cell for cell in scores if cell.low is not None]
    if not known:
        return ["No intervals and no tests: no item-level results were analysed with these scores."] if scores else []
    fewest = min((found.seeds for found in study.evidence.differences.values()), default=ENOUGH_SEEDS)
    few = f" On fewer than {ENOUGH_SEEDS} seeds a difference between trained methods is no more than indicated."
    untested = "Without ±: item-level results are missing, so that nothing was tested there."
    test = ", Holm-corrected over the tasks of a pair" if corrected else ""
    sign = (
        f"{WEAK}: the best is not significantly better than the second (paired test over test items{test}; 5 % level; "
        "all seeds must agree)."
    ) + few * (fewest < ENOUGH_SEEDS)
    return [
        "±: half the width of the 95 % interval over test items, exact ends in the CSV file; chance in training and "
        "the choice of tasks are not in it.",
        *([sign] if study.evidence.differences else []),
        *([untested] if len(known) < len(scores) else []),
    ]


def scores_table(spec: ScoresSpec, study: Study) -> Table | None:
    """Methods down, averages across; None if no method belongs in it.

    Raises:
        UserError: As in `measures`.
    """
    shown = measures(spec.columns, study.summary.types)
    others = imported(study, study.summary.types) if "imported" in spec.rows else []
    parts = split_blocks(compare(study.summary.entries, study.bases), spec.rows)
    return _scores(study, spec, shown, parts, others) if parts else None


def benchmark_table(spec: BenchmarkSpec, study: Study) -> Table | None:
    """A benchmark with ours, imported and published rows; None where it asks for ours but no method has every task.

    Raises:
        UserError: As in `measures`.
    """
    tasks = load_benchmarks()[spec.benchmark]
    types = types_of(tasks)
    shown = measures(spec.columns, types, spec.benchmark)
    whole = [e for e in study.summary.entries if study.summary.average(e, tasks) is not None]
    parts = [
        Panel(part.base, found, part.title)
        for part in split_blocks(compare(study.summary.entries, study.bases), spec.rows)
        if (found := [entry for entry in part.entries if entry in whole])
    ]
    others = [
        *(imported(study, types) if "imported" in spec.rows else []),
        *(published(spec.benchmark, types, [m.key for m in shown], spec.settings) if "published" in spec.rows else []),
    ]
    if not parts and not (others and spec.foreign):
        return None
    table = _scores(study, spec, shown, parts, others)
    return replace(table, notes=[*_part_notes(study, tasks), *table.notes])


def _part_notes(study: Study, tasks: list[str]) -> list[str]:
    """Which tasks were evaluated on other splits or subsets than the benchmark counts."""
    main = study.scores[(study.scores["metric"] == "main_score") & study.scores["task"].isin(tasks)]
    odd = []
    for task, rows in main.groupby("task"):
        parts = sorted(set(zip(rows["split"], rows["subset"], strict=True)))
        if parts != [benchmark_part(str(task))]:
            odd.append(f"{task} ({', '.join('/'.join(part) for part in parts)})")
    return [f"Ours on other parts than the benchmark's, hence not comparable there: {', '.join(odd)}."] if odd else []


def _scores(
    study: Study, spec: ScoresSpec | BenchmarkSpec, shown: list[Measure], parts: list[Panel], others: list[Foreign]
) -> Table:
    """A table of ours, ``parts``, and below them of ``others``."""
    entries = list(dict.fromkeys(entry for part in parts for entry in part.entries))
    heads = label_columns([*entries, *(row.entry for other in others for row in other.rows)])
    setting = [name_column("Setting", "setting")] if others else []
    groups = panel_groups(
        parts, heads, lambda _, entry: [*(Cell("") for _ in setting), *(score_cell(study, entry, m) for m in shown)]
    )
    for other in others:
        rows = [
            [*labels(row.entry, heads), Cell(row.setting), *(foreign_cell(row, m) for m in shown)] for row in other.rows
        ]
        groups.append(RowGroup(other.title, rows, ranked=False))
    notes = [
        SCORES_NOTE,
        *([MARKS_NOTE, AVERAGES_NOTE] if entries else []),
        *interval_notes(study, groups),
        *_source_notes(others),
        *control_notes(entries, study.bases),
        *(study.summary.notes_on(entries) if entries else ["None of these numbers was measured here."]),
    ]
    names = [*heads, *setting]
    table = Table("", spec.title, [*names, *(m.column(spec.decimals) for m in shown)], groups, notes)
    return with_tests(table, study, lambda g, r, c: (parts[g].entries[r], shown[c - len(names)].group))


def tasks_table(spec: TasksSpec, study: Study) -> Table | None:
    """Tasks down, methods across, so that many tasks stay readable; None if no method belongs in it."""
    summary = study.summary
    ours, ordered = _method_columns(spec, study)
    if not ordered:
        return None
    others = imported(study, summary.types) if "imported" in spec.columns else []
    foreign = [row for other in others for row in other.rows]
    theirs = [
        Column(row.entry[0], f"imported {row.entry[0]} {row.source}", other.title, f".{spec.decimals}f")
        for other in others
        for row in other.rows
    ]
    blocks = {kind: [Measure(t, t, [t], ("task", t)) for t in tasks] for kind, tasks in summary.types.items()}
    blocks["All tasks"] = [overall(study)]
    groups = [
        RowGroup(
            title,
            [
                [
                    Cell(line.title),
                    *(score_cell(study, entry, line) for entry in ordered),
                    *(foreign_cell(row, line) for row in foreign),
                ]
                for line in lines
            ],
        )
        for title, lines in blocks.items()
    ]
    entries = list(dict.fromkeys(ordered))
    notes = [
        "Main scores × 100, higher is better. In each row the best value of each group of columns is bold and the "
        "second underlined.",
        *interval_notes(study, groups, corrected=True),
        *_source_notes(others),
        *control_notes(entries, study.bases),
        *summary.notes_on(entries),
    ]
    lines = list(blocks.values())
    table = Table("", spec.title, [name_column("Task", "task"), *ours, *theirs], groups, notes, compare="along")
    return with_tests(table, study, lambda g, r, c: (ordered[c - 1], lines[g][r].group))


def _method_columns(spec: TasksSpec, study: Study) -> tuple[list[Column], list[Entry]]:
    """A column for each method of each panel, and its entry."""
    columns: dict[str, Column] = {}
    ordered: list[Entry] = []
    for part in split_blocks(compare(study.summary.entries, study.bases), spec.columns):
        for entry in part.entries:
            key = entry_name(entry, study.summary.entries)
            # A control stands beside every compared base, but a heading in the CSV file stands only once.
            key = f"{key}, base {part.base}" if key in columns else key
            title = entry_name(entry, part.entries)
            columns[key] = Column(title, key, part.title, f".{spec.decimals}f", "higher", spread="half")
            ordered.append(entry)
    return list(columns.values()), ordered
