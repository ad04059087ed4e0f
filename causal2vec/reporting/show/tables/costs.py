"""The tables of cost: of embedding, by length and by condition, what one method saves, and of training."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from causal2vec.efficiency.names import PLAIN, READ_AGAIN, READ_ONCE
from causal2vec.reporting.analysis.compare import Panel, compare, control_notes, counterpart, split_trained
from causal2vec.reporting.analysis.savings import (
    COMPARISONS,
    SETTINGS,
    Measured,
    Row,
    Saving,
    kind_words,
    savings,
    text_rank,
    text_words,
    with_variants,
)
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import (
    Entry,
    is_untrained,
    is_variant,
    pairs,
    seed_note,
    sort_entries,
    twin_of,
)
from causal2vec.reporting.read.schema import EFFICIENCY_DEFAULTS
from causal2vec.reporting.read.types import listed
from causal2vec.reporting.show.tables.grid import (
    MARKS_NOTE,
    Cell,
    RowGroup,
    Table,
    label_columns,
    labels,
    name_column,
    panel_groups,
)
from causal2vec.reporting.show.tables.layout import (
    ConditionsSpec,
    EfficiencySpec,
    NumberColumn,
    SavingsSpec,
    TrainingSpec,
)

REUSE = name_column("Reuse", "reuse")
"""Whether a beginning that all texts share is read once for all of them."""

REUSE_NOTE = "Reuse: yes where a beginning that all texts share (instruction, examples, template) is read once for all."

REACHED = "†"
"""The sign of a saving that is as large as was claimed."""

_NEEDS = {
    "machine_share": ("gflops_per_text", "matmul_gflops"),
    "counted_share": ("measured_gflops_per_text",),
    "time_surplus": ("gflops_per_text",),
}
"""What a number that is in no column of its own is made from."""

_SAVED = {"shorter": "fewer tokens", "leaner": "fewer FLOPs", "faster": "less time"}


def efficiency_table(spec: EfficiencySpec, study: Study) -> Table | None:
    """Cost per method and text length, also relative to a reference method at the same length and compared base."""
    if study.costs is None:
        return None
    costs = study.costs[[not is_variant(method) for method in study.costs["method"]]]
    columns = _known_columns(spec.columns, costs)
    entries = sort_entries(list(dict.fromkeys(pairs(costs))), study.order)
    records: list[Row] = [dict(zip(costs.columns, row, strict=True)) for row in costs.to_numpy()]
    found = {(row["text_tokens"], row["method"], row["base"]): row for row in records}
    heads = label_columns(entries)
    groups = []
    for length in sorted(set(costs["text_tokens"]), key=text_rank):
        for panel in compare(entries, study.bases):
            here = [e for e in panel.entries if (length, *e) in found]
            reference = found.get((length, spec.reference, panel.base))
            # Twins cost about the same as their methods: ranked together, noise would decide between the two.
            # A twin that was measured in its method's stead is its only row, and is ranked with the others.
            repeated = [e for e in here if is_untrained(e[0]) and counterpart(e) in here]
            for members, twins in (([e for e in here if e not in repeated], ""), (repeated, ", untrained")):
                rows = [
                    [*labels(e, heads), *(_cost_cell(c, found[length, *e], reference) for c in columns)]
                    for e in members
                ]
                groups.append(RowGroup(panel.heading(f"Texts of {text_words(length)}{twins}"), rows))
    notes = [
        *_reading_notes(
            columns,
            f"A ratio is a method's number over {spec.reference}'s on the same texts."
            if any(method == spec.reference for method, _ in entries)
            else f"No ratios: {spec.reference} was not measured.",
        ),
        *control_notes(entries, study.bases),
        *_how_measured(costs, study),
    ]
    return spec.table(heads, columns, groups, notes)


def conditions_table(spec: ConditionsSpec, study: Study) -> Table | None:
    """Cost per method, with and without reuse, for all that stands before the texts and for all their lengths.

    None where nothing was measured that the table would show.
    """
    if study.conditions is None:
        return None
    measured = Measured(study.conditions)
    columns = _known_columns(spec.columns, study.conditions)
    entries = sort_entries(measured.entries, with_variants(study.order, measured.entries))
    heads = label_columns(entries)
    groups = []
    for setting, text in measured.cases:
        for panel in compare(entries, study.bases):
            found = {
                (entry, reuse): row
                for entry in panel.entries
                for reuse in (READ_AGAIN, READ_ONCE)
                if (row := measured.own(entry, setting, reuse, text)) is not None
            }
            if not spec.plain and setting == PLAIN and not any(reuse == READ_ONCE for _, reuse in found):
                continue
            reference = measured.row((spec.reference, panel.base), setting, READ_AGAIN, text)
            rows = [
                [*labels(entry, heads), Cell(reuse), *(_cost_cell(column, row, reference) for column in columns)]
                for (entry, reuse), row in found.items()
            ]
            heading = f"{_capital(SETTINGS[setting])}, texts of {text_words(text)}"
            groups.append(RowGroup(panel.heading(heading), rows))
    if not any(name in EFFICIENCY_DEFAULTS for column in columns for name in _sources(column)):
        return None  # nothing that older files do not tell
    relative = (
        f"A ratio is a method's number over {spec.reference}'s, on the same texts with the same words before them, "
        "every token read (reuse: no)."
    )
    notes = [
        REUSE_NOTE,
        *_reading_notes(columns, relative),
        *control_notes(entries, study.bases),
        *_how_measured(study.conditions, study),
    ]
    return spec.table([*heads, REUSE], columns, groups, notes)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _known_columns(columns: list[NumberColumn], costs: pd.DataFrame) -> list[NumberColumn]:
    """The columns without those whose numbers no row has: an older file lacks them, or the machine does not tell."""

    def known(name: str) -> bool:
        return name not in EFFICIENCY_DEFAULTS or (name in costs and bool(costs[name].notna().any()))

    return [column for column in columns if all(map(known, _sources(column)))]


def _sources(column: NumberColumn) -> tuple[str, ...]:
    return _NEEDS.get(column.source, (column.source,))


def _cost_cell(column: NumberColumn, row: Row, reference: Row | None) -> Cell:
    """One cost of a row, or its ratio to the reference's; a gap where either is not known."""

    def ratio(key: str) -> float | None:
        return _over(row[key], reference[key]) if reference else None

    if column.ratio_of:
        return column.cell(ratio(column.ratio_of))
    if column.key == "time_surplus":
        # How much more (above 1) or less of its time a method takes than its FLOPs let one expect.
        expected, taken = ratio("gflops_per_text"), ratio("seconds_per_1000_texts")
        return column.cell(taken / expected if taken and expected else None)
    if column.key == "machine_share":
        return column.cell(_over(row["gflops_per_text"] * row["texts_per_second"], row["matmul_gflops"]))
    if column.key == "counted_share":
        return column.cell(_over(row["measured_gflops_per_text"], row["gflops_per_text"]))
    return column.cell(row[column.key], row.get(f"{column.key}_min"), row.get(f"{column.key}_max"))


