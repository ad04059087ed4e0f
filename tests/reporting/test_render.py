"""Tables as text: Markdown, CSV, LaTeX; marks, numbers, escapes, and how large tables are cut."""

import csv
import math
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from fixtures_reporting import CONTROLS, HOSTILE, LAYOUT, LLM, make_suite, on_llm

from causal2vec.reporting.show.render.latex import _KNOWN, escape_latex, to_latex, to_tabular
from causal2vec.reporting.show.render.plain import escape_markdown, to_csv, to_markdown
from causal2vec.reporting.show.tables.build import build_tables
from causal2vec.reporting.show.tables.grid import (
    WEAK,
    Cell,
    Column,
    RowGroup,
    Table,
    cell_parts,
    format_cell,
    format_number,
    marks,
    number_cell,
    panels,
    with_signs,
)
from causal2vec.reporting.show.tables.layout import load_layout


def test_what_looks_equal_ties_and_nothing_is_marked_without_a_difference():
    columns = [
        Column("M", "m", label=True),
        Column("X", "x", better="lower"),
        Column("Y", "y", better="higher"),
    ]
    values = [("a", 1.04, 2.0), ("b", 1.01, 2.0), ("c", 1.2, 2.0), ("d", None, 2.0), ("e", math.nan, 2.0)]
    table = Table("t", "T", columns, [RowGroup("", [[Cell(v) for v in row] for row in values])], [])
    assert [row[1:] for row in marks(table)[0]] == [["best", ""], ["best", ""], ["second", ""], ["", ""], ["", ""]]
    unranked = Table("t", "T", columns, [RowGroup("", table.groups[0].rows, ranked=False)], [])
    assert {mark for row in marks(unranked)[0] for mark in row} == {""}


def test_the_sign_is_asked_of_every_second_and_of_one_best_only():
    column = Column("X", "x", better="higher")

    def signs(values, weak):
        table = Table("t", "T", [column], [RowGroup("", [[Cell(v)] for v in values])], [])
        return [row[0].sign for row in with_signs(table, weak).groups[0].rows]

    asked = []
    assert signs([3.0, 2.0, 2.0, 1.0], lambda best, second: asked.append((best[1], second[1]))) == [""] * 4
    assert asked == [(0, 1), (0, 2)]
    assert signs([3.0, 2.0, 2.0], lambda _, second: second[1] == 2) == [WEAK, "", ""]
    assert signs([3.0, 3.0, 2.0], lambda *_: True) == ["", "", ""]


def test_numbers_keep_three_significant_digits():
    found = [format_number(v, "sig3") for v in (0, 12345.6, 99.96, 9.996, 0.012345, 1234)]
    assert found == ["0", "12,346", "100", "10.0", "0.0123", "1,234"]
    assert [format_number(v, "p") for v in (0.0005, 0.0312)] == ["<0.001", "0.031"]


@pytest.mark.parametrize(
    ("spread", "number", "cell", "text"),
    [
        ("half", ".1f", Cell(54.44, 53.2, 55.6), "54.4 ±1.2"),
        ("interval", "+.1f", Cell(-2.1, -3.7, 0.5), "−2.1 [−3.7, +0.5]"),
        ("half", "+.1f", Cell(2.0, 1.0, 3.0), "+2.0 ±1.0"),
        ("interval", "+.1f", Cell(-0.01, -0.04, 0.02), "0.0 [0.0, 0.0]"),
        ("range", ".0f", Cell(5.0, 4.0, 6.0), "5 (4–6)"),
        ("", ".0f", Cell(5.0, 4.0, 6.0), "5"),
        ("half", ".1f", Cell(5.0, math.nan, math.nan), "5.0"),
        ("half", ".1f", number_cell(0.1 + 0.2, scale=100), "30.0"),
        ("half", ".1f", number_cell(math.inf), "–"),
    ],
)
def test_cells_show_their_range_as_the_column_says(spread, number, cell, text):
    column = Column("X", "x", number=number, spread=spread)
    assert format_cell(cell, column) == text
    assert " ".join(part for part in cell_parts(cell, column) if part) == text


