"""Names that an attacker would choose, in Markdown, LaTeX, CSV, SVG and on the terminal: shown, never obeyed."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from conftest import ROOT
from hostile_data import NAMES, hostile_study
from matplotlib.figure import Figure
from test_report import Page, verdict

from causal2vec.reporting.analysis.claims.ledger import load_claims
from causal2vec.reporting.read.visible import inert, one_line, visible
from causal2vec.reporting.show.claims import claims_table, claims_text, write_claims
from causal2vec.reporting.show.figures.style import drawable
from causal2vec.reporting.show.figures.svg import hover, save
from causal2vec.reporting.show.render.html import to_page
from causal2vec.reporting.show.render.latex import to_latex, to_tabular
from causal2vec.reporting.show.render.plain import to_csv, to_markdown
from causal2vec.reporting.show.report.figures import inline_svg
from causal2vec.reporting.show.tables.build import build_tables
from causal2vec.reporting.show.tables.grid import Cell, Column, RowGroup, Table
from causal2vec.reporting.show.tables.layout import load_layout
from causal2vec.runtime.files import write_text

COMMANDS = {
    "textbackslash", "textasciicircum", "textasciitilde", "textbar", "textasciigrave", "textendash", "textellipsis",
    "textdegree", "textsuperscript", "textdaggerdbl", "textdagger", "texttimes", "textdiv", "textdownarrow",
    "textuparrow", "ensuremath", "pm", "geq", "leq", "emptyset",
    "textbf", "textit", "underline", "rlap", "tiny", "allowbreak", "shortstack",
    "begin", "end", "centering", "footnotesize", "scriptsize", "setlength", "tabcolsep", "caption", "label", "toprule",
    "midrule", "bottomrule", "multicolumn", "cmidrule", "raggedright", "arraybackslash", "par", "smallskip",
    "noindent", "linewidth", "usepackage", "endfirsthead", "endhead",
}  # fmt: skip
"""Every LaTeX command that tables are made of."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return hostile_study(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def tables(study):
    """Every table of the study, and the claims'."""
    verdicts = [verdict("supported", "a", title=name, base=name, evidence=name, statement=name) for name in NAMES]
    return [*build_tables(study, load_layout(ROOT / "config" / "tables.yaml")), claims_table(verdicts, study)]


