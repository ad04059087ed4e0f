"""The tables of scores: methods against task types, tasks against methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from causal2vec.errors import UserError, hint
from causal2vec.reporting.analysis.compare import Panel, compare, control_notes, split_blocks
from causal2vec.reporting.analysis.evidence import ALL, ENOUGH_SEEDS, Evidence, Group
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, entry_name
from causal2vec.reporting.read.benchmarks import load_benchmarks, task_types
from causal2vec.reporting.read.types import AVERAGE
from causal2vec.reporting.show.tables.foreign import Foreign, ForeignRow, imported, setting_column, source_notes
from causal2vec.reporting.show.tables.grid import (
    MARKS_NOTE,
    WEAK,
    Cell,
    Column,
    Place,
    RowGroup,
    Table,
    number_cell,
    with_signs,
)
from causal2vec.reporting.show.tables.labels import label_columns, labels
from causal2vec.reporting.show.tables.layout import BenchmarkSpec, ScoresSpec, TaskColumn, TasksSpec

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


def measures(
    wanted: Sequence[str | TaskColumn], types: dict[str, list[str]], scope: str = "", where: str = "columns"
) -> list[Measure]:
    """What the columns of a table show.

    Args:
        wanted: As the layout has them.
        types: Task type -> its tasks, of the study or of the benchmark.
        scope: The benchmark, if it is about one.
        where: What to call the columns in errors.

    Raises:
        UserError: A name is neither a word of the layout nor a task type or task, or a title comes twice.
    """
    found: list[Measure] = []
    for item in wanted:
        found += _own_choice(item, where) if isinstance(item, TaskColumn) else _named(item, types, scope, where)
    keys = [measure.key for measure in found]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise UserError(f"{where}: two columns are called '{twice}'; rename or remove one of them")
    return found


def _named(name: str, types: dict[str, list[str]], scope: str, where: str) -> list[Measure]:
    tasks = [task for members in types.values() for task in members]
    if name == "types":
        return [_of_type(kind, types, scope) for kind in types]
    if name == "average":
        return [Measure(f"Average ({len(tasks)})", AVERAGE, tasks, ("benchmark", scope) if scope else ALL)]
    if name == "tasks":
        return [Measure(task, task, [task], ("task", task)) for task in tasks]
    if name in types:
        return [_of_type(name, types, scope)]
    if name in tasks or name in task_types():
        return [Measure(name, name, [name], ("task", name))]
    known = ["types", "average", "tasks", *types, *tasks]
    near = hint(name, known) if len(known) < 20 or "did you mean" in hint(name, known) else ""
    raise UserError(f"{where}: '{name}' is neither a word of the layout nor a task type or task{near}; correct it")


def _of_type(kind: str, types: dict[str, list[str]], scope: str) -> Measure:
    group = ("benchmark_type", f"{scope}: {kind}") if scope else ("type", kind)
    return Measure(f"{kind} ({len(types[kind])})", kind, types[kind], group)


def _own_choice(item: TaskColumn, where: str) -> list[Measure]:
    if item.benchmark is not None:
        tasks = load_benchmarks()[item.benchmark]
        return [Measure(f"{item.title} ({len(tasks)})", item.title, tasks, ("benchmark", item.benchmark))]
    tasks = list(item.tasks or [])
    if len(set(tasks)) < len(tasks):
        raise UserError(f"{where}: the column '{item.title}' names a task twice; remove one of them")
    group = ("task", tasks[0]) if len(tasks) == 1 else None
    return [Measure(f"{item.title} ({len(tasks)})", item.title, tasks, group)]


def score_cell(study: Study, entry: Entry, tasks: list[str], group: Group | None) -> Cell:
    """An entry's average over tasks, times 100, with its interval; a gap unless every task is there."""
    value = study.summary.average(entry, tasks)
    if value is None:
        return Cell(None)
    found = study.evidence.estimate(entry, group) if group else None
    low, high = (found.low, found.high) if found else (None, None)
    return number_cell(value, low, high, 100)


def foreign_cell(row: ForeignRow, measure: Measure) -> Cell:
    """The same of a model that is not ours; what is not known is a gap."""
    # A column of one's own choice of tasks may bear any title, even a task type's.
    return number_cell(row.average(measure.key if measure.group else "", measure.tasks))


def weaker(evidence: Evidence, best: Entry, second: Entry, group: Group | None) -> bool | None:
    """Whether ``best`` is not significantly better than ``second``; None where that was not tested."""
    found = evidence.difference(best, second, group) if group else None
    if found is None or math.isnan(found.p_holm):
        return None
    return not (found.significant and found.difference > 0)


