"""What each table shows, from tidy data to `Table`, and the files they go to."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.files import write_text
from causal2vec.reporting.grid import Cell, Column, RowGroup, Table
from causal2vec.reporting.render import to_csv, to_latex, to_markdown
from causal2vec.reporting.schema import MIXED, read_efficiency, read_training
from causal2vec.reporting.scores import read_scores
from causal2vec.reporting.summary import (
    Entry,
    Summary,
    entry_name,
    is_untrained,
    seed_note,
    sort_entries,
    summarise,
)

TRAINED_TITLE = "Trained on the same pairs"
UNTRAINED_TITLE = "Untrained (-zero_shot)"
REFERENCE = "causal2vec"
"""The method that relative costs refer to."""

_MARKS = "Within each group the best value is bold and the second underlined."


def main_table(summary: Summary, decimals: int = 1) -> Table:
    """Average score per task type and over all tasks, one row per method."""
    ranked = Column("", "", number=f".{decimals}f", better="higher")
    columns = [
        *_label_columns(summary.entries),
        *(replace(ranked, title=f"{t} ({len(tasks)})", key=t) for t, tasks in summary.types.items()),
        replace(ranked, title=f"Average ({len(summary.tasks)})", key="Average"),
    ]
    groups = []
    for title, entries in _entry_groups(summary.entries):
        rows = []
        for entry in entries:
            scores = [summary.average(entry, tasks) for tasks in summary.types.values()]
            scores.append(summary.average(entry, summary.tasks))
            rows.append([*_labels(entry, summary.entries), *(_score(value) for value in scores)])
        groups.append(RowGroup(title, rows))
    notes = [
        f"Main scores × 100, higher is better; the number of tasks in brackets. {_MARKS}",
        "An average is the mean over its tasks, and is left out unless all of them are there.",
        *summary.notes,
    ]
    return Table("main", "Average scores by task type", columns, groups, notes)


def tasks_table(summary: Summary, decimals: int = 1) -> Table:
    """Every task's score: tasks down, methods across, so that many tasks stay readable."""
    columns = [Column("Task", "task", label=True, number="")]
    ordered = []
    for title, entries in _entry_groups(summary.entries):
        for entry in entries:
            key = entry_name(entry, summary.entries)
            columns.append(Column(entry[0], key, group=title, number=f".{decimals}f", better="higher"))
            ordered.append(entry)
    groups = []
    for task_type, tasks in summary.types.items():
        rows = [[Cell(task), *(_score(summary.score(e, task)) for e in ordered)] for task in tasks]
        groups.append(RowGroup(task_type, rows))
    means = [_score(summary.average(entry, summary.tasks)) for entry in ordered]
    groups.append(RowGroup("All tasks", [[Cell("Average"), *means]]))
    marks = "In each row the best value of each group of columns is bold and the second underlined."
    notes = [f"Main scores × 100, higher is better. {marks}", *summary.notes]
    return Table("tasks", "Scores by task", columns, groups, notes, compare="along")


_EFFICIENCY = [
    Column("LLM tokens", "llm_tokens", "Tokens per text", ",.1f", "lower"),
    Column("Encoder tokens", "encoder_tokens", "Tokens per text", ",.1f"),
    Column("Texts/s", "texts_per_second", "Speed", "sig3", "higher", spread=True),
    Column("s per 1,000 texts", "seconds_per_1000_texts", "Speed", "sig3", "lower", spread=True),
    Column("Peak memory (MB)", "peak_memory_mb", "Size", ",.0f", "lower"),
    Column("Trainable parameters", "trainable_parameters", "Size", ",.0f"),
    Column("Total parameters", "total_parameters", "Size", ",.0f", "lower"),
]


def efficiency_table(efficiency: pd.DataFrame, order: list[str]) -> Table:
    """Cost per method and text length, also relative to `REFERENCE` at the same length."""
    entries = sort_entries(list(dict.fromkeys(_pairs(efficiency))), order)
    relative = f"Relative to {REFERENCE}"
    columns = [
        *_label_columns(entries),
        *_EFFICIENCY,
        Column("Time ratio", "time_ratio", relative, ".2f", "lower"),
        Column("LLM token ratio", "llm_token_ratio", relative, ".2f", "lower"),
    ]
    records: list[dict[str, Any]] = [
        dict(zip(efficiency.columns, row, strict=True)) for row in efficiency.to_numpy()
    ]
    found = {(row["text_tokens"], row["method"], row["base"]): row for row in records}
    lengths = sorted(set(efficiency["text_tokens"]), key=lambda text: -1 if text == MIXED else int(text))
    groups = []
    for length in lengths:
        for base in dict.fromkeys(base for _, base in entries):
            here = [e for e in entries if e[1] == base and (length, *e) in found]
            reference = found.get((length, REFERENCE, base))
            # Twins cost about the same as their methods: ranked together, noise would decide between the two.
            for untrained in (False, True):
                members = [e for e in here if is_untrained(e[0]) == untrained]
                rows = [[*_labels(e, entries), *_cost_cells(found[length, *e], reference)] for e in members]
                if rows:
                    groups.append(RowGroup(_length_title(length, base, entries, untrained), rows))
    notes = [
        f"Median over repeats, with the lowest and the highest in brackets. {_MARKS}",
        f"Ratios are a method's seconds, or its tokens into the LLM, over {REFERENCE}'s on the same texts.",
        *_setting_notes(efficiency),
    ]
    if not any(row[-2].value is not None for group in groups for row in group.rows):
        notes.append(f"No ratios: {REFERENCE} was not measured.")
    return Table("efficiency", "Cost of embedding", columns, groups, notes)


