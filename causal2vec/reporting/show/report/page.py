"""The report: one self-contained HTML page with every table, figure and verdict of a study.

The page loads nothing and sends nothing; it may be opened from a disk, mailed or printed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from markupsafe import Markup, escape

from causal2vec.reporting.analysis.claims.ledger import SIGNS, Verdict, check_claims, load_claims
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.show.claims import claims_table
from causal2vec.reporting.show.figures.captions import captions as all_captions
from causal2vec.reporting.show.render.html import fragment, page, slug, to_html
from causal2vec.reporting.show.report.answers import LABELS, QUESTION, answers, published_sentences
from causal2vec.reporting.show.report.figures import inline_svg
from causal2vec.reporting.show.report.run import Run, citations, describe_run
from causal2vec.reporting.show.tables.build import build_tables
from causal2vec.reporting.show.tables.grid import Table
from causal2vec.reporting.show.tables.layout import load_layout
from causal2vec.runtime.files import CHECKOUT, write_text

CITATION = CHECKOUT / "CITATION.cff"
"""The project's own citation file; absent where only the package is installed."""

FILES_ONLY = ("published_tasks",)
"""Tables too long for a page: their figure stands there, and their files beside it."""

MAIN = "main"
"""The table that readers can filter."""

CLAIMS, NOT_RUN = "claims", "claims_not_run"
"""The table of claims, and the part of it that a reader needs last."""


@dataclass(frozen=True)
class Part:
    """What belongs together on the page.

    Attributes:
        id: Its anchor.
        title: Its heading.
        intro: A sentence under the heading.
        first: Names of the tables above the figures; ``*`` stands for any letters.
        figures: Names of the figures.
        rest: Names of the tables below the figures.
        empty: What stands there where there is neither table nor figure; without it the part is left out.
    """

    id: str
    title: str
    intro: str = ""
    first: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    empty: str = ""


PARTS = (
    Part(
        "scores",
        "Main results",
        "Averages over the tasks of each type. Where a task is missing there is a gap, never a mean over fewer tasks.",
        first=(MAIN,),
        figures=("scores_by_type",),
        rest=("zero_shot",),
    ),
    Part(
        "sure",
        "How sure the differences are",
        "Two methods are compared on the same test items; whether a difference is more than noise is tested in pairs.",
        figures=("forest", "ranks"),
        rest=("statistics", "differences"),
    ),
    Part(
        "claims",
        "The papers' claims",
        "What the papers say, held against these numbers. A claim is supported or contradicted only where the whole "
        "95 % interval lies on one side.",
        first=(CLAIMS, NOT_RUN),
    ),
    Part(
        "audit",
        "Inside the vectors",
        "Whether the vectors of unrelated texts lie apart, and whether the LLM uses its Contextual token: measured on "
        "validation pairs. A verdict about Causal2Vec from a model that ignores the token is void.",
        figures=("audit",),
        rest=("audit",),
    ),
    Part(
        "cost",
        "What it costs",
        "All methods embed the same texts on the same machine.",
        figures=(
            "score_vs_time",
            "score_vs_length",
            "throughput_vs_length",
            "cost_vs_length",
            "prefix_reuse",
            "shorter_faster",
            "published_savings",
        ),
        rest=(
            "published_savings",
            "append_cost",
            "efficiency",
            "efficiency_savings",
            "efficiency_conditions",
            "efficiency_predictions",
        ),
    ),
    Part(
        "published",
        "Beside published scores",
        "Published rows rest on other training data and are never ranked with ours. They stand in one table with ours "
        "where a method here has every task of the benchmark; otherwise alone, for reference.",
        first=("benchmark_*", "published_*"),
        empty="No method here has every task of a benchmark that published scores are known for, so there is nothing "
        "to set beside them: an average over other tasks would not be comparable.",
    ),
    Part("ablations", "Ablations", "One setting varied, all else equal.", figures=("ablations",), rest=("ablations",)),
    Part("tasks", "Task by task", figures=("heatmap",), rest=("tasks",)),
    Part("training", "Training", figures=("loss_curves",), rest=("training",)),
)
"""The page from top to bottom; what no part names comes last."""

_ADDRESS = re.compile(r"(https://[^\s<>\"']+[\w/]|arXiv[: ]\d{4}\.\d{4,5})")
_LINK = '<a href="{}" rel="noreferrer">{}</a>'

_MORE = Part("more", "Further tables and figures", first=("*",), figures=("*",))


@dataclass(frozen=True)
class _Figure:
    id: str
    svg: Markup
    caption: str
    wide: bool


@dataclass(frozen=True)
class _Section:
    id: str
    title: str
    intro: str
    first: list[Markup]
    figures: list[_Figure]
    rest: list[Markup]
    folded: list[Markup] = field(default_factory=list)
    counts: list[tuple[str, str, int]] = field(default_factory=list)
    verdicts: Sequence[Verdict] = ()