def scores_table(name: str, spec: ScoresSpec, study: Study) -> Table | None:
    """Methods down, averages across; None if no method belongs in it.

    Raises:
        UserError: As in `measures`.
    """
    summary = study.summary
    shown = measures(spec.columns, summary.types, where=f"table '{name}'")
    parts = split_blocks(compare(summary.entries, study.bases), spec.rows)
    others = imported(study, summary.types) if "imported" in spec.rows else []
    return build_scores(name, spec, study, shown, parts, others)


def build_scores(
    name: str,
    spec: ScoresSpec | BenchmarkSpec,
    study: Study,
    shown: list[Measure],
    parts: list[Panel],
    others: list[Foreign],
) -> Table | None:
    """A table of ours, ``parts``, and below them of ``others``; None if it asks for ours and there is none."""
    entries = list(dict.fromkeys(entry for part in parts for entry in part.entries))
    if not entries and not (others and isinstance(spec, BenchmarkSpec) and spec.foreign):
        return None
    heads = label_columns([*entries, *(row.entry for other in others for row in other.rows)])
    setting = setting_column(others)
    columns = [*heads, *setting, *(measure.column(spec.decimals) for measure in shown)]
    groups = []
    for part in parts:
        rows = []
        for entry in part.entries:
            cells = [score_cell(study, entry, measure.tasks, measure.group) for measure in shown]
            rows.append([*labels(entry, heads), *(Cell("") for _ in setting), *cells])
        groups.append(RowGroup(part.title, rows))
    for other in others:
        rows = [
            [*labels(row.entry, heads), Cell(row.setting), *(foreign_cell(row, m) for m in shown)] for row in other.rows
        ]
        groups.append(RowGroup(other.title, rows, ranked=False))
    notes = [
        *spec.notes,
        "Main scores × 100, higher is better; the number of tasks in brackets.",
        *([MARKS_NOTE, AVERAGES_NOTE] if entries else []),
        *interval_notes(study, groups),
        *source_notes(others),
        *control_notes(entries, study.bases),
        *(study.summary.notes_on(entries) if entries else ["None of these numbers was measured here."]),
    ]
    first = len(heads) + len(setting)

    def weak(best: Place, second: Place) -> bool | None:
        rivals = parts[best[0]].entries
        return weaker(study.evidence, rivals[best[1]], rivals[second[1]], shown[best[2] - first].group)

    return with_signs(Table(name, spec.title, columns, groups, notes), weak)


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


def tasks_table(name: str, spec: TasksSpec, study: Study) -> Table | None:
    """Tasks down, methods across, so that many tasks stay readable; None if no method belongs in it."""
    summary = study.summary
    ours, ordered = _method_columns(spec, study)
    if not ordered:
        return None
    others = imported(study, summary.types) if "imported" in spec.columns else []
    foreign = [(other.title, row) for other in others for row in other.rows]
    theirs = [
        Column(row.entry[0], f"imported {row.entry[0]} {row.source}", title, f".{spec.decimals}f")
        for title, row in foreign
    ]
    blocks = {kind: [Measure(t, t, [t], ("task", t)) for t in tasks] for kind, tasks in summary.types.items()}
    blocks["All tasks"] = [Measure(AVERAGE, AVERAGE, summary.tasks, ALL)]
    groups = [
        RowGroup(
            title,
            [[*_line_cells(study, line, ordered), *(foreign_cell(r, line) for _, r in foreign)] for line in lines],
        )
        for title, lines in blocks.items()
    ]
    entries = list(dict.fromkeys(ordered))
    marks = "In each row the best value of each group of columns is bold and the second underlined."
    notes = [
        *spec.notes,
        f"Main scores × 100, higher is better. {marks}",
        *interval_notes(study, groups, corrected=True),
        *source_notes(others),
        *control_notes(entries, study.bases),
        *summary.notes_on(entries),
    ]
    places = list(blocks.values())

    def weak(best: Place, second: Place) -> bool | None:
        group = places[best[0]][best[1]].group
        return weaker(study.evidence, ordered[best[2] - 1], ordered[second[2] - 1], group)

    columns = [Column("Task", "task", label=True, number=""), *ours, *theirs]
    return with_signs(Table(name, spec.title, columns, groups, notes, compare="along"), weak)


def _line_cells(study: Study, line: Measure, ordered: list[Entry]) -> list[Cell]:
    """The name of a row and our scores in it."""
    return [Cell(line.title), *(score_cell(study, entry, line.tasks, line.group) for entry in ordered)]


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
