"""The report: one self-contained HTML page with every table, figure and verdict of a study.

The page loads nothing and sends nothing; it may be opened from a disk, mailed or printed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from causal2vec.reporting.analysis.claims.ledger import SIGNS, Verdict, check_claims, load_claims
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.show.claims import NOT_RUN_TITLE, claims_table
from causal2vec.reporting.show.figures.captions import captions as all_captions
from causal2vec.reporting.show.render.html import TEMPLATES, fragment, page, slug, to_html
from causal2vec.reporting.show.report.answers import LABELS, QUESTION, answers, published_sentences
from causal2vec.reporting.show.report.figures import inline_svg
from causal2vec.reporting.show.report.run import citations, describe_run
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

PARTS: list[dict[str, Any]] = [
    *yaml.safe_load((TEMPLATES / "parts.yaml").read_text(encoding="utf-8")),
    {"id": "more", "title": "Further tables and figures", "first": ["*"], "figures": ["*"]},
]
"""What belongs together on the page, from top to bottom; the file explains the keys."""

_ADDRESS = re.compile(r"(https://[^\s<>\"']+[\w/]|arXiv[: ]\d{4}\.\d{4,5})")
_LINK = '<a href="{}" rel="noreferrer">{}</a>'


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
        run=describe_run(study.manifest, study.evidence.notes) if study.manifest else None,
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


def _linked(text: str) -> Markup:
    """A reference with a link to what it names: an arXiv number or an address."""
    found = Markup("")
    for i, part in enumerate(_ADDRESS.split(text)):
        link = part if part.startswith("https://") else f"https://arxiv.org/abs/{part[6:]}"
        found += Markup(_LINK).format(link, part) if i % 2 else part
    return found


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
) -> list[dict[str, Any]]:
    left = {part.name: part for table in tables if table.name not in FILES_ONLY for part in _by_run(table)}
    drawn = dict(figures)
    found = []
    for part in PARTS:
        first = [_table(left.pop(name), study) for name in _matching(part.get("first", ()), left)]
        rest = [_table(left.pop(name), study) for name in _matching(part.get("rest", ()), left)]
        shown = [_figure(name, drawn.pop(name), captions) for name in _matching(part.get("figures", ()), drawn)]
        own = verdicts if part["id"] == CLAIMS else ()
        told = published_sentences(study) if part["id"] == "cost" else []
        intro = " ".join([part.get("intro", ""), *told])
        if not (first or rest or shown or own):
            if "empty" not in part:
                continue
            intro = part["empty"]
        folded = first[1:] if part["id"] == CLAIMS else []
        section = {
            "id": part["id"],
            "title": part["title"],
            "intro": intro,
            "first": first[: len(first) - len(folded)],
            "folded": folded,
            "rest": rest,
            "figures": shown,
            "counts": [(word, sign, sum(v.verdict == word for v in own)) for word, sign in SIGNS.items() if own],
            "verdicts": own,
        }
        found.append(section)
    return found


def _matching(patterns: Sequence[str], names: Mapping[str, object]) -> list[str]:
    """The names that the patterns ask for, in the order of the patterns."""
    return list(dict.fromkeys(name for pattern in patterns for name in names if fnmatchcase(name, pattern)))


def _by_run(table: Table) -> list[Table]:
    """The table of claims in two: those with a verdict, and those that this study did not put to the test."""
    untested = [group for group in table.groups if group.title == NOT_RUN_TITLE]
    if table.name != CLAIMS or not untested:
        return [table]
    tested = [group for group in table.groups if group.title != NOT_RUN_TITLE]
    title = "Claims that were not put to the test"
    return [replace(table, groups=tested), replace(table, name=NOT_RUN, title=title, groups=untested)]


def _table(table: Table, study: Study) -> Markup:
    """A table; the study's notes stand under the main one in full, under the others as its short line."""
    # A table of others' numbers does not end with our scale, so there is nothing to shorten.
    if table.name == MAIN or not study.stamp or not set(study.notes) <= set(table.notes):
        return to_html(table, filters=table.name == MAIN)
    own = [note for note in table.notes if note not in study.notes]
    return to_html(replace(table, notes=[*own, f"{study.stamp}."]))


def _figure(name: str, path: Path, captions: Mapping[str, str]) -> dict[str, Any]:
    anchor, caption = slug(name), captions.get(name, name)
    svg, wide = inline_svg(path, anchor, caption)
    return {"id": f"figure-{anchor}", "svg": svg, "caption": caption, "wide": wide}
