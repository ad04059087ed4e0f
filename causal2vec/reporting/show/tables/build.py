"""All tables of a study, and the files they go to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.show.render.html import to_page
from causal2vec.reporting.show.render.plain import to_csv, to_latex, to_markdown, to_tabular
from causal2vec.reporting.show.tables.audits import audit_table, marked
from causal2vec.reporting.show.tables.benchmarks import benchmark_table
from causal2vec.reporting.show.tables.conditions import conditions_table
from causal2vec.reporting.show.tables.costs import efficiency_table, training_table
from causal2vec.reporting.show.tables.grid import Table
from causal2vec.reporting.show.tables.layout import Layout
from causal2vec.reporting.show.tables.published import append_cost_table, published_savings_table, published_tasks_table
from causal2vec.reporting.show.tables.savings import savings_table
from causal2vec.reporting.show.tables.scores import scores_table, tasks_table
from causal2vec.reporting.show.tables.statistics import ablations_table, differences_table, statistics_table
from causal2vec.runtime.files import write_text

_BUILDERS: dict[str, Callable[[str, Any, Study], Table | None]] = {
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


def build_tables(study: Study, layout: Layout) -> list[Table]:
    """Every table of the layout that the study has something for, in the layout's order.

    Each ends with the study's notes: the scale, what is assumed, the manifest, date and seeds. A table with nothing
    of ours ends with the last of them, since our scale is not that of others.

    Raises:
        UserError: The layout names a task or a task type that does not exist.
    """
    tables = []
    for name, spec in layout.tables.items():
        table = _BUILDERS[spec.kind](name, spec, study)
        if table is not None:
            closing = study.notes[-1:] if getattr(spec, "foreign", False) else study.notes
            tables.append(marked(replace(table, notes=[*table.notes, *closing]), study.ignored))
    return tables


def write_table(table: Table, output: Path) -> None:
    """Write one table into the folder ``output`` as Markdown, CSV, LaTeX and HTML, named after it."""
    forms = {"md": to_markdown, "csv": to_csv, "tex": to_latex, "tabular.tex": to_tabular, "html": to_page}
    for suffix, render in forms.items():
        write_text(output / f"{table.name}.{suffix}", render(table))


def write_tables(study: Study, output: Path, layout: Layout) -> list[Table]:
    """Write the tables of `build_tables` into the folder ``output``, and return them.

    Raises:
        UserError: As in `build_tables`.
    """
    tables = build_tables(study, layout)
    for table in tables:
        write_table(table, output)
    return tables
