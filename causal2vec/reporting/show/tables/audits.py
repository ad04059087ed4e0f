"""The table of the audit, and the mark of models that ignore their Contextual token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from causal2vec.reporting.analysis.audits import KEY
from causal2vec.reporting.analysis.compare import compare, split_blocks
from causal2vec.reporting.analysis.summary import Entry, pairs, sort_entries
from causal2vec.reporting.read.types import listed
from causal2vec.reporting.show.tables.grid import Cell, RowGroup, Table, number_cell
from causal2vec.reporting.show.tables.labels import label_columns, labels

IGNORED = "‡"
"""The sign of a method whose LLM does not use its Contextual token."""


def marked(table: Table, ignored: dict[Entry, str]) -> Table:
    """A table whose rows of methods with an ignored token bear `IGNORED`, with a note that says what it means."""
    methods = {method for method, _ in ignored}
    seen: list[str] = []

    def sign(cell: Cell, place: int) -> Cell:
        if place in table.labels and cell.value in methods:
            seen.append(str(cell.value))
            return replace(cell, sign=IGNORED)
        return cell

    groups = [replace(g, rows=[[sign(cell, i) for i, cell in enumerate(row)] for row in g.rows]) for g in table.groups]
    heads = [column.title for column in table.columns if column.title in methods]
    if not (seen or heads):
        return table
    texts = [f"{method} ({base}): {text}" for (method, base), text in ignored.items() if method in {*seen, *heads}]
    note = f"{IGNORED} {'; '.join(texts)}. Its scores are not those of the method that its paper describes."
    return replace(table, groups=groups, notes=[note, *table.notes])


def audit_table(name: str, spec: Any, study: Any) -> Table | None:
    """One row per trained method and variant, means over seeds; None where nothing was audited."""
    audit = study.audit
    if audit is None or audit.empty:
        return None
    entries = sort_entries(list(dict.fromkeys(pairs(audit))), study.order)
    heads = label_columns(entries)
    keys = [column.key for column in spec.columns]
    frame = audit.reindex(columns=[*KEY, *keys])
    means = frame.groupby(["method", "base"])[keys].mean(numeric_only=True).to_dict("index")
    groups = []
    for part in split_blocks(compare(entries, study.bases), ["trained", "variants"]):
        rows = [
            [*labels(entry, heads), *(number_cell(means[entry].get(c.key), scale=c.scale) for c in spec.columns)]
            for entry in part.entries
        ]
        groups.append(RowGroup(part.title, rows))
    notes = [
        *spec.notes,
        f"Held-back training pairs; no evaluation task. Means over seeds ({listed(sorted(set(audit['seed'])))}).",
    ]
    return Table(name, spec.title, [*heads, *(c.column() for c in spec.columns)], groups, notes)
