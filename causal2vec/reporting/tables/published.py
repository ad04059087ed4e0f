"""The table of savings at the published conditions: a benchmark's tasks behind the examples that a rival publishes."""

from __future__ import annotations

from typing import Any

from causal2vec.reporting.compare import compare
from causal2vec.reporting.schema import PARTS, PUBLISHED_LENGTH, PUBLISHED_ON
from causal2vec.reporting.study import Study
from causal2vec.reporting.tables.conditions import REUSE
from causal2vec.reporting.tables.grid import Cell, Column, RowGroup, Table, number_cell
from causal2vec.reporting.tables.layout import NumberColumn, PublishedSavingsSpec


def published_savings_table(name: str, spec: PublishedSavingsSpec, study: Study) -> Table | None:
    """Savings over the tasks, by rival, by what is embedded, and by how often a shared beginning is read.

    None where the law was not worked out.
    """
    if study.published is None or study.published.empty:
        return None
    frame: Any = study.published
    columns = [c for c in spec.columns if frame[_measure(c)].notna().any()]
    panels = [p for p in compare(study.summary.entries, study.bases) if p.base in set(frame["base"])]
    groups = []
    for panel in panels:
        for part in PARTS:
            here = frame[(frame["base"] == panel.base) & (frame["part"] == part)]
            rows = []
            for rival in dict.fromkeys(here["rival"]):
                for reuse in ("no", "yes"):
                    own = here[(here["rival"] == rival) & (here["reuse"] == reuse)]
                    cells = [_cell(own[_measure(column)], column, spec) for column in columns]
                    rows.append([Cell(rival), Cell(reuse), Cell(float(len(own))), *cells])
            if rows:
                groups.append(RowGroup(panel.heading(part[:1].upper() + part[1:]), rows, ranked=False))
    if not groups or not columns:
        return None
    heads = [Column("Against", "rival", label=True, number=""), REUSE, Column("Tasks", "tasks", number=".0f")]
    shown = {column.source.partition("_")[0] for column in columns if column.source.endswith("_reached")}
    reached = " and ".join(f"{value:g} % of the {key}" for key, value in spec.claimed.items() if key in shown)
    notes = [
        *spec.notes,
        f"Per cent of the rival's cost over the tasks of {PUBLISHED_ON}: median, in brackets the middle half of them.",
        *([f"Tasks at: how many save at least as much as the abstract's v1 says, {reached}."] if reached else []),
        "By the law of costs (docs/efficiency.md), not measured: mean lengths of each task's texts from mteb's "
        f"statistics, cut at {PUBLISHED_LENGTH} tokens, and the lengths of the examples that bge-en-icl publishes, "
        "which stand before queries alone; texts that are no documents count as queries.",
        "Reuse: yes where each method reads once what its texts share and its attention allows it.",
    ]
    return Table(name, spec.title, [*heads, *(c.column() for c in columns)], groups, notes)


def _measure(column: NumberColumn) -> str:
    return f"{column.source.partition('_')[0]}_saved"


def _cell(saved: Any, column: NumberColumn, spec: PublishedSavingsSpec) -> Cell:
    measure, _, what = column.source.partition("_")
    if saved.isna().all():
        return Cell(None)
    if what == "reached":
        return Cell(float((saved >= spec.claimed[measure]).sum()) if measure in spec.claimed else None)
    if what == "most":
        return number_cell(saved.max())
    return number_cell(saved.median(), saved.quantile(0.25), saved.quantile(0.75))
