"""The table of cost by condition: what stands before the texts, and whether it is read for each of them or once."""

from __future__ import annotations

from causal2vec.efficiency.names import PLAIN, READ_AGAIN, READ_ONCE
from causal2vec.reporting.analysis.compare import compare, control_notes
from causal2vec.reporting.analysis.savings import SETTINGS, Measured, text_words, with_variants
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import sort_entries
from causal2vec.reporting.show.tables.costs import cost_cell, how_measured, is_newer, known_columns, reading_notes
from causal2vec.reporting.show.tables.grid import Cell, Column, RowGroup, Table
from causal2vec.reporting.show.tables.labels import label_columns, labels
from causal2vec.reporting.show.tables.layout import ConditionsSpec

REUSE = Column("Reuse", "reuse", label=True, number="")
"""Whether a beginning that all texts share is read once for all of them."""

REUSE_NOTE = "Reuse: yes where a beginning that all texts share (instruction, examples, template) is read once for all."


def conditions_table(name: str, spec: ConditionsSpec, study: Study) -> Table | None:
    """Cost per method, with and without reuse, for all that stands before the texts and for all their lengths.

    None where nothing was measured that the table would show.
    """
    if study.conditions is None:
        return None
    measured = Measured(study.conditions)
    columns = known_columns(spec.columns, study.conditions)
    entries = sort_entries(measured.entries, with_variants(study.order, measured.entries))
    heads = [*label_columns(entries), REUSE]
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
                [*labels(entry, heads[:-1]), Cell(reuse), *(cost_cell(column, row, reference) for column in columns)]
                for (entry, reuse), row in found.items()
            ]
            if rows:
                before = SETTINGS[setting]
                heading = f"{before[:1].upper()}{before[1:]}, texts of {text_words(text)}"
                groups.append(RowGroup(panel.heading(heading), rows))
    if not groups or not any(map(is_newer, columns)):
        return None
    relative = (
        f"A ratio is a method's number over {spec.reference}'s, on the same texts with the same words before them, "
        "every token read (reuse: no)."
    )
    notes = [
        *spec.notes,
        REUSE_NOTE,
        *reading_notes(columns, relative),
        *control_notes(entries, study.bases),
        *how_measured(study.conditions, study),
    ]
    return Table(name, spec.title, [*heads, *(c.column() for c in columns)], groups, notes)
