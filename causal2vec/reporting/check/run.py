"""All checks of a results folder, from the bytes up to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.study import ELSEWHERE, EXTERNAL
from causal2vec.reporting.check.checksums import check_checksums
from causal2vec.reporting.check.findings import Findings
from causal2vec.reporting.check.models import check_filed, check_manifest, check_models
from causal2vec.reporting.check.rebuild import check_made
from causal2vec.reporting.check.scores import check_scores
from causal2vec.runtime.manifest import git_state


def verify_results(
    results: Path,
    *,
    layout: Path,
    claims: Path,
    external: Path | None = None,
    external_efficiency: Path | None = None,
    models: bool = True,
    workers: int = 1,
) -> Findings:
    """Check a finished results folder; nothing in it is changed.

    In this order, as what fails is not asked again: every file against its checksum, with files that are missing or
    extra; models against their revisions; the manifest against itself; scores against mteb's files and against the
    items; statistics, tables, claims and report against what the scores give.

    Args:
        results: The folder, wherever it is.
        layout: The file that says which tables there are.
        claims: The file of the papers' claims.
        external: The imported results that the tables show beside ours, if they are not those that the folder keeps.
        external_efficiency: The costs that were measured elsewhere, likewise.
        models: Whether to check the models; without, a copy without them can be checked.
        workers: Files that are read at once, and processes for the statistics.

    Returns:
        What was found; `Findings.lines` says it.

    Raises:
        UserError: There is no such folder, or a file besides the results cannot be read.
    """
    if not (results / "scores.csv").is_file() and not (results / "SHA256SUMS").is_file():
        raise UserError(f"{results} is no finished results folder (no scores.csv, no SHA256SUMS); name another one")
    kept, costs = results / EXTERNAL, results / ELSEWHERE
    external = kept if external is None and kept.is_file() else external
    external_efficiency = costs if external_efficiency is None and costs.is_file() else external_efficiency
    findings = Findings()
    check_checksums(results, findings, models=models, workers=workers)
    manifest = check_manifest(results, findings)
    if models:
        check_models(results, findings, manifest)
    check_filed(results, findings, manifest)
    check_scores(results, findings)
    before = len(findings.failures)
    check_made(
        results, findings, manifest, layout=layout, claims=claims, external=external,
        external_efficiency=external_efficiency, workers=workers,
    )  # fmt: skip
    if len(findings.failures) > before:
        _note_commit(findings, manifest)
    return findings


def _note_commit(findings: Findings, manifest: dict[str, Any]) -> None:
    """Say so where other code made the results: its tables may be other ones."""
    here, there = git_state()["commit"], (manifest.get("git") or {}).get("commit")
    if here != there:
        findings.notes.append(f"these results were made by commit {there}, and are checked by commit {here}")
