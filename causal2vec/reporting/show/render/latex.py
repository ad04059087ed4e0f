"""A table as LaTeX, cut and broken so that it fits on a page."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass

from causal2vec.reporting.show.render.latex_text import as_printed, escape_latex
from causal2vec.reporting.show.render.parts import Slice, pages, panels
from causal2vec.reporting.show.tables.grid import Cell, Column, Mark, Table, cell_parts, marks

LATEX_POINTS = 469
LATEX_ROWS = 48
LATEX_LINES = 56
"""What fits on a page with a text block of 6.5 by 9 inches: points across, rows alone, rows and notes together."""

_NORMAL = (r"\footnotesize\setlength{\tabcolsep}{3pt}", 1.0, 6)
_SMALL = (r"\scriptsize\setlength{\tabcolsep}{2pt}", 0.875, 4)
"""Font and space between columns, the font's size over the normal one, and twice that space in points."""

_LIMITS = ((math.inf,), (220, 180, 150, 120, 100), (80, 64))
"""Widths in points to which columns of text may be broken, at first not at all, the narrowest only in need."""

_INTERVAL_SCALE = 0.65
"""Size of the print of intervals over that of their numbers."""

_BREAKS = re.compile(r"(?<= )|(?<=\w-)(?=\w)|(?<=[a-z])(?=[A-Z][a-z]{5})")

_UNDERSCORE = re.compile(r"(?<=_)(?=.)")
_LONG = 16
"""Characters of a word in a heading beyond which it may break after an underscore."""


@dataclass(frozen=True)
class _Fit:
    """How a table is set.

    Attributes:
        size: The commands for the font and the space between columns.
        heads: Each column's heading, in lines.
        widths: Each column's width in points, with the space beside it.
        wraps: Column -> the width in points to which its text is broken; the others are as wide as they need be.
        panels: The columns of each part.
    """

    size: str
    heads: list[list[str]]
    widths: list[int]
    wraps: dict[int, int]
    panels: list[list[int]]


def to_latex(table: Table) -> str:
    r"""The table in LaTeX, for ``\usepackage{booktabs}``; one ``table`` per part if it is large."""
    fit = _fit(table)
    heights = _heights(table, fit.wraps)
    found = pages(table, LATEX_ROWS, heights)
    parts = [_body(table, slices, chosen, fit) for slices, chosen in itertools.product(found, fit.panels)]
    blocks = _note_blocks(table.notes)
    last = sum(sum(heights[group][start:stop]) + 1 for group, start, stop in found[-1]) if found else 0
    if len(blocks) == 1 and last + blocks[0][1] <= LATEX_LINES and parts:
        parts[-1].append(blocks[0][0])
    else:
        parts += [[text] for text, _ in blocks]
    return "% Needs \\usepackage{booktabs}\n" + "\n\n".join(_floats(table, fit.size, parts)) + "\n"


def _floats(table: Table, size: str, parts: list[list[str]]) -> list[str]:
    texts = []
    for number, part in enumerate(parts, start=1):
        which = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
        label = f"tab:{table.name}-{number}" if len(parts) > 1 else f"tab:{table.name}"
        head = [
            r"\begin{table}[htbp]",
            rf"\centering{size}",
            rf"\caption{{{escape_latex(table.title + which)}}}\label{{{label}}}",
        ]
        texts.append("\n".join([*head, *part, r"\end{table}"]))
    return texts


def _note_blocks(notes: list[str]) -> list[tuple[str, int]]:
    """The notes as boxes that fit on a page, each with its number of lines."""
    blocks: list[tuple[list[str], int]] = []
    for note in notes:
        lines = math.ceil(1.05 * _points(note) / LATEX_POINTS)
        if blocks and blocks[-1][1] + lines <= LATEX_LINES:
            blocks[-1] = ([*blocks[-1][0], escape_latex(note)], blocks[-1][1] + lines)
        else:
            blocks.append(([escape_latex(note)], lines))
    box = r"\par\smallskip\parbox{{\linewidth}}{{\raggedright\footnotesize {}}}"
    return [(box.format(r"\\".join(texts)), lines) for texts, lines in blocks]


def _fit(table: Table) -> _Fit:
    """The largest print and the widest columns that keep the table in one piece, or else in the fewest."""
    wordings = [[_head(table, i, short) for i in range(len(table.columns))] for short in (False, True)]
    needs = [_need(table, i) for i in range(len(table.columns))]
    tried = [
        _tried(table, heads, needs, style, limit)
        # What is changed first, to save a cut, comes last here.
        for limits in _LIMITS
        for heads in wordings
        for style in (_NORMAL, _SMALL)
        for limit in limits
    ]
    return min(tried, key=lambda fit: len(fit.panels))


@dataclass(frozen=True)
class _Need:
    """What a column's cells need, in points of the normal print: for the widest, and if its text is broken."""

    whole: int
    broken: int


def _need(table: Table, index: int) -> _Need:
    column = table.columns[index]
    cells = [row[index] for group in table.groups for row in group.rows]
    whole = max((_width(cell, column) for cell in cells), default=0)
    if not all(isinstance(cell.value, str) for cell in cells):
        return _Need(whole, whole)
    return _Need(whole, max((_points(word) for cell in cells for word in str(cell.value).split()), default=0))