def test_wide_tables_are_split_at_groups():
    columns = [Column("M", "m", label=True)]
    columns += [Column(f"{g}{i}", f"{g}{i}", group=g) for g, n in [("A", 3), ("B", 4), ("C", 11)] for i in range(n)]
    found = panels(Table("t", "T", columns, [], []), [0] + [1] * 18, 8)
    assert [len(panel) - 1 for panel in found] == [7, 6, 5]
    assert sorted(i for panel in found for i in panel[1:]) == list(range(1, 19))
    assert all(panel[0] == 0 for panel in found)


def _row_cells(latex):
    """The number of cells of each row, by environment of rows."""
    found = []
    for line in latex.splitlines():
        if re.match(r"\\begin\{(tabular|xltabular)\}", line):
            found.append(set())
        elif line.endswith(r" \\"):
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            found[-1].add(len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans))
    return found


def test_latex_cuts_a_wide_table_at_groups_and_stacks_headings():
    columns = [Column("Method", "m", label=True)]
    columns += [Column(f"Quite a long heading {i}", str(i), better="higher") for i in range(15)]
    rows = [[Cell("echo"), *(Cell(float(i)) for i in range(15))]]
    table = Table("wide", "T", columns, [RowGroup("", rows)], ["The note."])
    latex = to_latex(table)
    assert latex.count(r"\begin{table*}") == latex.count(r"\end{table*}") == latex.count("The note.") == 1
    assert latex.count(r"\begin{adjustbox}{max width=\linewidth}") == 2 and _row_cells(latex) == [{10}, {7}]
    assert r"\shortstack[r]{Quite a long\\heading 14}" in latex and r"\label{tab:wide}" in latex
    bare = to_tabular(table)
    assert bare.startswith(r"\begin{tabular}{lrrrrrrrrrrrrrrr}") and bare.endswith("\\end{tabular}\n")
    assert _row_cells(bare) == [{16}] and "The note." not in bare and "caption" not in bare


def test_latex_takes_short_headings_in_wide_tables_and_breaks_texts():
    text = "a setting that is described in a_great many words, all of which matter " * 2
    columns = [Column("Setting", "s", label=True)]
    columns += [Column("Summarization of everything", str(i), short="Summ.") for i in range(9)]
    rows = [[Cell(text), *(Cell(50.0) for _ in range(9))]] * 10
    latex = to_latex(Table("t", "T", columns, [RowGroup("", rows)], []))
    assert r"\begin{tabular}{>{\raggedright\arraybackslash}p{0.18\linewidth}rrrrrrrrr}" in latex
    assert "Summ." in latex and "everything" not in latex and r"a\_\allowbreak{}great" in latex
    narrow = to_latex(Table("t", "T", columns[:4], [RowGroup("", [row[:4] for row in rows])], []))
    assert "everything" in narrow and r"\begin{table}" in narrow


@pytest.mark.parametrize(("rows", "notes"), [(60, 0), (5, 40)])
def test_latex_goes_over_pages_when_rows_or_notes_are_many(rows, notes):
    columns = [Column("Method", "m", label=True), *(Column(str(i), str(i)) for i in range(8)), Column("Why", "w")]
    cells = [[Cell("x"), *(Cell(1.0) for _ in range(8)), Cell("a reason in words")]] * rows
    latex = to_latex(Table("t", "T", columns, [RowGroup("G", cells)], ["note " * 30] * notes))
    kind = r">{\raggedright\arraybackslash}X"
    assert re.findall(r"\\begin\{xltabular\}\{\\linewidth\}\{(.*)\}", latex) == [f"{kind}rrrrrr", f"{kind}rr{kind}"]
    assert latex.count(r"\caption") == 1 and latex.count(r"\endhead") == 2 and latex.count("note") == 30 * notes
    assert _row_cells(latex) == [{7}, {4}] and r"\begin{table" not in latex


