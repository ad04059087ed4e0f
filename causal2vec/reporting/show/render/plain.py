"""One table as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import re

from tabulate import tabulate

from causal2vec.reporting.read.visible import inert, one_line
from causal2vec.reporting.show.tables.grid import Cell, Column, Mark, Table, cell_parts, marks, panels

MARKDOWN_COLUMNS = 12
"""Value columns that fit side by side; wider tables are split into parts."""


def escape_markdown(text: str) -> str:
    """Text that Markdown (GitHub's, tables and formulas included) shows as it is."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|$~])", r"\\\1", text)


def to_markdown(table: Table) -> str:
    """The table in Markdown: best in bold, second underlined, within each group."""
    found = marks(table)
    parts = []
    for chosen in panels(table, [int(not column.label) for column in table.columns], MARKDOWN_COLUMNS):
        columns = [table.columns[i] for i in chosen]
        rows = []
        for group, group_marks in zip(table.groups, found, strict=True):
            if group.title:
                rows.append([f"*{escape_markdown(group.title)}*", *[""] * (len(chosen) - 1)])
            for row, row_marks in zip(group.rows, group_marks, strict=True):
                rows.append([_markdown_cell(row[i], table.columns[i], row_marks[i]) for i in chosen])
        text = tabulate(
            rows,
            headers=_markdown_headers(table, columns),
            tablefmt="pipe",
            disable_numparse=True,
            colalign=["left" if column.label else "right" for column in columns],
        )
        parts.append(text)
    notes = "".join(f"- {escape_markdown(note)}\n" for note in table.notes)
    return f"### {escape_markdown(table.title)}\n\n" + "\n\n".join(parts) + f"\n\n{notes}"


def _markdown_headers(table: Table, columns: list[Column]) -> list[str]:
    titles = [column.title for column in columns]
    headers = []
    for column in columns:
        # Markdown has no headings across columns, so the group is spelt out only where it is needed.
        text = f"{column.group}: {column.title}" if titles.count(column.title) > 1 else column.title
        headers.append(escape_markdown(text + table.arrow(column)))
    return headers


def _markdown_cell(cell: Cell, column: Column, mark: Mark) -> str:
    value, spread = (escape_markdown(part) for part in cell_parts(cell, column))
    value = {"best": f"**{value}**", "second": f"<u>{value}</u>"}.get(mark, value)
    return f"{value}{cell.sign} {spread}".rstrip()


def to_csv(table: Table) -> str:
    """The table's numbers, unrounded, one heading line; marks, signs and notes stay with the other forms.

    A text that a spreadsheet would take for a formula is made `inert`.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    header = ["group"]
    for column in table.columns:
        key = inert(column.key)
        header += [key, f"{key}_low", f"{key}_high"] if column.spread else [key]
    writer.writerow(header)
    for group in table.groups:
        for row in group.rows:
            fields = [inert(group.title)]
            for cell, column in zip(row, table.columns, strict=True):
                values = [cell.value, cell.low, cell.high] if column.spread else [cell.value]
                fields += ["" if v is None else inert(v) if isinstance(v, str) else str(v) for v in values]
            writer.writerow(fields)
    return buffer.getvalue()
