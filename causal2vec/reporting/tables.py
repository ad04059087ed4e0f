"""What each table shows, from tidy data to `Table`, and the files they go to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from causal2vec.files import write_text
from causal2vec.reporting.compare import (
    check_bases,
    compare,
    control_notes,
    label_columns,
    labels,
    split_trained,
)
from causal2vec.reporting.costtables import efficiency_table, training_table
from causal2vec.reporting.grid import MARKS_NOTE, Cell, Column, RowGroup, Table
from causal2vec.reporting.render import to_csv, to_latex, to_markdown
from causal2vec.reporting.schema import read_efficiency, read_training
from causal2vec.reporting.scores import read_scores
from causal2vec.reporting.summary import Summary, entry_name, summarise


def main_table(summary: Summary, decimals: int = 1, bases: list[str] | None = None) -> Table:
    """Average score per task type and over all tasks, one row per method; ``bases`` as in `write_tables`."""
    ranked = Column("", "", number=f".{decimals}f", better="higher")
    columns = [
        *label_columns(summary.entries),
        *(replace(ranked, title=f"{t} ({len(tasks)})", key=t) for t, tasks in summary.types.items()),
        replace(ranked, title=f"Average ({len(summary.tasks)})", key="Average"),
    ]
    groups = []
    for part in split_trained(compare(summary.entries, bases)):
        rows = []
        for entry in part.entries:
            scores = [summary.average(entry, tasks) for tasks in summary.types.values()]
            scores.append(summary.average(entry, summary.tasks))
            rows.append([*labels(entry, summary.entries), *(_score(value) for value in scores)])
        groups.append(RowGroup(part.title, rows))
    notes = [
        f"Main scores × 100, higher is better; the number of tasks in brackets. {MARKS_NOTE}",
        "An average is the mean over its tasks, and is left out unless all of them are there.",
        *control_notes(summary.entries, bases),
        *summary.notes,
    ]
    return Table("main", "Average scores by task type", columns, groups, notes)


def tasks_table(summary: Summary, decimals: int = 1, bases: list[str] | None = None) -> Table:
    """Every task's score: tasks down, methods across, so that many tasks stay readable."""
    columns = [Column("Task", "task", label=True, number="")]
    ordered = []
    keys: set[str] = set()
    for part in split_trained(compare(summary.entries, bases)):
        for entry in part.entries:
            key = entry_name(entry, summary.entries)
            # A control stands beside every compared base, but a heading in the CSV file stands only once.
            key = f"{key}, base {part.base}" if key in keys else key
            keys.add(key)
            title = entry_name(entry, part.entries)
            columns.append(Column(title, key, group=part.title, number=f".{decimals}f", better="higher"))
            ordered.append(entry)
    groups = []
    for task_type, tasks in summary.types.items():
        rows = [[Cell(task), *(_score(summary.score(e, task)) for e in ordered)] for task in tasks]
        groups.append(RowGroup(task_type, rows))
    means = [_score(summary.average(entry, summary.tasks)) for entry in ordered]
    groups.append(RowGroup("All tasks", [[Cell("Average"), *means]]))
    marks = "In each row the best value of each group of columns is bold and the second underlined."
    notes = [f"Main scores × 100, higher is better. {marks}", *control_notes(summary.entries, bases), *summary.notes]
    return Table("tasks", "Scores by task", columns, groups, notes, compare="along")


def write_tables(
    scores: Path,
    efficiency: Path | None,
    training: list[Path],
    output: Path,
    *,
    notes: list[str],
    order: list[str],
    decimals: int = 1,
    bases: list[str] | None = None,
) -> None:
    """Write every table as ``.md``, ``.csv`` and ``.tex`` into the folder ``output``.

    Args:
        scores: ``scores.csv``.
        efficiency: ``efficiency.csv``; without it there is no efficiency table.
        training: ``training.json`` files; without any there is no training table.
        output: The folder for the tables.
        notes: Sentences for the end of every table, such as the config's scale note and assumed values.
        order: Methods in display order; others follow alphabetically.
        decimals: Decimals of the scores.
        bases: The compared bases; entries on other bases are controls, compared with the entries on each of
            them. Without any, the entries on each base are compared among themselves.

    Raises:
        UserError: A file is missing or does not hold what it should, or a compared base has no scores.
    """
    summary = summarise(read_scores(scores), order)
    check_bases(summary.entries, bases)
    tables = [main_table(summary, decimals, bases), tasks_table(summary, decimals, bases)]
    if efficiency is not None:
        tables.append(efficiency_table(read_efficiency(efficiency), order, bases))
    if training:
        tables.append(training_table(read_training(training), order, bases))
    for table in tables:
        whole = replace(table, notes=[*notes, *table.notes])
        for suffix, render in [("md", to_markdown), ("csv", to_csv), ("tex", to_latex)]:
            write_text(output / f"{table.name}.{suffix}", render(whole))


def _score(value: float | None) -> Cell:
    # Rounded far below what is shown, only to keep the noise of binary fractions out of the CSV file.
    return Cell(None if value is None else round(value * 100, 10))