def _over(value: float, base: float) -> float | None:
    return value / base if base else None


def _reading_notes(columns: list[NumberColumn], relative: str) -> list[str]:
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


def _how_measured(costs: pd.DataFrame, study: Study) -> list[str]:
    """How the costs were measured; several values are all named, since they may not be comparable."""
    names = ("device", "dtype", "threads", "batch_tokens", "batch_size", "repeats")
    values = {name: sorted({value for value in costs[name] if value}) for name in names if name in costs}
    if values.get("batch_tokens"):  # then a number of texts says nothing
        values.pop("batch_size", None)
    words = {"batch_tokens": "tokens per batch", "batch_size": "batch size"}
    texts = [f"{words.get(name, name)} {listed(found)}" for name, found in values.items() if found]
    machine = study.manifest.get("hardware", {}).get("device_name", "")
    return [f"Measured with {'; '.join([*([machine] if machine else []), *texts])}."] if texts else []


def savings_table(spec: SavingsSpec, study: Study) -> Table | None:
    """What the reference saves against each rival on its base; None where no rival was measured beside it."""
    if study.conditions is None:
        return None
    measured = Measured(study.conditions)
    entries = sort_entries(measured.entries, with_variants(study.order, measured.entries))
    panels = compare(entries, study.bases)
    found = {panel.base: _panel_savings(measured, panel, spec.reference) for panel in panels}
    everything = [saving for part in found.values() for saving in part]
    columns = [c for c in spec.columns if any(not math.isnan(getattr(s, c.key)) for s in everything)]
    if not columns:
        return None
    groups = []
    for kind, words in COMPARISONS.items():
        for panel in panels:
            rows = [
                [
                    Cell(saving.rival[0]),
                    Cell(saving.reuse),
                    Cell(text_words(saving.text).removeprefix("the task ")),
                    *(_saving_cell(saving, column, spec) for column in columns),
                ]
                for saving in found[panel.base]
                if (saving.setting, saving.own_setting) == kind
            ]
            groups.append(RowGroup(panel.heading(_capital(words)), rows, ranked=False))
    notes = [
        f"How much {spec.reference} saves of the rival's cost, in per cent; below zero it needs more. Rivals on the "
        "same base; controls are left out.",
        *(_most_saved(column, everything, spec) for column in columns),
        f"{REUSE_NOTE} {spec.reference} does the same where it can.",
        *_how_measured(study.conditions, study),
    ]
    return spec.table([name_column("Against", "rival"), REUSE, name_column("Texts", "texts")], columns, groups, notes)


