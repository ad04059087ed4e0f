"""The table as data: columns, groups of rows, cells, notes; and which cells are best.

A cell carries a value and, where there is one, the range around it. A renderer turns the whole into text,
so that whatever a cell learns to carry later (a mark of significance, a source) is added here and there, once
for all tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]
Mark = Literal["", "best", "second"]

GAP = "–"
"""What a missing value looks like."""

MARKS_NOTE = "Within each group the best value is bold and the second underlined."


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Its heading for readers.
        key: Its heading in the CSV file; unique within a table.
        group: A heading above that it shares with its neighbours.
        number: A format specification for its numbers, or ``sig3`` for three significant digits.
        better: Which direction is better; None for a column that is not ranked.
        label: Whether it names the row; such columns come first.
        spread: Whether its cells carry ``low`` and ``high``.
    """

    title: str
    key: str
    group: str = ""
    number: str = ".1f"
    better: Better | None = None
    label: bool = False
    spread: bool = False


@dataclass(frozen=True)
class Cell:
    """A value (None is a gap) and, where there is one, the range around it."""

    value: str | float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RowGroup:
    """Rows under one heading; the best is sought within them."""

    title: str
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Table:
    """A whole table.

    Attributes:
        name: The base name of its files.
        title: One line that says what it shows.
        columns: The columns, those that name the row first.
        groups: The rows.
        notes: Sentences below the table.
        compare: Whether the best is sought down each column of a group of rows, or along each row of a group
            of columns.
    """

    name: str
    title: str
    columns: list[Column]
    groups: list[RowGroup]
    notes: list[str]
    compare: Literal["down", "along"] = "down"

    @property
    def labels(self) -> list[int]:
        """Indices of the columns that name the row."""
        return [i for i, column in enumerate(self.columns) if column.label]

    def arrow(self, column: Column) -> str:
        """An arrow for the better direction, where the table ranks in both directions."""
        if column.better is None or len({c.better for c in self.columns} - {None}) < 2:
            return ""
        return " ↑" if column.better == "higher" else " ↓"


def format_number(value: float, number: str) -> str:
    """A number as text, by a format specification or ``sig3``."""
    if number != "sig3":
        return format(value, number)
    if value == 0:
        return "0"
    # Rounded first, so that 9.996 counts as 10.0 and gets one decimal, not two.
    exponent = math.floor(math.log10(abs(float(f"{value:.2e}"))))
    return f"{value:,.{max(0, 2 - exponent)}f}"


def format_cell(cell: Cell, column: Column) -> str:
    """A cell as plain text, without marks or escapes."""
    if cell.value is None:
        return GAP
    if isinstance(cell.value, str):
        return cell.value
    text = format_number(cell.value, column.number)
    if cell.low is None or cell.high is None:
        return text
    return f"{text} ({format_number(cell.low, column.number)}–{format_number(cell.high, column.number)})"


def panels(table: Table, widths: list[int], limit: int) -> list[list[int]]:
    """Split the columns into panels no wider than ``limit``, keeping groups of columns whole where they fit.

    A group that does not fit is cut into even pieces; the columns that name the row lead every panel.
    """
    room = limit - sum(widths[i] for i in table.labels)
    values = [i for i, column in enumerate(table.columns) if not column.label]
    if sum(widths[i] for i in values) <= room:
        return [table.labels + values]
    packed: list[list[int]] = []
    for piece in (piece for run in _runs(table, values) for piece in _cut(run, widths, room)):
        if packed and sum(widths[i] for i in packed[-1] + piece) <= room:
            packed[-1].extend(piece)
        else:
            packed.append(list(piece))
    return [table.labels + piece for piece in packed]


def _runs(table: Table, values: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for i in values:
        group = table.columns[i].group
        if runs and group and group == table.columns[runs[-1][-1]].group:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _cut(run: list[int], widths: list[int], room: int) -> list[list[int]]:
    for count in range(1, len(run) + 1):
        size = math.ceil(len(run) / count)
        pieces = [run[start : start + size] for start in range(0, len(run), size)]
        if size == 1 or all(sum(widths[i] for i in piece) <= room for piece in pieces):
            return pieces
    return [run]


def pages(table: Table, limit: int) -> list[list[int]]:
    """Split the groups of rows into pages of at most ``limit`` rows, headings included; groups stay whole."""
    packed: list[list[int]] = []
    used = 0
    for number, group in enumerate(table.groups):
        height = len(group.rows) + bool(group.title)
        if packed and used + height <= limit:
            packed[-1].append(number)
            used += height
        else:
            packed.append([number])
            used = height
    return packed


def marks(table: Table) -> list[list[list[Mark]]]:
    """The mark of every cell, by group of rows, row and column.

    Cells are compared as they are shown: what looks equal is equal, so all that tie for the best are marked,
    and so are all that tie for the next value. Where all are equal, or only one has a value, none is marked.
    """
    result: list[list[list[Mark]]] = [[["" for _ in row] for row in group.rows] for group in table.groups]
    for rank in _rankings(table):
        for where, mark in rank.items():
            group, row, column = where
            result[group][row][column] = mark
    return result


Place = tuple[int, int, int]


def _rankings(table: Table) -> list[dict[Place, Mark]]:
    rivals: dict[tuple[object, ...], dict[Place, float]] = {}
    for g, group in enumerate(table.groups):
        for r, row in enumerate(group.rows):
            for c, (cell, column) in enumerate(zip(row, table.columns, strict=True)):
                if column.better is None or cell.value is None or isinstance(cell.value, str):
                    continue
                shown = float(format_number(cell.value, column.number).replace(",", ""))
                key = (g, c) if table.compare == "down" else (g, r, column.group)
                rivals.setdefault(key, {})[g, r, c] = -shown if column.better == "lower" else shown
    return [_rank(values) for values in rivals.values()]


def _rank(values: dict[Place, float]) -> dict[Place, Mark]:
    ranks = sorted(set(values.values()), reverse=True)
    if len(ranks) < 2:
        return {}
    return {place: "best" if value == ranks[0] else "second" for place, value in values.items() if value in ranks[:2]}
