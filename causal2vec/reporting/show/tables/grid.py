"""The table as data: columns, groups of rows, cells, notes; and which cells are best. Renderers turn it into text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.analysis.summary import Entry

Better = Literal["higher", "lower"]
Mark = Literal["", "best", "second"]
Spread = Literal["", "range", "interval", "half"]

GAP = "–"
"""What a missing value looks like."""

WEAK = "°"
"""The sign of a best value that is not significantly better than the second."""

MARKS_NOTE = "Within each group the best value is bold and the second underlined."


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Its heading for readers.
        key: Its heading in the CSV file; unique within a table.
        group: A heading above that it shares with its neighbours.
        number: A format specification for its numbers, ``sig3`` for three significant digits, or ``p`` for
            p-values.
        better: Which direction is better; None for a column that is not ranked.
        label: Whether it names the row; such columns come first.
        spread: How ``low`` and ``high`` of its cells are shown: ``range``, 5 (4–6), for lowest and highest of
            several measurements; ``interval``, 5 [4, 6]; ``half``, 5 ±1, half the interval's width; or, if
            empty, its cells carry none.
        short: A shorter heading for a page that is too narrow; empty if there is none.
    """

    title: str
    key: str
    group: str = ""
    number: str = ".1f"
    better: Better | None = None
    label: bool = False
    spread: Spread = ""
    short: str = ""


@dataclass(frozen=True)
class Cell:
    """A value and what belongs to it.

    Attributes:
        value: A number, a text, or None for a gap; a number that is not finite becomes a gap.
        low: Lower end of the range around it, where there is one.
        high: Upper end.
        sign: What stands right behind the value for readers, such as `WEAK`; the CSV file leaves it out.
    """

    value: str | float | None
    low: float | None = None
    high: float | None = None
    sign: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            found = getattr(self, name)
            if isinstance(found, float) and not math.isfinite(found):
                object.__setattr__(self, name, None)


def number_cell(value: float | None, low: float | None = None, high: float | None = None, scale: float = 1) -> Cell:
    """A cell of numbers times ``scale``, rounded far below what is shown to keep binary noise out of the CSV file."""
    numbers = [None if v is None else round(float(v) * scale, 10) for v in (value, low, high)]
    return Cell(numbers[0], numbers[1], numbers[2])


@dataclass(frozen=True)
class RowGroup:
    """Rows under one heading; the best is sought within them, unless they are not ``ranked``."""

    title: str
    rows: list[list[Cell]]
    ranked: bool = True


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
    """A number as text, by a format specification, ``sig3`` or ``p``."""
    if number == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if number != "sig3":
        return format(value, number)
    if value == 0:
        return "0"
    # Rounded first, so that 9.996 counts as 10.0 and gets one decimal, not two.
    exponent = math.floor(math.log10(abs(float(f"{value:.2e}"))))
    return f"{value:,.{max(0, 2 - exponent)}f}"


def format_cell(cell: Cell, column: Column) -> str:
    """A cell as plain text, without marks, signs or escapes."""
    return " ".join(text for text in cell_parts(cell, column) if text)


def cell_parts(cell: Cell, column: Column) -> tuple[str, str]:
    """A cell's value and the range around it, each as plain text; the second is empty where there is none."""
    if cell.value is None:
        return GAP, ""
    if isinstance(cell.value, str):
        return cell.value, ""
    value = _typeset(cell.value, column)
    if not column.spread or cell.low is None or cell.high is None:
        return value, ""
    if column.spread == "half":
        return value, f"±{_typeset((cell.high - cell.low) / 2, column).removeprefix('+')}"
    low, high = _typeset(cell.low, column), _typeset(cell.high, column)
    return value, f"[{low}, {high}]" if column.spread == "interval" else f"({low}–{high})"


def _typeset(value: float, column: Column) -> str:
    text = format_number(value, column.number)
    # A difference that rounds to nothing has no direction.
    text = text.lstrip("+-") if not text.strip("+-0.,") else text
    return text.replace("-", "−")


Place = tuple[int, int, int]
"""Where a cell stands: its group, its row in the group, its column."""


def marks(table: Table) -> list[list[list[Mark]]]:
    """The mark of every cell, by group of rows, row and column.

    Cells are compared as they are shown: what looks equal is equal, so all that tie for the best are marked,
    and so are all that tie for the next value. Where all are equal, or only one has a value, none is marked.
    """
    found = {place: mark for rank in _rankings(table) for place, mark in rank.items()}
    return [
        [[found.get((g, r, c), "") for c in range(len(row))] for r, row in enumerate(group.rows)]
        for g, group in enumerate(table.groups)
    ]