def _panel_savings(measured: Measured, panel: Panel, reference: str) -> list[Saving]:
    """What the reference (or its untrained twin) saves against every rival on the panel's base."""
    here = [e for e in panel.entries if e[1] == panel.base]
    own = next((e for e in here if twin_of(e[0]) == reference), None)
    rivals = [e for e in here if twin_of(e[0]) != reference]
    return [saving for rival in rivals for saving in savings(measured, own, rival)] if own else []


def _saving_cell(saving: Saving, column: NumberColumn, spec: SavingsSpec) -> Cell:
    value, low, high = (getattr(saving, f"{column.key}{end}", None) for end in ("", "_low", "_high"))
    return replace(column.cell(value, low, high), sign=REACHED if _holds(saving, column.key, spec) else "")


def _holds(saving: Saving, key: str, spec: SavingsSpec) -> bool:
    """Whether a saving is as large as was claimed."""
    return round(getattr(saving, key), 9) >= spec.claimed.get(key, math.inf)


def _most_saved(column: NumberColumn, found: list[Saving], spec: SavingsSpec) -> str:
    """The largest saving and its condition, and where a claimed one is reached."""
    known = [saving for saving in found if not math.isnan(getattr(saving, column.key))]

    def most(among: list[Saving]) -> tuple[str, str]:
        best = max(among, key=lambda saving: float(getattr(saving, column.key)))
        where = f"{text_words(best.text)}, against {best.rival[0]}, {kind_words(*best.kind)}"
        return f"{getattr(best, column.key):.1f} %", f"({where})"

    value, where = most(known)
    texts = [f"At most {value} {_SAVED[column.key]} {where}"]
    once = [saving for saving in known if saving.reuse == READ_ONCE]
    if once:
        texts.append(f"where the rival reads a shared beginning once, at most {' '.join(most(once))}")
    if column.key in spec.claimed:
        reached = [saving for saving in known if _holds(saving, column.key, spec)]
        rivals: dict[Entry, dict[str, None]] = {}
        for saving in reached:
            rivals.setdefault(saving.rival, {})[kind_words(*saving.kind)] = None
        against = "; ".join(f"against {rival[0]}: {listed(list(kinds))}" for rival, kinds in rivals.items())
        texts.append(
            f"{spec.claimed[column.key]:g} % and more ({REACHED}) in {len(reached)} of {len(known)} cases"
            f"{f' ({against})' if against else ''}"
        )
    return f"{'; '.join(texts)}."


def training_table(spec: TrainingSpec, study: Study) -> Table | None:
    """What training cost, one row per method, averaged over seeds; None where nothing was trained."""
    if study.training is None:
        return None
    frame = study.training[[not is_variant(method) for method in study.training["method"]]]
    frame = frame.assign(final_loss=[_final_loss(points) for points in frame["loss"]])
    entries = sort_entries(list(dict.fromkeys(pairs(frame))), study.order)
    if not entries:
        return None
    runs = frame.groupby(["method", "base"])
    seeds: dict[Entry, set[int]] = {entry: set() for entry in entries}
    for entry, seed in zip(pairs(frame), frame["seed"], strict=True):
        seeds[entry].add(int(seed))
    means = runs[[column.key for column in spec.columns]].mean().to_dict("index")
    heads = label_columns(entries)
    groups = panel_groups(
        split_trained(compare(entries, study.bases)),
        heads,
        lambda _, entry: [column.cell(means[entry][column.key]) for column in spec.columns],
    )
    notes = [
        f"Lower is better where values are ranked. {MARKS_NOTE}",
        *control_notes(entries, study.bases),
        seed_note(entries, seeds),
    ]
    return spec.table(heads, spec.columns, groups, notes)


def _final_loss(points: list[dict[str, float]]) -> float:
    return float(max(points, key=lambda point: point["step"])["loss"]) if points else math.nan
