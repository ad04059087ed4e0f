"""The tables of cost: of embedding and of training."""

from __future__ import annotations

import math

import pandas as pd

from causal2vec.reporting.analysis.compare import compare, control_notes, counterpart, split_trained
from causal2vec.reporting.analysis.savings import Row, text_rank, text_words
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, is_untrained, is_variant, pairs, seed_note, sort_entries
from causal2vec.reporting.read.schema import EFFICIENCY_DEFAULTS
from causal2vec.reporting.read.types import listed
from causal2vec.reporting.show.tables.grid import MARKS_NOTE, Cell, RowGroup, Table, number_cell
from causal2vec.reporting.show.tables.labels import label_columns, labels
from causal2vec.reporting.show.tables.layout import EfficiencySpec, NumberColumn, TrainingSpec

_NEEDS = {
    "machine_share": ("gflops_per_text", "matmul_gflops"),
    "counted_share": ("measured_gflops_per_text",),
    "time_surplus": ("gflops_per_text",),
}
"""What a number that is in no column of its own is made from."""


def efficiency_table(name: str, spec: EfficiencySpec, study: Study) -> Table | None:
    """Cost per method and text length, also relative to a reference method at the same length and compared base.

    None where nothing was measured.
    """
    if study.costs is None:
        return None
    costs = study.costs[[not is_variant(method) for method in study.costs["method"]]]
    columns = known_columns(spec.columns, costs)
    entries = sort_entries(list(dict.fromkeys(pairs(costs))), study.order)
    if not entries:
        return None
    records: list[Row] = [dict(zip(costs.columns, row, strict=True)) for row in costs.to_numpy()]
    found = {(row["text_tokens"], row["method"], row["base"]): row for row in records}
    lengths = sorted(set(costs["text_tokens"]), key=text_rank)
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
                    [*labels(e, heads), *(cost_cell(c, found[length, *e], reference) for c in columns)] for e in members
                ]
                if rows:
                    groups.append(RowGroup(panel.heading(f"Texts of {text_words(length)}{twins}"), rows))
    measured = any((length, spec.reference) == key[:2] for key in found for length in lengths)
    relative = f"{spec.reference}'s on the same texts" if measured else f"No ratios: {spec.reference} was not measured."
    notes = [
        *spec.notes,
        *reading_notes(columns, f"A ratio is a method's number over {relative}." if measured else relative),
        *control_notes(entries, study.bases),
        *how_measured(costs, study),
    ]
    return Table(name, spec.title, [*heads, *(c.column() for c in columns)], groups, notes)


def known_columns(columns: list[NumberColumn], costs: pd.DataFrame) -> list[NumberColumn]:
    """The columns without those whose numbers no row has: an older file lacks them, or the machine does not tell."""

    def known(name: str) -> bool:
        return name not in EFFICIENCY_DEFAULTS or (name in costs and bool(costs[name].notna().any()))

    return [column for column in columns if all(map(known, _sources(column)))]


def is_newer(column: NumberColumn) -> bool:
    """Whether a column shows what older files do not tell."""
    return any(name in EFFICIENCY_DEFAULTS for name in _sources(column))


def _sources(column: NumberColumn) -> tuple[str, ...]:
    return _NEEDS.get(column.source, (column.source,))


def cost_cell(column: NumberColumn, row: Row, reference: Row | None) -> Cell:
    """One cost of a row, or its ratio to the reference's; a gap where either is not known."""
    if column.ratio_of:
        return number_cell(_ratio(column.ratio_of, row, reference), scale=column.scale)
    if column.key == "time_surplus":
        # How much more (above 1) or less of its time a method takes than its FLOPs let one expect.
        expected, taken = (_ratio(key, row, reference) for key in ("gflops_per_text", "seconds_per_1000_texts"))
        return number_cell(taken / expected if taken and expected else None, scale=column.scale)
    low, high = (row.get(f"{column.key}_{end}") if column.spread else None for end in ("min", "max"))
    return number_cell(_cost(column.key, row), low, high, column.scale)


def _ratio(key: str, row: Row, reference: Row | None) -> float | None:
    base = reference[key] if reference else math.nan
    return row[key] / base if base else None


def _cost(key: str, row: Row) -> float | None:
    if key == "machine_share":
        rate = row["matmul_gflops"]
        return row["gflops_per_text"] * row["texts_per_second"] / rate if rate else None
    if key == "counted_share":
        predicted = row["gflops_per_text"]
        return row["measured_gflops_per_text"] / predicted if predicted else None
    return row[key]  # type: ignore[no-any-return]


def reading_notes(columns: list[NumberColumn], relative: str) -> list[str]:
    """How to read a table of costs; what the columns do not show is not explained."""
    brackets = ", with the lowest and the highest in brackets" if any(column.spread for column in columns) else ""
    keys = {column.key for column in columns}
    meanings = {
        "gflops_per_text": "GFLOP: predicted from the tokens and the models' shapes, a multiplication and an addition "
        "counting two.",
        "machine_share": "Share of the machine: predicted GFLOP times texts per second, over the rate of matrix "
        "multiplication alone that was measured in the same run.",
        "latency_ms": "Latency: one text alone.",
    }
    ratios = any(column.ratio_of or column.key == "time_surplus" for column in columns)
    return [
        f"Median over repeats{brackets}. {MARKS_NOTE}",
        *(text for key, text in meanings.items() if key in keys),
        *([relative] if ratios else []),
    ]


def how_measured(costs: pd.DataFrame, study: Study) -> list[str]:
    """How the costs were measured; several values are all named, since they may not be comparable."""
    texts: list[str] = []
    for name, words in [
        ("device", "device"),
        ("dtype", "dtype"),
        ("threads", "threads"),
        ("batch_tokens", "tokens per batch"),
        ("batch_size", "batch size"),
        ("repeats", "repeats"),
    ]:
        values = sorted({value for value in costs[name] if value}) if name in costs else []
        # Where batches hold a number of tokens, a number of texts says nothing.
        if values and not (name == "batch_size" and any(text.startswith("tokens") for text in texts)):
            texts.append(f"{words} {listed(values)}")
    machine = study.manifest.get("hardware", {}).get("device_name", "")
    return [f"Measured with {'; '.join([*([machine] if machine else []), *texts])}."] if texts else []


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