def _rankings(table: Table) -> list[dict[Place, Mark]]:
    """For each set of cells that are compared with each other, the places of its best and second."""
    rivals: dict[tuple[object, ...], dict[Place, float]] = {}
    for g, group in enumerate(table.groups):
        for r, row in enumerate(group.rows if group.ranked else []):
            for c, (cell, column) in enumerate(zip(row, table.columns, strict=True)):
                if column.better is None or cell.value is None or isinstance(cell.value, str):
                    continue
                shown = float(format_number(cell.value, column.number).replace(",", ""))
                key = (g, c) if table.compare == "down" else (g, r, column.group)
                rivals.setdefault(key, {})[g, r, c] = -shown if column.better == "lower" else shown
    found: list[dict[Place, Mark]] = []
    for values in rivals.values():
        best, *others = sorted(set(values.values()), reverse=True)
        if others:
            signs: dict[float, Mark] = {best: "best", others[0]: "second"}
            found.append({place: signs[value] for place, value in values.items() if value in signs})
    return found


def signed(table: Table, sign: Callable[[Place, Cell], str]) -> Table:
    """The table with what ``sign`` says of a cell and its place behind the cell."""
    groups = [
        replace(
            group,
            rows=[
                [replace(cell, sign=sign((g, r, c), cell) or cell.sign) for c, cell in enumerate(row)]
                for r, row in enumerate(group.rows)
            ],
        )
        for g, group in enumerate(table.groups)
    ]
    return replace(table, groups=groups)


def with_signs(table: Table, weak: Callable[[Place, Place], bool | None]) -> Table:
    """The table with `WEAK` behind every best value that is not significantly better than the second.

    Args:
        table: The table.
        weak: Whether the best cell at the first place is not significantly better than the second-best at the
            other; None where that was not tested. Where several tie for the best, it is not asked.
    """
    chosen: set[Place] = set()
    for rank in _rankings(table):
        best = [place for place, mark in rank.items() if mark == "best"]
        if len(best) == 1 and any(weak(best[0], place) for place, mark in rank.items() if mark == "second"):
            chosen.add(best[0])
    return signed(table, lambda place, _: WEAK if place in chosen else "")


def label_columns(entries: Sequence[Entry]) -> list[Column]:
    """The columns that name an entry's row: the method, and the base where there are several."""
    several = len({base for _, base in entries}) > 1
    return [name_column("Method", "method"), *([name_column("Base", "base")] if several else [])]


def name_column(title: str, key: str) -> Column:
    """A column that names the rows."""
    return Column(title, key, label=True, number="")


def labels(entry: Entry, columns: Sequence[Column]) -> list[Cell]:
    """The cells of the `label_columns`."""
    return [Cell(text) for text, _ in zip(entry, columns, strict=False)]


def panel_groups(
    panels: Sequence[Panel], heads: Sequence[Column], cells: Callable[[Panel, Entry], list[Cell]]
) -> list[RowGroup]:
    """One group of rows per panel, one row per entry: its labels, then its ``cells``."""
    return [RowGroup(p.title, [[*labels(e, heads), *cells(p, e)] for e in p.entries]) for p in panels]


def panels(table: Table, widths: list[int], limit: int) -> list[list[int]]:
    """Split the columns into panels no wider than ``limit``, keeping groups of columns whole where they fit.

    A group that does not fit is cut into even pieces; the columns that name the row lead every panel.
    """
    room = limit - sum(widths[i] for i in table.labels)
    values = [i for i, column in enumerate(table.columns) if not column.label]

    def fits(columns: list[int]) -> bool:
        return sum(widths[i] for i in columns) <= room

    def cut(run: list[int]) -> list[list[int]]:
        for size in sorted({math.ceil(len(run) / count) for count in range(1, len(run) + 1)}, reverse=True):
            pieces = [run[start : start + size] for start in range(0, len(run), size)]
            if size == 1 or all(map(fits, pieces)):
                break
        return pieces

    if fits(values):
        return [table.labels + values]
    packed: list[list[int]] = []
    # A column of no group is a run of its own.
    runs = itertools.groupby(values, key=lambda i: (table.columns[i].group, None if table.columns[i].group else i))
    for piece in (piece for _, run in runs for piece in cut(list(run))):
        if packed and fits(packed[-1] + piece):
            packed[-1].extend(piece)
        else:
            packed.append(list(piece))
    return [table.labels + piece for piece in packed]
