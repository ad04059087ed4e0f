"""Whatever a table's cells hold: every form shows it as it is, and it changes nothing but the text of its cell."""

import csv
import io
import re
from html.parser import HTMLParser

from any_data import AWKWARD
from hypothesis import example, given, settings
from hypothesis import strategies as st

from causal2vec.reporting.read.visible import inert, one_line, visible
from causal2vec.reporting.show.render.html import to_html, to_page
from causal2vec.reporting.show.render.latex import escape_latex, to_latex, to_tabular
from causal2vec.reporting.show.render.plain import escape_markdown, to_csv, to_markdown
from causal2vec.reporting.show.tables.grid import Cell, Column, RowGroup, Table

HOSTILE = [
    *(text for text in AWKWARD if text.isascii() or text.encode("utf-8", "ignore").decode() == text),
    "|", "a | b", "\\|", "\\", "\\\\|", "`a|b`", "<script>alert(1)</script>", "</td><td>", "&lt;", "&amp;amp;",
    "&#124;",     "**bold**", "_a_", "~~a~~", "[a](javascript:alert(1))", "![x](y)", "<img src=x onerror=alert(1)>",
    "$x^2$", "$$",
    "\\input{/etc/passwd}", "\\end{tabular}", "%", "a%b", "{", "}", "^^41", "\\verb|a|", "~", "--", "---", "''", '"',
    "# a",     "- a", "1. a", "+", "> a", "===", "a\nb", "a\r\n| --- |", "=1+1", "@x", "{{7*7}}", "{% x %}",
    "' onclick='x", "\x85", "\x1c",
]  # fmt: skip
texts = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
words = texts.map(lambda text: text if text.strip() else f"{text}x")
"""Text that is not blank: a cell of nothing leaves nothing to compare."""
numbers = st.none() | st.floats(-1e6, 1e6)
SPECIAL = r"\{}$&#%_^~<>|\"`[]*"


def spaced(text: str) -> str:
    """A text with all white space as single spaces, as a browser shows it."""
    return " ".join(text.split())


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Two columns of text and one of numbers, in two groups."""
    columns = [
        Column(draw(words), "m", label=True),
        Column(draw(words), "t"),
        Column(draw(words), "x", group=draw(st.sampled_from(["", "G"]) | words), better="higher", spread="half"),
    ]
    groups = [
        RowGroup(
            draw(st.just("") | words),
            [
                [Cell(draw(words)), Cell(draw(words)), Cell(draw(numbers), 0.0, 1.0)]
                for _ in range(draw(st.integers(1, 3)))
            ],
        )
        for _ in range(2)
    ]
    return Table("t", draw(words), columns, groups, draw(st.lists(words, max_size=2)))


@settings(max_examples=400)
@given(texts)
def test_markdown_can_be_read_back(text: str) -> None:
    escaped = escape_markdown(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_{}\[\]#|$~]", escaped), "a special character is not escaped"
    assert "<" not in escaped and ">" not in escaped and "\n" not in escaped
    back = re.sub(r"\\([\\`*_{}\[\]#|$~])", r"\1", escaped)
    assert back.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&") == one_line(text)


@settings(max_examples=400)
@given(texts)
@example("\\textbar{}")
@example("-\u200b-")
def test_latex_has_no_special_character_that_is_not_escaped(text: str) -> None:
    escaped = escape_latex(text)
    assert escaped.isprintable() and escaped.isascii()
    commands = (
        r"\{\\(?:[a-zA-Z]+|\W[a-zA-Z])\}|\\(?:text\w+|ensuremath|[a-z])(?=\{)|\\[a-z]+(?=\})|\\[\W_](?:\{\\[ij]\})?"
    )
    rest = re.sub(commands, "", escaped)
    assert not set(rest) & set(r"\$&#%_^~|`"), rest
    assert "--" not in rest and ",," not in rest
    depth = [0]
    for brace in re.findall(r"[{}]", rest):
        depth.append(depth[-1] + (1 if brace == "{" else -1))
    assert min(depth) == depth[-1] == 0
    assert not re.search(r"(?<!\{)[\[\]*]", rest), "after the end of a row it would be an argument"


@settings(max_examples=120)
@given(tables())
def test_a_markdown_table_keeps_its_shape(table: Table) -> None:
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    rows = sum(len(group.rows) + bool(group.title) for group in table.groups)
    assert len(lines) == rows + 2
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4, line


@settings(max_examples=120)
@given(tables())
def test_csv_can_be_read_back(table: Table) -> None:
    _, *rows = csv.reader(io.StringIO(to_csv(table), newline=""))
    expected = [
        [inert(group.title), *(inert("" if cell.value is None else str(cell.value)) for cell in row)]
        for group in table.groups
        for row in group.rows
    ]
    assert [[*row[:3], row[3]] for row in rows] == expected


class _Cells(HTMLParser):
    """The text of each cell, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def parsed(html: str) -> _Cells:
    parser = _Cells()
    parser.feed(str(html))  # markupsafe's strings would escape what the parser has read
    parser.close()
    return parser


INNOCENT = Table(
    "t",
    "T",
    [Column("M", "m", label=True), Column("T", "t"), Column("X", "x", "G", better="higher", spread="half")],
    [RowGroup("G", [[Cell("a"), Cell("b" * 60), Cell(x, 0.0, 9.0)] for x in (1.0, 2.0, 3.0, None)])],
    ["n"],
)
"""A table with everything that a table can have, and nothing in its texts."""


@settings(max_examples=120)
@given(tables())
def test_html_shows_every_text_and_has_no_tag_of_its_own(table: Table) -> None:
    found, ours = parsed(to_html(table, filters=True)), parsed(to_html(INNOCENT, filters=True))
    assert found.tags <= ours.tags | {"wbr"} and found.attributes <= ours.attributes
    shown = [spaced(cell) for cell in found.cells]
    for group in table.groups:
        for row in group.rows:
            for cell in row[:2]:
                assert spaced(visible(str(cell.value))) in shown, cell
    page = to_page(table)
    assert page.count("<script") == parsed(to_page(INNOCENT)).tags.issuperset({"script"}) and page.count("<style") == 1


@settings(max_examples=80)
@given(tables())
def test_a_latex_table_keeps_its_shape(table: Table) -> None:
    for latex in (to_latex(table), to_tabular(table)):
        assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") <= 1 and latex.isascii()
        for line in latex.splitlines():
            if line.endswith(r" \\") and r"\multicolumn" not in line:
                assert len(re.findall(r"(?<!\\)&", line)) == 2, line
