"""The ledger of claims as tables and text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from tabulate import tabulate

from causal2vec.reporting.analysis.claims.ledger import SIGNS, check_claims
from causal2vec.reporting.analysis.claims.schema import Claim, Verdict
from causal2vec.reporting.analysis.evidence import ENOUGH_SEEDS
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.read.types import listed
from causal2vec.reporting.read.visible import inert, one_line
from causal2vec.reporting.show.render.html import to_page
from causal2vec.reporting.show.render.latex import to_latex, to_tabular
from causal2vec.reporting.show.render.plain import escape_markdown, to_markdown
from causal2vec.reporting.show.tables.grid import Cell, Column, RowGroup, Table, name_column
from causal2vec.runtime.files import write_json, write_text

NOT_RUN_TITLE = "Not run here"


def claims_table(
    verdicts: Sequence[Verdict], study: Study | None = None, *, evidence: bool = False, by_base: bool = False
) -> Table:
    """One row per verdict, grouped by paper; what was not run comes last.

    Args:
        verdicts: What `check_claims` found.
        study: Whose notes end the table.
        evidence: Whether a further column holds each verdict's evidence; too wide for a printed page.
        by_base: Whether headings name the base, not a column; for narrow pages.
    """
    columns = [
        name_column("Claim", "claim"),
        name_column("Source (confidence)", "source"),
        *([] if by_base else [name_column("Base", "base")]),
        *(Column(name.capitalize(), name, number="") for name in ("measured", "verdict", *["evidence"] * evidence)),
    ]
    bases = list(dict.fromkeys(verdict.base for verdict in verdicts))
    groups: dict[str, list[list[Cell]]] = {}
    # A stable sort: first what was run, for each base by itself where headings name the bases.
    for verdict in sorted(verdicts, key=lambda v: (bases.index(v.base) * by_base, v.verdict == "not run")):
        cells = {
            "claim": verdict.title,
            "source": f"{verdict.source} ({verdict.confidence})",
            "base": verdict.base,
            "measured": _measured(verdict),
            "verdict": _signed(verdict),
            "evidence": f"{verdict.statement}{_published(verdict)} {verdict.evidence}",
        }
        title = NOT_RUN_TITLE if verdict.verdict == "not run" else verdict.paper
        heading = f"{title}, base {verdict.base}" if by_base and len(bases) > 1 else title
        groups.setdefault(heading, []).append([Cell(cells[column.key]) for column in columns])
    notes = [
        f"{_counts(verdicts)}. Signs: {listed([f'{sign} {word}' for word, sign in SIGNS.items()])}.",
        "Measured: a difference in points (score × 100) or a score with its 95 % interval over test items, or a saving "
        "in per cent, for time with its range over repeats.",
        "Supported or contradicted only where interval, paired test (p < 0.05) and every seed agree, and there are "
        f"{ENOUGH_SEEDS} seeds or more, or nothing was trained; with fewer seeds indicated or indicated against; "
        "'up to' is reached where it holds under a measured or a published condition; inconclusive otherwise; void "
        "where the model does not use its Contextual token; not run where an entry, a task or a cost is missing.",
        "Confidence is in the claim being made there: confirmed in the source, third-hand, or inference, our own "
        "reading.",
        *(
            ["One seed: no interval here holds the luck of training, so a verdict is on these very models."]
            if study and all(len(seeds) == 1 for seeds in study.summary.seeds.values())
            else []
        ),
        *(study.notes if study else []),
    ]
    blocks = [RowGroup(title, rows, ranked=False) for title, rows in groups.items()]
    title = f"Claims and verdicts on {bases[0]}" if len(bases) == 1 else "Claims and verdicts"
    return Table("claims", title, columns, blocks, notes)


def claims_text(verdicts: Sequence[Verdict]) -> str:
    """The verdicts on the claims that could be put to the test, as plain text for a terminal."""
    rows = [
        [_signed(v), *map(one_line, (v.title, v.paper, v.base)), _measured(v) or ""]
        for v in verdicts
        if v.verdict != "not run"
    ]
    table = tabulate(rows, headers=["Verdict", "Claim", "Paper", "Base", "Measured"], disable_numparse=True)
    return "\n".join([*([table] if rows else []), f"{_counts(verdicts)}.\n"])


def _signed(verdict: Verdict) -> str:
    return f"{SIGNS[verdict.verdict]} {verdict.verdict}"


def _counts(verdicts: Sequence[Verdict]) -> str:
    words = [verdict.verdict for verdict in verdicts]
    return f"{len(words)} verdicts: {listed([f'{words.count(word)} {word}' for word in SIGNS])}"


def _published(verdict: Verdict) -> str:
    return f" Published: {verdict.published}." if verdict.published else ""


def _measured(verdict: Verdict) -> str | None:
    if verdict.measured is None:
        return None
    form, unit = {"points": ("+.2f", ""), "score": (".2f", ""), "%": (".1f", " %")}[verdict.unit]
    text = f"{verdict.measured:{form}}{unit}"
    if verdict.low is None or verdict.high is None:
        return text
    return f"{text} ({verdict.low:{form}} to {verdict.high:{form}})"


def write_claims(study: Study, claims: Sequence[Claim], output: Path) -> list[Verdict]:
    """Check the claims and write ``claims`` as Markdown, CSV, LaTeX, JSON and HTML to a folder.

    The CSV and JSON files hold every field of every verdict, unrounded.

    Returns:
        The verdicts.
    """
    verdicts = check_claims(study, claims)
    table = claims_table(verdicts, study)
    write_text(output / "claims.md", f"{to_markdown(table)}\n{_evidence_list(verdicts)}")
    narrow = claims_table(verdicts, study, by_base=True)
    write_text(output / "claims.tex", to_latex(narrow))
    write_text(output / "claims.tabular.tex", to_tabular(narrow))
    write_text(output / "claims.html", to_page(claims_table(verdicts, study, evidence=True)))
    write_text(output / "claims.csv", _csv(verdicts))
    write_json(output / "claims.json", {"verdicts": [asdict(v) for v in verdicts], "notes": study.notes})
    return verdicts


def _evidence_list(verdicts: Sequence[Verdict]) -> str:
    """Markdown: each claim in full with what was expected, published and found on every base."""
    lines, gaps = [], []
    for claim in dict.fromkeys(verdict.claim_id for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.claim_id == claim]
        signs = ["" if verdict.verdict == "not run" else f" {_signed(verdict)}." for verdict in mine]
        found = [escape_markdown(f"{v.base}:{sign} {v.evidence}") for v, sign in zip(mine, signs, strict=True)]
        if not any(signs):
            gaps += [f"- **{claim}** {text}" for text in found]
            continue
        first = mine[0]
        head = f"{first.statement} ({first.source}; {first.confidence}.) Expected: {first.expected}.{_published(first)}"
        lines += [f"- **{claim}** {escape_markdown(head)}", *(f"  - {text}" for text in found)]
    gaps = ["", f"### {NOT_RUN_TITLE}", "", *gaps] if gaps else []
    return "\n".join(["### Evidence", "", *lines, *gaps]) + "\n"


def _csv(verdicts: Sequence[Verdict]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(Verdict)], lineterminator="\n")
    writer.writeheader()
    for verdict in verdicts:
        # None becomes an empty field.
        writer.writerow({k: inert(v) if isinstance(v, str) else v for k, v in asdict(verdict).items()})
    return buffer.getvalue()