def test_latex_names_the_packages_it_needs_first():
    for table in [hostile_table(), *_tables()]:
        latex = to_latex(table)
        long = r"\begin{xltabular}" in latex
        first = r"% Needs \usepackage[T1]{fontenc} and \usepackage{array,booktabs," + ("xltabular}" if long else "adj")
        assert latex.startswith(first) and latex.count("%") - latex.count(r"\%") == 1


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("Łódź ß é ‡ β", r"{\L}\'od\'z {\ss} \'e \textsuperscript{\textdaggerdbl} \ensuremath{\beta}"),
        ("e\u0301", r"\'e"),
        ("Б日😀\u200b\u202e\x07\u00ad", "U+0411U+65E5U+1F600U+200BU+202EU+0007U+00AD"),
        ("a--b '' ,,", "a-{}-b '{}' ,{},"),
        (r"\input{x}%$^&", r"{\textbackslash}input\{x\}\%\${\textasciicircum}\&"),
    ],
)
def test_latex_shows_every_character_or_its_number(text, latex):
    assert escape_latex(text) == latex


def test_a_text_may_break_at_its_signs_and_a_macron_stays_whole():
    cell = [[Cell("a_b+c=d/ā")], [Cell("x")]]
    latex = to_tabular(Table("t", "T", [Column("M", "m", label=True)], [RowGroup("", cell)], []))
    assert r"a\_\allowbreak{}b+\allowbreak{}c=\allowbreak{}d/\allowbreak{}\={a} \\" in latex


def _table_lines(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def hostile_table():
    columns = [
        Column("M", "m", label=True),
        Column(HOSTILE, HOSTILE, group=HOSTILE, better="higher", spread="half"),
        Column("Range", "r", better="lower", spread="range"),
    ]
    rows = [[Cell(HOSTILE), Cell(2.0, 1.0, 3.0, WEAK), Cell(1.0, 0.5, 1.5)], [Cell("[b]"), Cell(1.0), Cell(None)]]
    notes = [HOSTILE, "*[x] ÷ ≥ … ± − ° ✓ ✗ “q”", "日本語 😀 Łódź ß ™ \u200d \x07"]
    return Table("hostile", f"Title {HOSTILE}", columns, [RowGroup(HOSTILE, rows)], notes)


def test_hostile_names_are_escaped():
    markdown = to_markdown(hostile_table())
    for line in _table_lines(markdown):
        assert len(re.findall(r"(?<!\\)\|", line)) == 4, line
    assert r"a\|b\_&lt;x&gt;&amp;%\$\#\{\}\\\`\*\[\~^\\" in markdown
    assert "<x>" not in markdown
    assert escape_markdown("a\n| b") == r"a \| b"

    latex = escape_latex(HOSTILE)
    assert latex.startswith(r"a{\textbar}b\_\ensuremath{<}x\ensuremath{>}\&\%\$\#\{\}{\textbackslash}")
    assert "--" not in latex
    body = to_latex(hostile_table())
    assert _row_cells(body) == [{3}] and "{[}b{]} &" in body

    (header, first, second) = csv.reader(to_csv(hostile_table()).splitlines())
    assert header == ["group", "m", HOSTILE, f"{HOSTILE}_low", f"{HOSTILE}_high", "r", "r_low", "r_high"]
    assert first == [HOSTILE, HOSTILE, "2.0", "1.0", "3.0", "1.0", "0.5", "1.5"] and second[3:] == [""] * 5


def test_marks_signs_and_intervals_stand_in_this_order():
    table = hostile_table()
    assert f"**2.0**{WEAK} ±1.0 |" in to_markdown(table)
    assert r"\textbf{2.0}{\textdegree}\,{\tiny \ensuremath{\pm}1.0}" in to_latex(table)
    plain = Column("X", "x", better="higher")
    small = Table("t", "T", [plain], [RowGroup("", [[Cell(2.0, sign=WEAK)], [Cell(1.0)]])], [])
    assert r"\textbf{2.0}\rlap{{\textdegree}}" in to_latex(small)


def _plain_cells(text):
    """The cells of a Markdown table's rows of numbers, without marks, signs and escapes."""
    rows = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in _table_lines(text)[2:]]
    kept = [row for row in rows if any(row[1:])]
    return [[re.sub(rf"\*\*|</?u>|\\|{WEAK}", "", cell).replace("&lt;", "<") for cell in row] for row in kept]


def _tables():
    study = make_suite(on_llm(LLM) | CONTROLS, bases=[LLM], evidence=True)
    return build_tables(study, load_layout(LAYOUT))