def _cost_cells(row: dict[str, Any], reference: dict[str, Any] | None) -> list[Cell]:
    cells = []
    for column in _EFFICIENCY:
        low, high = (row[f"{column.key}_{end}"] if column.spread else math.nan for end in ("min", "max"))
        cells.append(Cell(_some(row[column.key]), _some(low), _some(high)))
    for name in ("seconds_per_1000_texts", "llm_tokens"):
        base = reference[name] if reference else math.nan
        cells.append(Cell(_some(row[name] / base) if base else None))
    return cells


def _length_title(length: str, base: str, entries: list[Entry], untrained: bool) -> str:
    title = "Texts of mixed length" if length == MIXED else f"Texts of {int(length):,} tokens"
    twins = ", untrained" if untrained else ""
    return _with_base(title + twins, base, entries)


def _setting_notes(efficiency: pd.DataFrame) -> list[str]:
    """How the costs were measured; several values are all named, since they may not be comparable."""
    texts = []
    for name, words in [
        ("device", "device"),
        ("dtype", "dtype"),
        ("batch_size", "batch size"),
        ("repeats", "repeats"),
    ]:
        values = sorted({value for value in efficiency[name] if value})
        if values:
            texts.append(f"{words} {', '.join(values)}")
    return [f"Measured with {'; '.join(texts)}."] if texts else []


_TRAINING = [
    Column("Steps", "steps", number=",.0f"),
    Column("Pairs", "pairs", number=",.0f"),
    Column("Seconds", "seconds", number="sig3", better="lower"),
    Column("Trainable parameters", "trainable_parameters", number=",.0f", better="lower"),
    Column("Peak memory (MB)", "peak_memory_mb", number=",.0f", better="lower"),
    Column("Final loss", "final_loss", number=".4f", better="lower"),
]


def training_table(training: pd.DataFrame, order: list[str]) -> Table:
    """What training cost, one row per method, averaged over seeds."""
    frame = training.assign(final_loss=[_final_loss(points) for points in training["loss"]])
    entries = sort_entries(list(dict.fromkeys(_pairs(frame))), order)
    seeds: dict[Entry, set[int]] = {entry: set() for entry in entries}
    for entry, seed in zip(_pairs(frame), frame["seed"], strict=True):
        seeds[entry].add(int(seed))
    means = frame.groupby(["method", "base"])[[column.key for column in _TRAINING]].mean()
    groups = []
    for title, members in _entry_groups(entries):
        rows = [
            [*_labels(entry, entries), *(Cell(_some(means.loc[entry, c.key])) for c in _TRAINING)]
            for entry in members
        ]
        groups.append(RowGroup(title, rows))
    notes = [f"Lower is better where values are ranked. {_MARKS}", seed_note(entries, seeds)]
    return Table("training", "Cost of training", [*_label_columns(entries), *_TRAINING], groups, notes)


def _final_loss(points: list[dict[str, float]]) -> float:
    return float(max(points, key=lambda point: point["step"])["loss"]) if points else math.nan


def write_tables(
    scores: Path,
    efficiency: Path | None,
    training: list[Path],
    output: Path,
    *,
    notes: list[str],
    order: list[str],
    decimals: int = 1,
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

    Raises:
        UserError: A file is missing or does not hold what it should.
    """
    summary = summarise(read_scores(scores), order)
    tables = [main_table(summary, decimals), tasks_table(summary, decimals)]
    if efficiency is not None:
        tables.append(efficiency_table(read_efficiency(efficiency), order))
    if training:
        tables.append(training_table(read_training(training), order))
    for table in tables:
        whole = replace(table, notes=[*notes, *table.notes])
        for suffix, render in [("md", to_markdown), ("csv", to_csv), ("tex", to_latex)]:
            write_text(output / f"{table.name}.{suffix}", render(whole))


def _label_columns(entries: list[Entry]) -> list[Column]:
    columns = [Column("Method", "method", label=True, number="")]
    if len({base for _, base in entries}) > 1:
        columns.append(Column("Base", "base", label=True, number=""))
    return columns


def _labels(entry: Entry, entries: list[Entry]) -> list[Cell]:
    return [Cell(text) for text, _ in zip(entry, _label_columns(entries), strict=False)]


def _entry_groups(entries: list[Entry]) -> list[tuple[str, list[Entry]]]:
    """Entries that may be compared with each other: the same base, and trained or not."""
    groups = []
    for untrained, title in [(False, TRAINED_TITLE), (True, UNTRAINED_TITLE)]:
        for base in dict.fromkeys(base for _, base in entries):
            members = [e for e in entries if e[1] == base and is_untrained(e[0]) == untrained]
            if members:
                groups.append((_with_base(title, base, entries), members))
    return groups


def _with_base(title: str, base: str, entries: list[Entry]) -> str:
    return f"{title}, base {base}" if len({b for _, b in entries}) > 1 else title


def _pairs(frame: pd.DataFrame) -> list[Entry]:
    return list(zip(frame["method"], frame["base"], strict=True))


def _score(value: float | None) -> Cell:
    # Rounded far below what is shown, only to keep the noise of binary fractions out of the CSV file.
    return Cell(None if value is None else round(value * 100, 10))


def _some(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
