"""One table, three texts: Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re

from tabulate import tabulate

from causal2vec.reporting.grid import Cell, Column, Mark, Table, format_cell, marks, pages, panels

MARKDOWN_COLUMNS = 12
"""Value columns that fit side by side; wider tables are split into parts."""

LATEX_POINTS = 469
LATEX_ROWS = 48
"""What fits on a page with a text block of 6.5 by 9 inches; larger tables are split into parts."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    # In braces, because a row that starts with one would be taken for an argument of the line break before.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\u200b": "{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "÷": r"$\div$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


_BREAKS = re.compile(r"(?<= )|(?<=\w-)(?=\w)|(?<=[a-z])(?=[A-Z][a-z]{5})")


def escape_markdown(text: str) -> str:
    """Text that Markdown (GitHub's, tables and formulas included) shows as it is."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|$~])", r"\\\1", text)


def escape_latex(text: str) -> str:
    """Text that LaTeX shows as it is."""
    # Two hyphens would be set as a dash.
    apart = re.sub(r"-(?=-)", "-\u200b", " ".join(text.split()))
    return "".join(_LATEX.get(character, character) for character in apart)


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
    text = escape_markdown(format_cell(cell, column))
    return {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(mark, text)


def to_latex(table: Table) -> str:
    r"""The table in LaTeX, for ``\usepackage{booktabs}``; one ``table`` per part if it is large."""
    heads = [_latex_head(table, i) for i in range(len(table.columns))]
    texts = [[*heads[i], *_texts(table, i)] for i in range(len(heads))]
    size, found = _latex_size(table, [max(_points(line) for line in column) for column in texts])
    return _latex_parts(table, heads, size, list(itertools.product(pages(table, LATEX_ROWS), found)))


def _latex_size(table: Table, widths: list[int]) -> tuple[str, list[list[int]]]:
    """The font and the panels: smaller print only where it keeps the table in one piece."""
    # Twice the space beside a column, tabcolsep, goes between columns.
    normal, small = ([math.ceil(width * scale) + gap for width in widths] for scale, gap in ((1, 6), (0.875, 4)))
    if len(panels(table, normal, LATEX_POINTS)) > 1 == len(panels(table, small, LATEX_POINTS)):
        return r"\scriptsize\setlength{\tabcolsep}{2pt}", panels(table, small, LATEX_POINTS)
    return r"\footnotesize\setlength{\tabcolsep}{3pt}", panels(table, normal, LATEX_POINTS)


def _latex_parts(table: Table, heads: list[list[str]], size: str, parts: list[tuple[list[int], list[int]]]) -> str:
    texts = []
    for number, (groups, chosen) in enumerate(parts, start=1):
        part = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
        label = f"tab:{table.name}-{number}" if len(parts) > 1 else f"tab:{table.name}"
        lines = [
            r"\begin{table}[htbp]",
            rf"\centering{size}",
            rf"\caption{{{escape_latex(table.title + part)}}}\label{{{label}}}",
            *_latex_body(table, groups, chosen, heads),
        ]
        if number == len(parts) and table.notes:
            notes = r"\\".join(escape_latex(note) for note in table.notes)
            lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright\footnotesize {notes}}}")
        texts.append("\n".join([*lines, r"\end{table}"]))
    return "% Needs \\usepackage{booktabs}\n" + "\n\n".join(texts) + "\n"


def _texts(table: Table, index: int) -> list[str]:
    return [format_cell(row[index], table.columns[index]) for group in table.groups for row in group.rows]


def _points(text: str) -> int:
    """About how wide a text is in the tables' font; digits with room for bold."""
    return math.ceil(sum(4.6 if character.isdigit() else 3.9 for character in text))


def _latex_head(table: Table, index: int) -> list[str]:
    """A heading, broken into lines that make its column no wider than it must be."""
    column = table.columns[index]
    # Long names may break after a hyphen and, such as PairClassification, before a capital.
    pieces = _BREAKS.split(column.title + table.arrow(column))
    pieces = [piece for piece in pieces if piece]
    width = max(len(text) for text in [*(piece.strip() for piece in pieces), *_texts(table, index)])
    lines = [""]
    for piece in pieces:
        if len(lines[-1] + piece.rstrip()) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [line.rstrip() for line in lines]


def _latex_body(table: Table, groups: list[int], chosen: list[int], heads: list[list[str]]) -> list[str]:
    columns = [table.columns[i] for i in chosen]
    shape = "".join("l" if column.label else "r" for column in columns)
    lines = [rf"\begin{{tabular}}{{{shape}}}", r"\toprule", *_latex_group_line(columns)]
    height = max(len(heads[i]) for i in chosen)
    for level in range(height):
        # Headings stand on the line below them, so the shorter ones start lower.
        cells = [("", *heads[i])[max(0, level + 1 - height + len(heads[i]))] for i in chosen]
        lines.append(" & ".join(escape_latex(cell) for cell in cells) + r" \\")
    found = marks(table)
    for number in groups:
        group = table.groups[number]
        lines.append(r"\midrule")
        if group.title:
            lines.append(rf"\multicolumn{{{len(chosen)}}}{{l}}{{\textit{{{escape_latex(group.title)}}}}} \\")
        for row, row_marks in zip(group.rows, found[number], strict=True):
            cells = [_latex_cell(row[i], table.columns[i], row_marks[i]) for i in chosen]
            lines.append(" & ".join(cells) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_group_line(columns: list[Column]) -> list[str]:
    if not any(column.group for column in columns):
        return []
    cells, rules, position = [], [], 1
    for group, run in itertools.groupby(columns, key=lambda column: column.group):
        width = len(list(run))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{position}-{position + width - 1}}}")
        position += width
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def _latex_cell(cell: Cell, column: Column, mark: Mark) -> str:
    text = escape_latex(format_cell(cell, column))
    return {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(mark, text)


def to_csv(table: Table) -> str:
    """The table's numbers, unrounded, one heading line; the notes stay with the other two forms."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    header = ["group"]
    for column in table.columns:
        header += [column.key, f"{column.key}_low", f"{column.key}_high"] if column.spread else [column.key]
    writer.writerow(header)
    for group in table.groups:
        for row in group.rows:
            fields = [group.title]
            for cell, column in zip(row, table.columns, strict=True):
                values = [cell.value, cell.low, cell.high] if column.spread else [cell.value]
                fields += ["" if value is None else str(value) for value in values]
            writer.writerow(fields)
    return buffer.getvalue()
