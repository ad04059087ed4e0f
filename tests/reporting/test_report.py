"""The report and the tables as HTML: whole, self-contained, escaped, the same every time."""

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report_data import HOSTILE, small_table
from synthetic import write_study

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.claims.ledger import Verdict
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.show.claims import claims_table
from causal2vec.reporting.show.render.html import TEMPLATES, to_html, to_page
from causal2vec.reporting.show.report.figures import inline_svg
from causal2vec.reporting.show.report.page import write_report
from causal2vec.reporting.show.report.run import PAPER, citations, describe_run, duration
from causal2vec.reporting.show.tables.grid import Cell, Column, RowGroup, Table

VOID = {"meta", "link", "input", "wbr", "br", "img"}
SVG = """<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="252pt" viewBox="0 0 252 90"
 onload="hurt()"><title>Scores &amp; costs</title><desc>All of them.</desc>
<style>*{fill:red}</style><script>hurt()</script><foreignObject><img src="x"/></foreignObject>
<defs><path id="m" d="M 0 -12.3456
L 0.015625 3" style="stroke: #000; stroke-width: 0.8"/><clipPath id="c"><rect/></clipPath></defs>
<g id="echo" clip-path="url(#c)" onclick="hurt()"><title>echo: 5 &lt; 6</title><use xlink:href="#m" x="1"/></g>
<use xlink:href="https://example.org/a.svg#b"/><g id="empty"/><a xlink:href="javascript:hurt()"><path d="M 1 1"/></a>
<path d="M 2 2" style="fill: url(https://example.org/f.svg#g)"/>
<image xlink:href="data:image/png;base64,AAAA"/><image xlink:href="https://example.org/a.png"/></svg>"""