def _tried(
    table: Table, heads: list[list[str]], needs: list[_Need], style: tuple[str, float, int], limit: float
) -> _Fit:
    size, scale, space = style
    widths: list[int] = []
    wraps: dict[int, int] = {}
    for i, (head, need) in enumerate(zip(heads, needs, strict=True)):
        title = max(map(_points, head))
        whole, least = (math.ceil(scale * max(title, points)) for points in (need.whole, need.broken))
        if whole > max(limit, least):
            whole = wraps[i] = max(int(limit), least)
        widths.append(whole + space)
    return _Fit(size, heads, widths, wraps, panels(table, widths, LATEX_POINTS))


def _texts(table: Table, index: int) -> list[str]:
    """The texts of a column, without the intervals, which are set smaller."""
    return [cell_parts(row[index], table.columns[index])[0] for group in table.groups for row in group.rows]


def _width(cell: Cell, column: Column) -> int:
    value, spread = cell_parts(cell, column)
    scale = _INTERVAL_SCALE if column.spread == "half" else 1.0
    return _points(value + cell.sign) + math.ceil(scale * _points(spread)) + 3 * bool(spread)


def _points(text: str) -> int:
    """About how wide a text is in the tables' font; digits with room for bold."""
    return math.ceil(sum(map(_character_points, as_printed(text))))


def _character_points(character: str) -> float:
    if character.isdigit():
        return 4.6
    if character in "mwMW+−±=<>×&%#@":
        return 6.9
    if character in "fijlt.,:;|!'()[] -":
        return 2.8
    return 5.8 if character.isupper() else 4.3


def _heights(table: Table, wraps: dict[int, int]) -> list[list[int]]:
    """The lines of each row, by group."""
    return [
        [
            # A line breaks before the word that does not fit, so it is rarely full.
            max([1, *(math.ceil(1.15 * _points(str(row[i].value)) / width) for i, width in wraps.items())])
            for row in group.rows
        ]
        for group in table.groups
    ]


def _head(table: Table, index: int, short: bool) -> list[str]:
    """A heading, broken into lines that make its column no wider than it must be."""
    column = table.columns[index]
    # Long names may break after a hyphen and, such as PairClassification, before a capital.
    words = _BREAKS.split(((short and column.short) or column.title) + table.arrow(column))
    pieces = [piece for word in words for piece in (_UNDERSCORE.split(word) if len(word) > _LONG else [word]) if piece]
    width = max([len(text) for text in [*(piece.strip() for piece in pieces), *_texts(table, index)]], default=0)
    lines = [""]
    for piece in pieces:
        if len(lines[-1] + piece.rstrip()) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [line.rstrip() for line in lines]


def _body(table: Table, slices: list[Slice], chosen: list[int], fit: _Fit) -> list[str]:
    columns, heads, wraps = [table.columns[i] for i in chosen], fit.heads, fit.wraps
    shape = "".join("l" if column.label or i in wraps else "r" for i, column in zip(chosen, columns, strict=True))
    lines = [rf"\begin{{tabular}}{{{shape}}}", r"\toprule", *_group_line(columns, [fit.widths[i] for i in chosen])]
    height = max(len(heads[i]) for i in chosen)
    for level in range(height):
        # Headings stand on the line below them, so the shorter ones start lower.
        cells = [("", *heads[i])[max(0, level + 1 - height + len(heads[i]))] for i in chosen]
        lines.append(" & ".join(escape_latex(cell) for cell in cells) + r" \\")
    found = marks(table)
    for number, start, stop in slices:
        group = table.groups[number]
        lines.append(r"\midrule")
        if group.title:
            lines.append(rf"\multicolumn{{{len(chosen)}}}{{l}}{{\textit{{{escape_latex(group.title)}}}}} \\")
        for row, row_marks in list(zip(group.rows, found[number], strict=True))[start:stop]:
            cells = [_cell(row[i], table.columns[i], row_marks[i], wraps.get(i)) for i in chosen]
            lines.append(" & ".join(cells) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _group_line(columns: list[Column], widths: list[int]) -> list[str]:
    if not any(column.group for column in columns):
        return []
    cells, rules, position = [], [], 1
    for group, run in itertools.groupby(columns, key=lambda column: column.group):
        width = len(list(run))
        room = sum(widths[position - 1 : position - 1 + width])
        text = escape_latex(group)
        if _points(group) > room:
            # Otherwise the heading, not the numbers, would set how wide its columns are.
            text = rf"\parbox[b]{{{room}pt}}{{\centering {text}\strut}}"
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{text}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{position}-{position + width - 1}}}")
        position += width
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def _cell(cell: Cell, column: Column, mark: Mark, wrap: int | None) -> str:
    value, spread = (escape_latex(part) for part in cell_parts(cell, column))
    if wrap is not None:
        return rf"\parbox[t]{{{wrap}pt}}{{\raggedright {value}\strut}}" if value else ""
    value = {"best": rf"\textbf{{{value}}}", "second": rf"\underline{{{value}}}"}.get(mark, value)
    sign = escape_latex(cell.sign)
    if not spread:
        # The sign takes no room, so that numbers with and without one stand in line.
        return rf"{value}\rlap{{{sign}}}" if sign else value
    return rf"{value}{sign}\,{{\tiny {spread}}}" if column.spread == "half" else f"{value}{sign} {spread}"
