r"""A table as LaTeX: booktabs rules, shrunk to the text width by adjustbox or broken over pages by xltabular."""

from __future__ import annotations

import itertools
import re
import textwrap
import unicodedata

from pylatexenc.latexencode import RULE_CALLABLE, UnicodeToLatexConversionRule, UnicodeToLatexEncoder

from causal2vec.reporting.read.visible import one_line
from causal2vec.reporting.show.tables.grid import Cell, Column, Mark, Table, cell_parts, marks, panels

_COLUMNS, _LONG_COLUMNS = 9, 7
"""Value columns side by side where adjustbox shrinks them, one with a range counted twice, and all columns where only
those of text shrink."""

_LINES, _HEAD = 45, 4
"""Lines of a float, notes included, beyond which the table goes over several pages; those that headings take."""

_WORDS, _TEXT, _NOTE = 12, 40, 80
"""Characters in a line of a heading, a text and a note."""

_OWN = {
    "|": r"{\textbar}", "`": r"{\textasciigrave}", "†": r"\textsuperscript{\textdagger}", "✓": r"\ensuremath{\surd}",
    "‡": r"\textsuperscript{\textdaggerdbl}", "∅": r"\ensuremath{\emptyset}", "✗": r"{\texttimes}",
    # In braces, because a row that starts with one would be taken for an argument of the line break before.
    "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""What pylatexenc leaves as it is, does not know, or takes from packages that a table does without."""

_KNOWN = frozenset([*map(chr, [*range(0x20, 0x149), *range(0x14A, 0x17F), *range(0x3B1, 0x3CA)])]) | frozenset(
    "–—…‘’“”•€™←↑→↓−≈≠≤≥∞√∂∑∏∈ΓΔΘΛΞΠΣΦΨΩ"
)
"""The characters whose commands LaTeX has without further packages, in fonts of the encoding T1."""


def _number(character: str) -> str:
    return f"U+{ord(character):04X}"


def _own(text: str, place: int) -> tuple[int, str] | None:
    character = text[place]
    if character in "-,'" and text[place + 1 : place + 2] == character:
        return 1, f"{character}{{}}"  # two of them would be set as a dash or a quotation mark
    if character in _OWN:
        return 1, _OWN[character]
    return None if character in _KNOWN and character.isprintable() else (1, _number(character))


_ENCODER = UnicodeToLatexEncoder(
    conversion_rules=[UnicodeToLatexConversionRule(RULE_CALLABLE, _own), "defaults"],
    unknown_char_policy=_number,
    unknown_char_warning=False,
)


def escape_latex(text: str) -> str:
    """Text that LaTeX shows as it is; a character that its plain fonts lack becomes its number, such as U+1F600."""
    return str(_ENCODER.unicode_to_latex(unicodedata.normalize("NFC", one_line(text))))


def to_latex(table: Table) -> str:
    """The table with caption and notes: a ``table``, a ``table*`` if wide, or an ``xltabular`` if long."""
    needs = r"% Needs \usepackage[T1]{fontenc} and \usepackage{array,booktabs,"
    caption = [rf"\caption{{{escape_latex(table.title)}}}\label{{tab:{table.name}}}"]
    notes = r"\\".join(map(escape_latex, table.notes))
    widths = [0 if c.label else 2 if c.spread in ("range", "interval") else 1 for c in table.columns]
    found = panels(table, widths, _COLUMNS)
    kind = "table*" if max(map(len, found)) > _LONG_COLUMNS else "table"
    if sum(_height(table, chosen) for chosen in found) + len(notes) / _NOTE > _LINES:
        lines = [rf"{needs}xltabular}}; not between two columns", r"{\scriptsize\setlength{\tabcolsep}{2pt}"]
        for chosen in panels(table, [1] * len(widths), _LONG_COLUMNS):
            shape, head = _shape(table, chosen, {chosen[0], *_texts(table, chosen, _WORDS)}, "X"), _head(table, chosen)
            lines += [rf"\begin{{xltabular}}{{\linewidth}}{{{shape}}}", *caption, *([r"\\"] if caption else []), *head]
            lines += [r"\endfirsthead", *head, r"\endhead", *_body(table, chosen), r"\bottomrule", r"\end{xltabular}"]
            caption = []
        return "\n".join([*lines, rf"\noindent\raggedright {notes}\par}}", ""])
    lines = [rf"{needs}adjustbox}}", rf"\begin{{{kind}}}[tbp]", r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"]
    for chosen in found:
        lines += [*caption, r"\begin{adjustbox}{max width=\linewidth}", *_tabular(table, chosen), r"\end{adjustbox}"]
        caption = [r"\par\smallskip"]
    box = rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\raggedright {notes}\end{{minipage}}"
    return "\n".join([*lines, box, rf"\end{{{kind}}}", ""])


def to_tabular(table: Table) -> str:
    """The bare ``tabular`` of the whole table, to paste into a paper."""
    return "\n".join([*_tabular(table, table.labels + [i for i, c in enumerate(table.columns) if not c.label]), ""])


def _tabular(table: Table, chosen: list[int]) -> list[str]:
    broken = _texts(table, chosen, _TEXT)
    # A column of texts is twice as wide as the mean of the others.
    shape = _shape(table, chosen, broken, rf"p{{{2 / (len(chosen) + len(broken)):.2f}\linewidth}}")
    rows = [*_head(table, chosen), *_body(table, chosen), r"\bottomrule"]
    return [rf"\begin{{tabular}}{{{shape}}}", *rows, r"\end{tabular}"]


def _texts(table: Table, chosen: list[int], limit: int) -> set[int]:
    """The columns that hold texts of more than ``limit`` characters."""
    rows = [row for group in table.groups for row in group.rows]
    return {i for row in rows for i in chosen if isinstance(row[i].value, str) and len(str(row[i].value)) > limit}


def _height(table: Table, chosen: list[int]) -> int:
    """About how many lines a part of the table takes."""
    rows = [row for group in table.groups for row in group.rows]
    return _HEAD + len(table.groups) + sum(1 + max(len(str(row[i].value)) // _TEXT for i in chosen) for row in rows)


def _shape(table: Table, chosen: list[int], broken: set[int], kind: str) -> str:
    """One letter for each column, ``kind`` for those whose texts are ``broken``."""
    kinds = {i: "l" if table.columns[i].label else "r" for i in chosen}
    return "".join(rf">{{\raggedright\arraybackslash}}{kind}" if i in broken else kinds[i] for i in chosen)


def _head(table: Table, chosen: list[int]) -> list[str]:
    columns = [table.columns[i] for i in chosen]
    groups, rules, position = [], [], 1
    for group, run in itertools.groupby(columns, key=lambda column: column.group):
        width = len(list(run))
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{_stack(group, _WORDS * width, 'c')}}}")
        rules += [rf"\cmidrule(lr){{{position}-{position + width - 1}}}"] if group else []
        position += width
    many = len(table.columns) > _LONG_COLUMNS
    titles = [
        _stack(((many and column.short) or column.title) + table.arrow(column), _WORDS, "l" if column.label else "r")
        for column in columns
    ]
    above = [" & ".join(groups) + r" \\", " ".join(rules)] if rules else []
    return [r"\toprule", *above, " & ".join(titles) + r" \\", r"\midrule"]


def _stack(text: str, width: int, place: str) -> str:
    """A heading, in lines of about ``width`` characters that stand on the rule below."""
    lines = r"\\".join(map(escape_latex, textwrap.wrap(text, width, break_long_words=False)))
    return rf"\shortstack[{place}]{{{lines}}}" if r"\\" in lines else lines


def _body(table: Table, chosen: list[int]) -> list[str]:
    lines: list[str] = []
    for group, group_marks in zip(table.groups, marks(table), strict=True):
        lines += [r"\midrule"] if lines else []
        if group.title:
            lines.append(rf"\multicolumn{{{len(chosen)}}}{{l}}{{\textit{{{escape_latex(group.title)}}}}} \\")
        for row, row_marks in zip(group.rows, group_marks, strict=True):
            cells = [_cell(row[i], table.columns[i], row_marks[i]) for i in chosen]
            lines.append(" & ".join(cells) + r" \\")
    return lines


def _cell(cell: Cell, column: Column, mark: Mark) -> str:
    value, spread = (escape_latex(part) for part in cell_parts(cell, column))
    value = {"best": rf"\textbf{{{value}}}", "second": rf"\underline{{{value}}}"}.get(mark, value)
    if isinstance(cell.value, str):
        # A macron, too, is written with an equals sign.
        value = re.sub(r"(\\_|(?<!\\)[=+/])", r"\1\\allowbreak{}", value)
    sign = escape_latex(cell.sign)
    if not spread:
        # The sign takes no room, so that numbers with and without one stand in line.
        return rf"{value}\rlap{{{sign}}}" if sign else value
    return rf"{value}{sign}\,{{\tiny {spread}}}" if column.spread == "half" else f"{value}{sign} {spread}"
