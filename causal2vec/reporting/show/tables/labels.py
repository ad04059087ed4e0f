"""The columns that name a row of a table."""

from __future__ import annotations

from collections.abc import Sequence

from causal2vec.reporting.analysis.summary import Entry
from causal2vec.reporting.show.tables.grid import Cell, Column


def label_columns(entries: list[Entry]) -> list[Column]:
    """The columns that name an entry's row: the method, and the base where there are several."""
    columns = [Column("Method", "method", label=True, number="")]
    if len({base for _, base in entries}) > 1:
        columns.append(Column("Base", "base", label=True, number=""))
    return columns


def labels(entry: Entry, columns: Sequence[Column]) -> list[Cell]:
    """The cells of the `label_columns`."""
    return [Cell(text) for text, _ in zip(entry, columns, strict=False)]