class Page(HTMLParser):
    """The elements of a page with their attributes, and whether they are well nested."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **wanted):
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in wanted.items())]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return load_study(write_study(tmp_path_factory.mktemp("study"), items=20, tasks=3))


@pytest.fixture
def figure(tmp_path):
    path = tmp_path / "score_vs_time.svg"
    path.write_text(SVG)
    return path


def verdict(word, claim="a", **changes):
    values = dict.fromkeys(Verdict.__dataclass_fields__, "")
    values |= {"claim_id": claim, "title": f"claim {claim}", "paper": "P", "verdict": word, "base": "base-a"}
    return Verdict(**{**values, "measured": None, "low": None, "high": None, **changes})


def write(study, output, **changes):
    given = {"tables": [small_table()], "figures": {}, "captions": {}, "verdicts": []} | changes
    write_report(study, **given, output=output)
    return output.read_text()


def safe(text):
    """What must hold for every page: nothing runs, loads or is styled but what the policy names."""
    page = Page(text)
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    for tag in ("style", "script"):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy and len(page.all(tag)) == 1
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "srcset")]
        if tag != "a" and "href" in attributes:
            assert attributes["href"].startswith(("#", "data:")), attributes
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    for tag, attributes in page.elements:
        if tag in ("a", "use") and attributes["href"].startswith("#"):
            assert attributes["href"][1:] in names
        for name in attributes.get("aria-labelledby", "").split():
            assert name in names
    return page


def test_a_table_has_headings_marks_intervals_and_gaps():
    html = str(to_html(small_table()))
    page = Page(html)
    assert page.all("th", scope="colgroup", colspan="2") and len(page.all("th", scope="col")) == 5
    assert len(page.all("th", scope="row")) == 4 and len(page.all("th", scope="rowgroup")) == 2
    assert '<strong>61.2</strong><sup>°</sup> <span class="range">±1.2</span>' in html
    assert "<u>60.0</u>" in html and "<strong>10.5</strong>" in html and "<u>10.0</u>" in html
    assert page.all("td", title="60.0 to 62.5") and page.all("td", **{"data-value": "61.25"})
    gaps = [a for a in page.all("td") if "gap" in a["class"]]
    assert len(gaps) == 5 and not any("data-value" in gap for gap in gaps)
    heads = [(a["data-column"], a["data-first"]) for a in page.all("th", scope="col")]
    assert heads[:1] == [("0", "ascending")] and ("1", "descending") in heads and ("3", "ascending") in heads
    assert "Pair<wbr>Classification (1)" in html and "<li>A note.</li>" in html
    assert "checkbox" not in html and "checkbox" in to_html(small_table(), filters=True)


def test_without_shared_headings_there_is_one_line_of_them():
    columns = [replace(column, group="") for column in small_table().columns]
    html = to_html(small_table(columns=columns))
    assert "colgroup" not in html and "rowspan" not in html


@pytest.mark.parametrize("groups", [[], [RowGroup("", [])], [RowGroup("", [[Cell("a"), Cell(1.0)]])]])
def test_tables_without_rows_or_groups_are_tables(groups):
    columns = [Column("Method", "method", label=True), Column("Score", "score", better="higher")]
    page = safe(to_page(Table("t", "T", columns, groups, [])))
    assert len(page.all("table")) == 1 and not page.all("th", scope="rowgroup")


def test_a_page_of_one_table_is_complete():
    text = to_page(small_table())
    page = safe(text)
    assert text.startswith("<!DOCTYPE html>") and page.all("html", lang="en") and page.all("main")
    assert page.all("h1") and text == to_page(small_table())


def test_hostile_words_stay_words():
    columns = [Column(HOSTILE, HOSTILE, HOSTILE, label=True), Column(HOSTILE, "b", HOSTILE, better="higher")]
    groups = [RowGroup(HOSTILE, [[Cell(HOSTILE), Cell(1.0, sign=HOSTILE)], [Cell(HOSTILE), Cell(HOSTILE)]])]
    page = safe(to_page(Table(HOSTILE, HOSTILE, columns, groups, [HOSTILE])))
    assert page.text.count(HOSTILE) >= 8 and not page.all("img")


def test_figures_become_independent_and_harmless(figure):
    drawing = inline_svg(figure, "fig-a", "alt")
    page = Page(drawing.svg)
    (root,) = page.all("svg")
    assert root["aria-label"] == "Scores & costs. All of them" and root["role"] == "img" and not drawing.wide
    assert {tag for tag, _ in page.elements} == {
        "svg",
        "defs",
        "path",
        "clippath",
        "rect",
        "g",
        "title",
        "use",
        "image",
    }
    assert page.all("path", id="fig-a-0", stroke="#000", d="M 0 -12.35 L 0.015625 3", **{"stroke-width": "0.8"})
    assert page.all("g", **{"clip-path": "url(#fig-a-1)"}) and page.all("use", href="#fig-a-0")
    assert page.all("clippath", id="fig-a-1") and not page.all("g", id="fig-a-echo")
    assert "echo: 5 < 6" in page.text and page.all("image", href="data:image/png;base64,AAAA")
    assert not re.search(r"hurt|example|style=|xmlns|javascript", drawing.svg)
    figure.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 504 90"/>')
    wide = inline_svg(figure, "b", 'alt "text"')
    assert wide.wide and Page(wide.svg).all("svg", **{"aria-label": 'alt "text"'})


def test_a_figure_that_is_no_svg_is_refused(figure):
    for text in ("<svg", "<html/>"):
        figure.write_text(text)
        with pytest.raises(UserError, match="is not SVG"):
            inline_svg(figure, "a", "")
    figure.unlink()
    with pytest.raises(UserError, match="does not exist"):
        inline_svg(figure, "a", "")


def test_the_report_holds_everything_in_order(study, tmp_path, figure):
    tables = [small_table(name) for name in ("mine", "training", "main", "benchmark_x", "efficiency", "tasks")]
    figures = {"score_vs_time": figure, "own_figure": figure}
    text = write(study, tmp_path / "r.html", tables=tables, figures=figures, captions={"score_vs_time": "A <caption>"})
    page = safe(text)
    sections = [a["id"] for a in page.all("section") if "id" in a]
    assert sections == ["answer", "scores", "cost", "published", "tasks", "training", "more", "run", "cite"]
    tables = ["main", "efficiency", "benchmark-x", "tasks", "training", "mine"]
    assert [a["id"] for a in page.all("table") if "id" in a] == [f"table-{name}" for name in tables]
    assert [a["id"] for a in page.all("figure")] == ["figure-score-vs-time", "figure-own-figure"]
    assert "A &lt;caption&gt;" in text and study.title in page.text
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert [a["href"] for a in page.all("a", rel="noreferrer")][-1] == "https://arxiv.org/abs/2507.23386"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    links = [a["href"][1:] for a in page.all("a") if a.get("href", "").startswith("#")]
    assert set(sections) <= set(links)


def test_every_table_ends_with_where_it_comes_from(study, tmp_path):
    tables = [small_table(name, notes=["A note.", *study.notes]) for name in ("main", "tasks")]
    text = write(study, tmp_path / "r.html", tables=tables)
    main, tasks = (part.split("</ul>")[0] for part in text.split('<ul class="notes">')[1:])
    for part in (main, tasks):
        for words in ("A note.", "small-scale", "assumed", "manifest 0123456789ab of 2026-01-31", "1 seed"):
            assert words in part, words
    assert "masked-next-token" in main and "masked-next-token" not in tasks


def test_the_same_study_gives_the_same_bytes(study, tmp_path, figure):
    given = {"figures": {"score_vs_time": figure}, "verdicts": [verdict("supported")]}
    assert write(study, tmp_path / "a.html", **given) == write(study, tmp_path / "b.html", **given)


def test_claims_are_counted_and_the_untested_ones_folded(study, tmp_path):
    verdicts = [verdict("supported", "a"), verdict("not run", "b"), verdict("not run", "c", statement=HOSTILE)]
    text = write(study, tmp_path / "r.html", tables=[claims_table(verdicts, study)], verdicts=verdicts)
    page = safe(text)
    assert re.search(r"<b>1</b> supported", text) and re.search(r"<b>2</b> not run", text)
    shown, folded = text.split('id="table-claims"')[1].split('id="table-claims-not-run"')
    assert ">claim a<" in shown and ">claim b<" not in shown and ">claim b<" in folded
    assert HOSTILE in page.text and not page.all("img")


def test_a_hostile_study_is_shown_and_does_nothing(tmp_path):
    folder = write_study(tmp_path / "s", methods=("causal2vec", HOSTILE), tasks={HOSTILE: "STS"}, items=20,
                         bases=(HOSTILE,), scale_note=HOSTILE, without_items=[HOSTILE], control=False)  # fmt: skip
    study = replace(load_study(folder), title=HOSTILE)
    page = safe(write(study, tmp_path / "r.html", tables=[small_table(notes=study.notes)]))
    assert page.text.count(HOSTILE) > 5 and not page.all("img")


def test_without_a_manifest_the_report_says_so(study, tmp_path):
    bare = replace(study, manifest={}, stamp="", notes=[], costs=None, training=None)
    assert "no <code>manifest.json</code>" in write(bare, tmp_path / "r.html", tables=[])


def test_how_it_was_run_is_told_from_the_manifest(study):
    run = describe_run({**study.manifest, "git": {"commit": "c0ffee", "dirty": True}}, ["How."])
    facts = dict(run.facts)
    assert facts["Manifest"] == "0123456789ab" and facts["Commit"] == "c0ffee, with changes that are not committed"
    assert facts["Main libraries"] == "mteb 2.26.24, torch 2.6.0" and "Lock file (SHA-256)" not in facts
    assert run.stages == [("train", 1, "1 min 01 s"), ("evaluate", 1, "20.5 s")] and run.total == "1 min 22 s"
    titles = [title for title, _ in run.documents]
    assert titles[:2] == ["How the statistics were computed", "Configuration, as it was checked"]
    assert "title: A study of known truth" in run.documents[1][1]
    assert describe_run({}).facts == [("Commit", "not from a repository")]
    assert [duration(s) for s in (0.04, 59.94, 60, 7261)] == ["0.0 s", "59.9 s", "1 min 00 s", "2 h 01 min"]


def test_citations_are_read_or_refused(tmp_path):
    path = tmp_path / "CITATION.cff"
    assert citations(path) == [PAPER]
    path.write_text("title: T\nversion: 1\nauthors: [{family-names: A, given-names: B}]\nyear: 2026\n")
    assert citations(path) == ["A, B (2026). T. Version 1.", PAPER]
    for text in ("- 1", "title: T", "{"):
        path.write_text(text)
        with pytest.raises(UserError, match="is not a citation file"):
            citations(path)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_its_ground_in_light_and_dark():
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "style.css").read_text(), re.DOTALL)
    assert len(blocks) == 3  # light, dark, print
    for block in blocks[:2]:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for ink in ("ink", "muted", "accent"):
            for ground in ("paper", "tint", "warn"):
                high, low = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)
