"""The table of savings: by how much one method is shorter and faster than each rival, under every condition."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from causal2vec.efficiency.names import READ_ONCE
from causal2vec.reporting.analysis.compare import Panel, compare
from causal2vec.reporting.analysis.savings import (
    COMPARISONS,
    Measured,
    Saving,
    kind_words,
    savings,
    text_words,
    with_variants,
)
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, sort_entries, twin_of
from causal2vec.reporting.read.types import listed
from causal2vec.reporting.show.tables.conditions import REUSE, REUSE_NOTE
from causal2vec.reporting.show.tables.costs import how_measured
from causal2vec.reporting.show.tables.grid import Cell, Column, RowGroup, Table, number_cell
from causal2vec.reporting.show.tables.labels import label_columns
from causal2vec.reporting.show.tables.layout import NumberColumn, SavingsSpec

REACHED = "†"
"""The sign of a saving that is as large as was claimed."""

_WORDS = {"shorter": "fewer tokens", "leaner": "fewer FLOPs", "faster": "less time"}


def savings_table(name: str, spec: SavingsSpec, study: Study) -> Table | None:
    """What the reference saves against each rival on its base; None where no rival was measured beside it."""
    if study.conditions is None:
        return None
    measured = Measured(study.conditions)
    entries = sort_entries(measured.entries, with_variants(study.order, measured.entries))
    panels = compare(entries, study.bases)
    found = {panel.base: panel_savings(measured, panel, spec.reference) for panel in panels}
    everything = [saving for part in found.values() for saving in part]
    columns = [c for c in spec.columns if any(not math.isnan(getattr(s, c.key)) for s in everything)]
    heads = [replace(label_columns([])[0], title="Against", key="rival"), REUSE, Column("Texts", "texts", label=True)]
    groups = []
    for (setting, own_setting), words in COMPARISONS.items():
        for panel in panels:
            here = [s for s in found[panel.base] if (s.setting, s.own_setting) == (setting, own_setting)]
            rows = [_row(saving, columns, spec.claimed) for saving in here]
            if rows:
                heading = f"{words[:1].upper()}{words[1:]}"
                groups.append(RowGroup(panel.heading(heading), rows, ranked=False))
    if not groups or not columns:
        return None
    notes = [
        *spec.notes,
        f"How much {spec.reference} saves of the rival's cost, in per cent; below zero it needs more. Rivals on the "
        "same base; controls are left out.",
        *(_summary(column, everything, spec) for column in columns),
        f"{REUSE_NOTE} {spec.reference} does the same where it can.",
        *how_measured(study.conditions, study),
    ]
    return Table(name, spec.title, [*heads, *(c.column() for c in columns)], groups, notes)


def panel_savings(measured: Measured, panel: Panel, reference: str) -> list[Saving]:
    """What the reference (or its untrained twin) saves against every rival on the panel's base."""
    own = next((e for e in panel.entries if e[1] == panel.base and twin_of(e[0]) == reference), None)
    if own is None:
        return []
    rivals = [e for e in panel.entries if e[1] == panel.base and twin_of(e[0]) != reference]
    return [saving for rival in rivals for saving in savings(measured, own, rival)]


def _row(saving: Saving, columns: list[NumberColumn], claimed: dict[str, float]) -> list[Cell]:
    text = text_words(saving.text).removeprefix("the task ")
    cells = [_cell(saving, column, claimed.get(column.key, math.inf)) for column in columns]
    return [Cell(saving.rival[0]), Cell(saving.reuse), Cell(text), *cells]


def _cell(saving: Saving, column: NumberColumn, claimed: float) -> Cell:
    low, high = (getattr(saving, f"{column.key}_{end}", None) if column.spread else None for end in ("low", "high"))
    cell = number_cell(getattr(saving, column.key), low, high, column.scale)
    return replace(cell, sign=REACHED) if holds(saving, column.key, claimed) else cell


def holds(saving: Saving, key: str, claimed: float) -> bool:
    """Whether a saving is as large as was claimed."""
    return round(getattr(saving, key), 9) >= claimed


def _summary(column: NumberColumn, found: list[Saving], spec: SavingsSpec) -> str:
    """The largest saving and its condition, and where a claimed one is reached."""
    known = [saving for saving in found if not math.isnan(getattr(saving, column.key))]
    words, value = _WORDS[column.key], _by(column.key)
    best = max(known, key=value)
    texts = [f"At most {value(best):.1f} % {words} ({_where(best)})"]
    once = [saving for saving in known if saving.reuse == READ_ONCE]
    if once:
        best = max(once, key=value)
        texts.append(f"where the rival reads a shared beginning once, at most {value(best):.1f} % ({_where(best)})")
    if column.key in spec.claimed:
        reached = [saving for saving in known if holds(saving, column.key, spec.claimed[column.key])]
        texts.append(f"{spec.claimed[column.key]:g} % and more ({REACHED}) in {len(reached)} of {len(known)} cases")
        rivals: dict[Entry, list[str]] = {}
        for saving in reached:
            rivals.setdefault(saving.rival, []).append(kind_words(*saving.kind))
        against = [f"against {rival[0]}: {listed(list(dict.fromkeys(kinds)))}" for rival, kinds in rivals.items()]
        texts[-1] += f" ({'; '.join(against)})" if against else ""
    return f"{'; '.join(texts)}."


def _by(key: str) -> Callable[[Saving], float]:
    return lambda saving: float(getattr(saving, key))


def _where(saving: Saving) -> str:
    return f"{text_words(saving.text)}, against {saving.rival[0]}, {kind_words(*saving.kind)}"
