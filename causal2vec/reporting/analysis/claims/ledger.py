"""The claims ledger: what papers say, held against a study, one verdict per claim and compared base.

- `load_claims` reads ``config/claims.yaml``;
- `check_claims` gives every claim a verdict: supported or contradicted (on few seeds only indicated), reached or not
  reached, inconclusive, void or not run;
- `causal2vec.reporting.show.claims` shows them; `strict_failures` lists what a strict run stops at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.claims.checks import Finding, NotRunError, check
from causal2vec.reporting.analysis.claims.schema import Claim, Reduction, Verdict, Word, load_claims
from causal2vec.reporting.analysis.compare import Panel, compare
from causal2vec.reporting.analysis.savings import Measured
from causal2vec.reporting.analysis.study import Study
from causal2vec.runtime.files import read_json

__all__ = ["Claim", "Verdict", "check_claims", "load_claims", "strict_failures"]

SIGNS: dict[Word, str] = {
    "supported": "+",
    "indicated": "(+)",
    "contradicted": "×",
    "indicated against": "(×)",
    "reached": "≥",
    "not reached": "≤",
    "inconclusive": "~",
    "void": "∅",
    "not run": "–",
}
"""A sign per verdict that tells them apart without colour."""


def check_claims(study: Study, claims: Sequence[Claim]) -> list[Verdict]:
    """A verdict on every claim for every compared base, in the order of the claims.

    An entry on another base (a control) is compared beside every base; where a claim names a method with several
    controls there is a verdict on each.
    """
    panels = compare(study.summary.entries, study.bases)
    scored = {base for _, base in study.summary.entries}
    costs = [] if study.conditions is None else Measured(study.conditions).entries
    # Where costs were measured on a base without scores, claims about costs can be held against them.
    costly = [panel for panel in compare(costs, study.bases) if panel.base not in scored] if costs else []
    # At a small scale a verdict is one on the small scale, and must not be quoted without it.
    scaled = bool(study.manifest.get("config", {}).get("scale_note"))
    return [
        _verdict(claim, panel.base, finding, scaled)
        for claim in claims
        for panel in [*panels, *(costly if isinstance(claim, Reduction) else [])]
        for finding in _findings(study, claim, panel)
    ]


def _findings(study: Study, claim: Claim, panel: Panel) -> list[Finding]:
    try:
        return check(study, claim, panel)
    except NotRunError as reason:
        return [Finding("not run", str(reason))]


def _verdict(claim: Claim, base: str, finding: Finding, scaled: bool) -> Verdict:
    where = "At this scale: " if scaled and finding.verdict != "not run" else ""
    same = ("statement", "paper", "source", "confidence", "expected", "published", "unit")
    return Verdict(
        claim_id=claim.id,
        title=f"{claim.title} ({finding.control})" if finding.control else claim.title,
        base=base,
        verdict=finding.verdict,
        evidence=f"{where}{finding.evidence}.",
        **{name: getattr(claim, name) for name in same},
        **{name: getattr(finding, name) for name in ("measured", "low", "high")},
    )


def strict_failures(verdicts: Sequence[Verdict]) -> list[str]:
    """One sentence per claim and base that is contradicted or not reached: what a strict run stops at."""
    return [
        f"claim {v.claim_id} ({v.expected}) is {v.verdict} on {v.base}: {v.evidence}"
        for v in verdicts
        if v.verdict in ("contradicted", "not reached")
    ]


def refuse_contradicted(path: Path) -> None:
    """Stop if a verdict in ``claims.json`` is "contradicted" or "not reached".

    Raises:
        UserError: Names every such claim with its evidence.
    """
    failures = strict_failures([Verdict(**verdict) for verdict in read_json(path)["verdicts"]])
    if failures:
        raise UserError("; ".join(failures))
