"""All tables of a study, and the files they go to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.audits import KEY
from causal2vec.reporting.analysis.compare import compare, split_blocks
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, pairs, sort_entries
from causal2vec.reporting.read.types import listed
from causal2vec.reporting.show.render.html import to_page
from causal2vec.reporting.show.render.latex import to_latex, to_tabular
from causal2vec.reporting.show.render.plain import to_csv, to_markdown
from causal2vec.reporting.show.tables.costs import conditions_table, efficiency_table, savings_table, training_table
from causal2vec.reporting.show.tables.grid import Cell, Place, Table, label_columns, panel_groups, signed
from causal2vec.reporting.show.tables.layout import AuditSpec, Layout
from causal2vec.reporting.show.tables.published import append_cost_table, published_savings_table, published_tasks_table
from causal2vec.reporting.show.tables.scores import benchmark_table, scores_table, tasks_table
from causal2vec.reporting.show.tables.statistics import ablations_table, differences_table, statistics_table
from causal2vec.runtime.files import write_text

IGNORED = "‡"
"""The sign of a method whose LLM does not use its Contextual token."""


def audit_table(spec: AuditSpec, study: Study) -> Table | None:
    """One row per trained method and variant, means over seeds; None where nothing was audited."""
    audit = study.audit
    if audit is None or audit.empty:
        return None
    entries = sort_entries(list(dict.fromkeys(pairs(audit))), study.order)
    heads = label_columns(entries)
    keys = [column.key for column in spec.columns]
    frame = audit.reindex(columns=[*KEY, *keys])
    means = frame.groupby(["method", "base"])[keys].mean(numeric_only=True).to_dict("index")
    groups = panel_groups(
        split_blocks(compare(entries, study.bases), ["trained", "variants"]),
        heads,
        lambda _, entry: [column.cell(means[entry].get(column.key)) for column in spec.columns],
    )
    notes = [f"Held-back training pairs; no evaluation task. Means over seeds ({listed(sorted(set(audit['seed'])))})."]
    return spec.table(heads, spec.columns, groups, notes)


_BUILDERS: dict[str, Callable[[Any, Study], Table | None]] = {
    "scores": scores_table,
    "tasks": tasks_table,
    "benchmark": benchmark_table,
    "ablations": ablations_table,
    "statistics": statistics_table,
    "differences": differences_table,
    "efficiency": efficiency_table,
    "conditions": conditions_table,
    "savings": savings_table,
    "published_savings": published_savings_table,
    "published_tasks": published_tasks_table,
    "append_cost": append_cost_table,
    "training": training_table,
    "audit": audit_table,
}
"""Kind of table -> what makes it, without its name and its own notes; None where there is nothing to show."""


def build_tables(study: Study, layout: Layout) -> list[Table]:
    """Every table of the layout that the study has something for, in the layout's order.

    Each ends with the study's notes: the scale, what is assumed, the manifest, date and seeds. A table with nothing
    of ours ends with the last of them, since our scale is not that of others.

    Raises:
        UserError: The layout names a task or a task type that does not exist.
    """
    tables = []
    for name, spec in layout.tables.items():
        try:
            table = _BUILDERS[spec.kind](spec, study)
        except UserError as error:
            raise UserError(f"table '{name}': {error}") from error
        groups = [group for group in table.groups if group.rows] if table else []
        if table and groups:
            closing = study.notes[-1:] if getattr(spec, "foreign", False) else study.notes
            notes = [*spec.notes, *table.notes, *closing]
            tables.append(_marked(replace(table, name=name, groups=groups, notes=notes), study.ignored))
    return tables


def _marked(table: Table, ignored: dict[Entry, str]) -> Table:
    """The table with `IGNORED` behind the names of methods with an ignored token, and a note on what it means."""
    methods = {method for method, _ in ignored}
    seen = {column.title for column in table.columns} & methods

    def sign(place: Place, cell: Cell) -> str:
        if place[2] not in table.labels or cell.value not in methods:
            return ""
        seen.add(str(cell.value))
        return IGNORED

    table = signed(table, sign)
    if not seen:
        return table
    texts = [f"{method} ({base}): {text}" for (method, base), text in ignored.items() if method in seen]
    note = f"{IGNORED} {'; '.join(texts)}. Its scores are not those of the method that its paper describes."
    return replace(table, notes=[note, *table.notes])


def write_tables(study: Study, output: Path, layout: Layout) -> list[Table]:
    """Write the tables of `build_tables` as Markdown, CSV, LaTeX and HTML into a folder, and return them.

    Raises:
        UserError: As in `build_tables`.
    """
    tables = build_tables(study, layout)
    forms = {"md": to_markdown, "csv": to_csv, "tex": to_latex, "tabular.tex": to_tabular, "html": to_page}
    for table in tables:
        for suffix, render in forms.items():
            write_text(output / f"{table.name}.{suffix}", render(table))
    return tables
