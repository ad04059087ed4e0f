"""The tables of cost: of embedding and of training."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from causal2vec.reporting.compare import (
    compare,
    control_notes,
    counterpart,
    label_columns,
    labels,
    split_trained,
)
from causal2vec.reporting.grid import MARKS_NOTE, Cell, Column, RowGroup, Table
from causal2vec.reporting.schema import MIXED
from causal2vec.reporting.summary import Entry, is_untrained, pairs, seed_note, sort_entries

REFERENCE = "causal2vec"
"""The method that relative costs refer to."""

_EFFICIENCY = [
    Column("LLM tokens", "llm_tokens", "Tokens per text", ",.1f", "lower"),
    Column("Encoder tokens", "encoder_tokens", "Tokens per text", ",.1f"),
    Column("Texts/s", "texts_per_second", "Speed", "sig3", "higher", spread=True),
    Column("s per 1,000 texts", "seconds_per_1000_texts", "Speed", "sig3", "lower", spread=True),
    Column("Peak memory (MB)", "peak_memory_mb", "Size", ",.0f", "lower"),
    Column("Trainable parameters", "trainable_parameters", "Size", ",.0f"),
    Column("Total parameters", "total_parameters", "Size", ",.0f", "lower"),
]


def efficiency_table(efficiency: pd.DataFrame, order: list[str], bases: list[str] | None = None) -> Table:
    """Cost per method and text length, also relative to `REFERENCE` at the same length on the compared base."""
    entries = sort_entries(list(dict.fromkeys(pairs(efficiency))), order)
    relative = f"Relative to {REFERENCE}"
    columns = [
        *label_columns(entries),
        *_EFFICIENCY,
        Column("Time ratio", "time_ratio", relative, ".2f", "lower"),
        Column("LLM token ratio", "llm_token_ratio", relative, ".2f", "lower"),
    ]
    records: list[dict[str, Any]] = [dict(zip(efficiency.columns, row, strict=True)) for row in efficiency.to_numpy()]
    found = {(row["text_tokens"], row["method"], row["base"]): row for row in records}
    lengths = sorted(set(efficiency["text_tokens"]), key=lambda text: -1 if text == MIXED else int(text))
    groups = []
    for length in lengths:
        for panel in compare(entries, bases):
            here = [e for e in panel.entries if (length, *e) in found]
            reference = found.get((length, REFERENCE, panel.base))
            # Twins cost about the same as their methods: ranked together, noise would decide between the two.
            # A twin that was measured in its method's stead is its only row, and is ranked with the others.
            repeated = [e for e in here if is_untrained(e[0]) and counterpart(e) in here]
            for members, twins in (([e for e in here if e not in repeated], ""), (repeated, ", untrained")):
                rows = [[*labels(e, entries), *_cost_cells(found[length, *e], reference)] for e in members]
                if rows:
                    groups.append(RowGroup(panel.heading(_length_title(length) + twins), rows))
    notes = [
        f"Median over repeats, with the lowest and the highest in brackets. {MARKS_NOTE}",
        f"Ratios are a method's seconds, or its tokens into the LLM, over {REFERENCE}'s on the same texts.",
        *control_notes(entries, bases),
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


def _length_title(length: str) -> str:
    return "Texts of mixed length" if length == MIXED else f"Texts of {int(length):,} tokens"


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


def training_table(training: pd.DataFrame, order: list[str], bases: list[str] | None = None) -> Table:
    """What training cost, one row per method, averaged over seeds."""
    frame = training.assign(final_loss=[_final_loss(points) for points in training["loss"]])
    entries = sort_entries(list(dict.fromkeys(pairs(frame))), order)
    seeds: dict[Entry, set[int]] = {entry: set() for entry in entries}
    for entry, seed in zip(pairs(frame), frame["seed"], strict=True):
        seeds[entry].add(int(seed))
    means = frame.groupby(["method", "base"])[[column.key for column in _TRAINING]].mean()
    groups = []
    for part in split_trained(compare(entries, bases)):
        rows = [
            [*labels(entry, entries), *(Cell(_some(means.loc[entry, c.key])) for c in _TRAINING)]
            for entry in part.entries
        ]
        groups.append(RowGroup(part.title, rows))
    notes = [
        f"Lower is better where values are ranked. {MARKS_NOTE}",
        *control_notes(entries, bases),
        seed_note(entries, seeds),
    ]
    return Table("training", "Cost of training", [*label_columns(entries), *_TRAINING], groups, notes)


def _final_loss(points: list[dict[str, float]]) -> float:
    return float(max(points, key=lambda point: point["step"])["loss"]) if points else math.nan


def _some(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