class Words(HTMLParser):
    """Elements, attributes, and the text of each cell."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.cells = set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag in ("td", "th", "li", "h3"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_markdown_shows_them_in_a_real_parser(tables):
    markdown_it = pytest.importorskip("markdown_it", reason="needs markdown-it-py, which the lock file has")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    seen = set()
    for table in tables:
        words = Words(parser.render(to_markdown(table)))
        assert words.tags <= {"h3", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong", "em", "u"}
        assert words.attributes <= {"style"}  # how a column is aligned
        seen |= {" ".join(cell.split()) for cell in words.cells}
    assert {one_line(name) for name in NAMES} <= seen


def test_latex_has_only_the_commands_of_tables(tables):
    for table in tables:
        latex = to_latex(table).replace("\\\\", "") + to_tabular(table).replace("\\\\", "")  # ends of lines
        assert set(re.findall(r"\\([a-zA-Z]+)", latex)) <= COMMANDS
        assert set(re.findall(r"\\(begin|end)\{(\w+)", latex)) == set(re.findall(r"^\\(begin|end)\{(\w+)", latex, re.M))
        assert "$" not in latex.replace(r"\$", "") and "^" not in latex
        assert re.findall(r"(?<!\\)%.*", latex) == [latex.partition("\n")[0]]
        assert not set(latex) & set("\u202e\u2066\u200f\x00\x07\x1b\u2028")
        depth = 0
        for brace in re.findall(r"(?<!\\)[{}]", latex):
            depth += 1 if brace == "{" else -1
            assert depth >= 0
        assert depth == 0
    assert any(r"{\textbackslash}input\{/etc/passwd\}" in to_latex(table) for table in tables)


def test_html_pages_hold_no_element_of_theirs(tables):
    for table in tables:
        page = Page(to_page(table))
        assert {tag for tag, _ in page.elements} & {"img", "svg", "br", "form", "iframe", "object"} == set()
        assert sum(tag == "script" for tag, _ in page.elements) == 1
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        assert all(visible(str(row[0].value)) in page.text for group in table.groups for row in group.rows)


def test_csv_keeps_names_and_defuses_formulas(tables):
    main = next(table for table in tables if table.name == "main")
    rows = list(csv.reader(io.StringIO(to_csv(main), newline="")))
    assert {row[1] for row in rows[1:]} == {inert(name) for name in NAMES}
    assert len({len(row) for row in rows}) == 1
    for table in tables:
        cells = [cell for row in csv.reader(io.StringIO(to_csv(table), newline="")) for cell in row]
        assert not [cell for cell in cells if re.match(r"[=@\t\r]|[+-](?![\d.])", cell)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+cmd|'/C calc'!A0", "'+cmd|'/C calc'!A0"), ("-2+3", "'-2+3"),
        ("\tx", "'\tx"), ("-2.5", "-2.5"), ("+1e-05", "+1e-05"), ("-12.5%", "-12.5%"), ("a=b", "a=b"), ("", ""),
        ("'x", "'x"), ("–", "–"),
    ],
)  # fmt: skip
def test_a_formula_is_made_inert_and_nothing_else(text, found):
    assert inert(text) == found


def test_headings_and_groups_of_a_csv_file_are_inert_too():
    table = Table("t", "T", [Column("M", "=m", label=True)], [RowGroup("@g", [[Cell("=x")], [Cell(-1.5)]])], [])
    assert to_csv(table) == "group,'=m\n'@g,'=x\n'@g,-1.5\n"


def test_what_hides_or_reorders_is_shown_by_its_number_and_letters_stay():
    assert visible("a\u202eb\ud800c\x9b\U000e0041") == "aU+202EbU+D800cU+009BU+E0041"
    assert visible("a\tb\nשלום 👩\u200d💻 é") == "a\tb\nשלום 👩\u200d💻 é"
    assert one_line(" a\n b\x1b[2J ") == "a bU+001B[2J"


def test_a_terminal_gets_no_control_characters(study, tmp_path):
    verdicts = [verdict("supported", "a", title=name, base=name) for name in NAMES]
    text = claims_text(verdicts)
    assert all(one_line(name) in text for name in NAMES) and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    write_claims(study, load_claims(ROOT / "config" / "claims.yaml"), tmp_path)
    assert "\u202e" not in (tmp_path / "claims.md").read_text() + (tmp_path / "claims.html").read_text()


def test_figures_write_them_as_text(tmp_path):
    figure = Figure(figsize=(4, 4))
    axes = figure.add_subplot()
    for place, name in enumerate(NAMES):
        axes.plot([0], [place], marker="o", gid=hover(name))
        axes.text(0, place, drawable(name), parse_math=False)
    [svg, _] = save(figure, tmp_path, "hostile", NAMES[0], NAMES[3])
    titles = {element.text for element in ET.parse(svg).getroot().iter("{http://www.w3.org/2000/svg}title")}
    assert titles == {one_line(name) for name in NAMES}
    page = Page(inline_svg(svg, "x", "").svg)
    assert not [tag for tag, _ in page.elements if tag in ("script", "img", "style", "foreignObject", "a")]
    write_text(tmp_path / "done.txt", page.text)  # no half of a character is left


def test_a_report_with_halves_of_characters_can_be_written(tmp_path):
    """JSON can hold what UTF-8 cannot."""
    table = Table("t", "half \ud800", [Column("M", "m", label=True)], [RowGroup("", [[Cell("\udfff")]])], ["\ud83d"])
    for text in (to_page(table), to_markdown(table), to_latex(table)):
        write_text(tmp_path / "t", text)
    assert "half U+D800" in to_page(table) and "U+DFFF" in to_markdown(table) and "U+D83D" in to_latex(table)