def test_every_table_round_trips_its_numbers_from_csv():
    for table in _tables():
        records = list(csv.DictReader(to_csv(table).splitlines()))
        shown = _plain_cells(to_markdown(table))
        assert len(records) == len(shown) == sum(len(group.rows) for group in table.groups)
        latex = to_latex(table).replace(r"\allowbreak{}", "")
        for record, texts in zip(records, shown, strict=True):
            for column, text in zip(table.columns, texts, strict=True):
                raw = [record.get(f"{column.key}{end}") for end in ("", "_low", "_high")]
                numbers = [float(r) if r and not column.label else r or None for r in raw]
                assert format_cell(Cell(*numbers), column) == text
                assert escape_latex(cell_parts(Cell(*numbers), column)[0]) in latex


def _hostile_study():
    """Every table of a study with names that no one should give, on many tasks and by many methods."""
    names = [f"{HOSTILE}{i}" for i in range(3)] + ["😀 emoji & co", "a_method_of_forty_letters_$x^2$_and_a_half"]
    names += [f"method_{i}" for i in range(8)]
    entries = [(f"{name}{suffix}", base) for name in names for suffix in ("", "-zero_shot") for base in ("b|1", "<b2>")]
    types = {f"Task_{i}&{HOSTILE[:4]}": f"Type{i % 9}" for i in range(56)}
    scores = {entry: [0.3 + (i * 7 + j) % 50 / 100 for j in range(56)] for i, entry in enumerate(entries)}
    study = make_suite(scores, types=types, bases=["b|1", "<b2>"], evidence=True, notes=[HOSTILE])
    tables = build_tables(study, load_layout(LAYOUT))
    return [replace(table, name=f"hostile_{table.name}") for table in tables]


def test_a_large_study_of_hostile_names_keeps_its_shape():
    for table in _hostile_study():
        for line in _table_lines(to_markdown(table)):
            assert len(re.findall(r"(?<!\\)\|", line)) <= 14
        widths = {len(row) for row in csv.reader(to_csv(table).splitlines())}
        assert len(widths) == 1
        assert to_csv(table).isprintable() or "\n" in to_csv(table)


@pytest.mark.skipif(not shutil.which("kpsewhich"), reason="TeX is not installed")
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_latex_compiles_and_fits_the_page(tmp_path, columns):
    packages = ["array", "booktabs", "xltabular", "adjustbox"]
    if subprocess.run(
        ["kpsewhich", *(f"{name}.sty" for name in packages)], check=False, capture_output=True
    ).returncode:
        pytest.skip("TeX lacks a package")
    wide = hostile_table()
    repeated = [*wide.columns[:1], *wide.columns[1:] * 8]
    rows = [[row[0], *row[1:] * 8] for row in wide.groups[0].rows]
    every = Table("every", "E", wide.columns[:1], [RowGroup("", [[Cell(" ".join(sorted(_KNOWN)))]])], [])
    tables = [
        *_tables(),
        *_hostile_study(),
        wide,
        every,
        Table("hostile_wide", "W", repeated, [RowGroup("", rows)], []),
    ]
    floats, bare = [], []
    for table in tables:
        (tmp_path / f"{table.name}.tex").write_text(to_latex(table), encoding="utf-8")
        (tmp_path / f"{table.name}.tabular.tex").write_text(to_tabular(table), encoding="utf-8")
        if columns == "onecolumn" or "xltabular}" not in to_latex(table):
            floats.append(rf"\typeout{{TABLE {table.name}}}\input{{{table.name}}}\clearpage")
        bare.append(rf"\adjustbox{{max totalsize={{\linewidth}}{{\textheight}}}}{{\input{{{table.name}.tabular}}}}\par")
    includes = "".join(floats + bare)
    head = rf"\documentclass[{columns}]{{article}}\usepackage[T1]{{fontenc}}\usepackage{{{','.join(packages)}}}"
    (tmp_path / "all.tex").write_text(rf"{head}\begin{{document}}{includes}\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    ours = done.stdout.split("TABLE hostile")[0]
    assert "TABLE main" in ours and "Overfull" not in ours and "too large" not in ours, ours[-3000:]
