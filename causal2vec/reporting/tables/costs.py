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
from causal2vec.reporting.schema import MIXED
from causal2vec.reporting.study import Study
from causal2vec.reporting.summary import Entry, is_untrained, is_variant, listed, pairs, seed_note, sort_entries
from causal2vec.reporting.tables.grid import MARKS_NOTE, Cell, RowGroup, Table, number_cell
from causal2vec.reporting.tables.layout import EfficiencySpec, NumberColumn, TrainingSpec

Record = dict[str, Any]


def efficiency_table(name: str, spec: EfficiencySpec, study: Study) -> Table | None:
    """Cost per method and text length, also relative to a reference method at the same length and compared base.

    None where nothing was measured.
    """
    if study.costs is None:
        return None
    costs = study.costs[[not is_variant(method) for method in study.costs["method"]]]
    entries = sort_entries(list(dict.fromkeys(pairs(costs))), study.order)
    if not entries:
        return None
    records: list[Record] = [dict(zip(costs.columns, row, strict=True)) for row in costs.to_numpy()]
    found = {(row["text_tokens"], row["method"], row["base"]): row for row in records}
    lengths = sorted(set(costs["text_tokens"]), key=lambda text: -1 if text == MIXED else int(text))
    heads = label_columns(entries)
    groups = []
    for length in lengths:
        for panel in compare(entries, study.bases):
            here = [e for e in panel.entries if (length, *e) in found]
            reference = found.get((length, spec.reference, panel.base))
            # Twins cost about the same as their methods: ranked together, noise would decide between the two.
            # A twin that was measured in its method's stead is its only row, and is ranked with the others.
            repeated = [e for e in here if is_untrained(e[0]) and counterpart(e) in here]
            for members, twins in (([e for e in here if e not in repeated], ""), (repeated, ", untrained")):
                rows = [
                    [*labels(e, heads), *(_cost_cell(c, found[length, *e], reference) for c in spec.columns)]
                    for e in members
                ]
                if rows:
                    groups.append(RowGroup(panel.heading(_length_title(length) + twins), rows))
    notes = [
        *spec.notes,
        *_reading_notes(spec, any((length, spec.reference) == key[:2] for key in found for length in lengths)),
        *control_notes(entries, study.bases),
        *_setting_notes(costs),
    ]
    return Table(name, spec.title, [*heads, *(c.column() for c in spec.columns)], groups, notes)


def _cost_cell(column: NumberColumn, row: Record, reference: Record | None) -> Cell:
    if column.ratio_of:
        base = reference[column.ratio_of] if reference else math.nan
        return number_cell(row[column.ratio_of] / base if base else None, scale=column.scale)
    low, high = (row.get(f"{column.key}_{end}") if column.spread else None for end in ("min", "max"))
    return number_cell(row[column.key], low, high, column.scale)


def _reading_notes(spec: EfficiencySpec, measured: bool) -> list[str]:
    """How to read the table; what the columns do not show is not explained."""
    ranges = any(column.spread for column in spec.columns)
    ratios = any(column.ratio_of for column in spec.columns)
    brackets = ", with the lowest and the highest in brackets" if ranges else ""
    relative = (
        f"A ratio is a method's number over {spec.reference}'s on the same texts."
        if measured
        else f"No ratios: {spec.reference} was not measured."
    )
    return [f"Median over repeats{brackets}. {MARKS_NOTE}", *([relative] if ratios else [])]


def _length_title(length: str) -> str:
    return "Texts of mixed length" if length == MIXED else f"Texts of {int(length):,} tokens"


def _setting_notes(costs: pd.DataFrame) -> list[str]:
    """How the costs were measured; several values are all named, since they may not be comparable."""
    texts = []
    for name, words in [
        ("device", "device"),
        ("dtype", "dtype"),
        ("batch_size", "batch size"),
        ("repeats", "repeats"),
    ]:
        values = sorted({value for value in costs[name] if value})
        if values:
            texts.append(f"{words} {listed(values)}")
    return [f"Measured with {'; '.join(texts)}."] if texts else []


def training_table(name: str, spec: TrainingSpec, study: Study) -> Table | None:
    """What training cost, one row per method, averaged over seeds; None where nothing was trained."""
    if study.training is None:
        return None
    frame = study.training[[not is_variant(method) for method in study.training["method"]]]
    frame = frame.assign(final_loss=[_final_loss(points) for points in frame["loss"]])
    entries = sort_entries(list(dict.fromkeys(pairs(frame))), study.order)
    if not entries:
        return None
    seeds: dict[Entry, set[int]] = {entry: set() for entry in entries}
    for entry, seed in zip(pairs(frame), frame["seed"], strict=True):
        seeds[entry].add(int(seed))
    heads = label_columns(entries)
    means = frame.groupby(["method", "base"])[[column.key for column in spec.columns]].mean().to_dict("index")
    groups = []
    for part in split_trained(compare(entries, study.bases)):
        rows = [
            [*labels(entry, heads), *(number_cell(means[entry][c.key], scale=c.scale) for c in spec.columns)]
            for entry in part.entries
        ]
        groups.append(RowGroup(part.title, rows))
    notes = [
        *spec.notes,
        f"Lower is better where values are ranked. {MARKS_NOTE}",
        *control_notes(entries, study.bases),
        seed_note(entries, seeds),
    ]
    return Table(name, spec.title, [*heads, *(c.column() for c in spec.columns)], groups, notes)


def _final_loss(points: list[dict[str, float]]) -> float:
    return float(max(points, key=lambda point: point["step"])["loss"]) if points else math.nan