def write_report(
    study: Study,
    tables: Sequence[Table],
    figures: Mapping[str, Path],
    captions: Mapping[str, str],
    verdicts: Sequence[Verdict],
    output: Path,
    citation: Path = CITATION,
) -> None:
    """Write the report as one HTML file.

    Args:
        study: The study; its numbers make the answer, its manifest tells how it was run.
        tables: The tables, known by their names; those that `PARTS` does not name come last.
        figures: Name -> SVG file.
        captions: Name of a figure -> what it shows.
        verdicts: The verdicts on the papers' claims.
        output: The page's path.
        citation: A file in the Citation File Format; left out if it does not exist.

    Raises:
        UserError: A figure or the citation file cannot be read.
    """
    body = fragment(
        "report.html.j2",
        title=study.title,
        stamp=study.stamp,
        question=QUESTION,
        answers=list(zip(LABELS, answers(study), strict=True)),
        warning=_warning(study),
        sections=_sections(study, tables, figures, captions, verdicts),
        run=_run(study),
        citations=[_linked(line) for line in citations(citation)],
    )
    write_text(output, page(study.title, body))


def report_study(study: Study, layout: Path, claims: Path, figures: Path, output: Path) -> None:
    """Make a study's tables and verdicts, and write the report with them.

    Args:
        study: The study.
        layout: The file that says which tables there are.
        claims: The file of the papers' claims.
        figures: A folder of figures as SVG.
        output: The page's path.

    Raises:
        UserError: A file is missing or does not hold what it should.
    """
    verdicts = check_claims(study, load_claims(claims))
    tables = [*build_tables(study, load_layout(layout)), claims_table(verdicts, study)]
    drawn = {path.stem: path for path in sorted(figures.glob("*.svg"))}
    write_report(study, tables, drawn, all_captions(), verdicts, output)


def _run(study: Study) -> Run | None:
    return describe_run(study.manifest, study.evidence.notes) if study.manifest else None


def _linked(text: str) -> Markup:
    """A reference with a link to what it names: an arXiv number or an address."""
    parts = _ADDRESS.split(text)
    whole = [Markup(_LINK).format(_address(part), part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join(whole)


def _address(text: str) -> str:
    return text if text.startswith("https://") else f"https://arxiv.org/abs/{text[6:]}"


def _warning(study: Study) -> str:
    """What must be read before any number: the scale, and that settings are assumed."""
    config = study.manifest.get("config", {})
    assumed = any(method.get("assumed") for method in (config.get("methods") or {}).values())
    words = [
        *([config["scale_note"]] if config.get("scale_note") else []),
        *(["some settings are assumed, as the paper's recipe is not public (listed below the main table)"] * assumed),
    ]
    text = "; ".join(words)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _sections(
    study: Study,
    tables: Sequence[Table],
    figures: Mapping[str, Path],
    captions: Mapping[str, str],
    verdicts: Sequence[Verdict],
) -> list[_Section]:
    shown_tables = [table for table in tables if table.name not in FILES_ONLY]
    left = {part.name: part for table in shown_tables for part in (_by_run(table) if table.name == CLAIMS else [table])}
    drawn = dict(figures)
    found = []
    for part in (*PARTS, _MORE):
        first = [_table(left.pop(name), study) for name in _matching(part.first, left)]
        shown = [_figure(name, drawn.pop(name), captions) for name in _matching(part.figures, drawn)]
        rest = [_table(left.pop(name), study) for name in _matching(part.rest, left)]
        own, folded = ((), []) if part.id != "claims" else (verdicts, first[1:])
        if first or shown or rest or own:
            first = first[: len(first) - len(folded)]
            told = published_sentences(study) if part.id == "cost" else []
            intro = " ".join([part.intro, *told])
            found.append(_Section(part.id, part.title, intro, first, shown, rest, folded, _counts(own), own))
        elif part.empty:
            found.append(_Section(part.id, part.title, part.empty, [], [], []))
    return found


def _matching(patterns: Sequence[str], names: Mapping[str, object]) -> list[str]:
    """The names that the patterns ask for, in the order of the patterns."""
    return list(dict.fromkeys(name for pattern in patterns for name in names if fnmatchcase(name, pattern)))


def _by_run(table: Table) -> list[Table]:
    """The table of claims in two: those with a verdict, and those that this study did not put to the test."""
    keys = [column.key for column in table.columns]
    if "verdict" not in keys:
        return [table]
    index = keys.index("verdict")
    tested, untested = (
        [
            replace(group, rows=rows)
            for group in table.groups
            if (rows := [row for row in group.rows if str(row[index].value).endswith("not run") == wanted])
        ]
        for wanted in (False, True)
    )
    second = replace(table, name=NOT_RUN, title="Claims that were not put to the test", groups=untested)
    return [replace(table, groups=tested), *([second] if untested else [])]


def _counts(verdicts: Sequence[Verdict]) -> list[tuple[str, str, int]]:
    if not verdicts:
        return []
    return [(word, sign, sum(v.verdict == word for v in verdicts)) for word, sign in SIGNS.items()]


def _table(table: Table, study: Study) -> Markup:
    """A table; the study's notes stand under the main one in full, under the others as its short line."""
    # A table of others' numbers does not end with our scale, so there is nothing to shorten.
    if table.name == MAIN or not study.stamp or not set(study.notes) <= set(table.notes):
        return to_html(table, filters=table.name == MAIN)
    own = [note for note in table.notes if note not in study.notes]
    return to_html(replace(table, notes=[*own, f"{study.stamp}."]))


def _figure(name: str, path: Path, captions: Mapping[str, str]) -> _Figure:
    anchor = slug(name)
    caption = captions.get(name, name)
    drawing = inline_svg(path, anchor, caption)
    return _Figure(f"figure-{anchor}", drawing.svg, caption, drawing.wide)
