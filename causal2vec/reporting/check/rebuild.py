"""What is made of the score files, made again in a temporary folder and compared byte by byte."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.claims.ledger import load_claims
from causal2vec.reporting.analysis.statistics import compute_statistics
from causal2vec.reporting.analysis.study import EXTERNAL, load_study
from causal2vec.reporting.check.cells import first_difference
from causal2vec.reporting.check.checksums import MARKERS
from causal2vec.reporting.check.findings import Findings
from causal2vec.reporting.read.benchmarks import load_benchmarks
from causal2vec.reporting.show.claims import write_claims
from causal2vec.reporting.show.report.page import report_study
from causal2vec.reporting.show.tables.build import write_tables
from causal2vec.reporting.show.tables.layout import load_layout

SCORE_FILES = (
    "scores.csv",
    "efficiency.csv",
    "efficiency_published.csv",
    "efficiency_law.csv",
    "training.json",
    "audit.json",
    "manifest.json",
    EXTERNAL,
)
"""What tables, claims and the report are made of, besides the statistics."""

STATISTICS_TOLERANCE = 1e-9
"""How far numbers of the statistics may be apart: they are written with ten digits, and another machine may round the
last of them otherwise. On the machine that made them they are equal."""

RERUN = (
    "run snakemake again, or name the layout, claims, imported results and costs that the run had (--layout, --claims, "
    "--external, --external-efficiency)"
)


def check_made(
    results: Path,
    findings: Findings,
    manifest: dict[str, Any],
    *,
    layout: Path,
    claims: Path,
    external: Path | None = None,
    external_efficiency: Path | None = None,
    workers: int = 1,
) -> None:
    """Make statistics, tables, claims and report again, and compare each file with the one that is there.

    What has an input that failed is not made, as it would only differ for the same reason; a note says so.

    Args:
        results: The results folder.
        findings: Takes what is found.
        manifest: Its manifest.
        layout: The file that says which tables there are.
        claims: The file of the papers' claims.
        external: The imported results that stand beside ours, if there are any.
        external_efficiency: The costs that were measured elsewhere, if there are any.
        workers: Processes for the statistics.

    Raises:
        UserError: ``layout``, ``claims`` or a file of ``external`` cannot be read.
    """
    bad = findings.failed(*SCORE_FILES)
    if bad:
        findings.notes.append(f"statistics, tables, claims and report were not made again, as {bad} failed")
        return
    specs, ledger = load_layout(layout), load_claims(claims)
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        try:
            statistics = _statistics(results, made, findings, manifest, workers)
            study = load_study(
                results, statistics=statistics, external=external, external_efficiency=external_efficiency
            )
        except UserError as error:
            findings.add("statistics", str(error).replace(f"{results}/", ""))
            return
        tables = write_tables(study, made / "tables", specs)
        _compare(results, made, "tables", findings)
        verdicts = write_claims(study, ledger, made / "claims")
        _compare(results, made, "claims", findings)
        _report(results, made, findings, lambda to: report_study(study, layout, claims, results / "plots", to))
        findings.count(len(tables), "table")
        findings.count(len(verdicts), "verdict")


def _statistics(results: Path, made: Path, findings: Findings, manifest: dict[str, Any], workers: int) -> Path:
    """Compute the statistics again; the folder that the tables are to be made of."""
    stored = results / "statistics"
    bad = findings.failed("items")
    if bad:
        findings.notes.append(f"the statistics were not computed again, as {bad} failed")
        return stored
    config = manifest.get("config", {})
    asked = config.get("statistics") or {}
    plain = load_study(results, statistics=made / "none")
    compute_statistics(
        results,
        made / "statistics",
        bases=plain.bases,
        order=plain.order,
        benchmarks=load_benchmarks(),
        resamples=asked.get("resamples", 2000),
        seed=asked.get("seed", 0),
        workers=workers,
    )
    _compare(results, made, "statistics", findings, STATISTICS_TOLERANCE)
    # A changed number there is one fault; the tables are held against what the scores give.
    return made / "statistics" if findings.failed("statistics") else stored


def _report(results: Path, made: Path, findings: Findings, write: Callable[[Path], None]) -> None:
    bad = findings.failed("plots")
    if bad:
        findings.notes.append(f"report.html was not made again, as {bad} failed, which it shows")
        return
    write(made / "report.html")
    _compare_file(results, made, "report.html", findings)


def _compare(results: Path, made: Path, part: str, findings: Findings, tolerance: float = 0.0) -> None:
    """Compare the files of two folders; files that are too many are named too."""
    names = {path.name for folder in (results, made) for path in (folder / part).glob("*")} - set(MARKERS)
    for name in sorted(names):
        _compare_file(results, made, f"{part}/{name}", findings, tolerance)


def _compare_file(results: Path, made: Path, name: str, findings: Findings, tolerance: float = 0.0) -> None:
    if not (results / name).is_file():
        if not findings.failed(name):
            findings.add(name, "is missing, but the scores give such a file", RERUN)
    elif not (made / name).is_file():
        if not findings.failed(name) and name not in findings.renamed:
            findings.add(name, "is nothing that the scores give", RERUN)
    else:
        place = first_difference(name, (results / name).read_bytes(), (made / name).read_bytes(), tolerance)
        if place:
            findings.add(name, f"{place}, by the scores", RERUN)
