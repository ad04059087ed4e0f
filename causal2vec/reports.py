"""Targets that come from score files, whoever made them: they train nothing and evaluate nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError

_FILES = ("scores.csv", "items", "efficiency.csv", "training.json", "manifest.json")
_RULES = {"compute_statistics", "make_tables", "make_plots", "check_claims", "enforce_claims", "write_report"}
_TARGETS = {"paper_tables", *_RULES, *(f"results/{name}" for name in ("statistics", "tables", "plots", "claims"))}
_TARGETS |= {"results/report.html"}


def _asked(words: list[str]) -> set[str]:
    """The targets on a command line of Snakemake's, which knows them itself only after it has read the rules."""
    if not _TARGETS & {word.rstrip("/") for word in words}:
        return set()
    from snakemake.cli import parse_args

    return {str(target).rstrip("/") for target in parse_args(words)[1].targets}


def from_files(workflow: Any) -> bool:
    """Whether all that is asked for comes from score files that were brought here without what they were made from.

    Then no rule that could make them is known: a script that is newer than a copied file would start a training.

    Raises:
        UserError: A score file is missing.
    """
    asked = _asked(sys.argv[1:]) if workflow.is_main_process else set()
    if not (asked and asked <= _TARGETS) or Path("work/evaluation").exists():
        return False
    if missing := [name for name in _FILES if not (Path("results") / name).exists()]:
        raise UserError(
            f"results/{missing[0]} is missing, which {sorted(asked)[0]} is made from; copy it from the study, or run "
            "'snakemake' to make it here"
        )
    return True


def refuse_training(workflow: Any) -> None:
    """For the Snakefile's ``onstart``: ends snakemake with one sentence where tables would cost a training."""
    asked = _asked(sys.argv[1:])
    if not asked or not asked <= _TARGETS:
        return
    rules = [job.rule.name for job in workflow.dag.needrun_jobs()]
    costly = [name for name in rules if name.startswith(("train", "pretrain", "evaluate", "measure"))]
    if costly:
        counted = ", ".join(f"{costly.count(name)} of {name}" for name in dict.fromkeys(costly))
        sys.stderr.write(
            f"error: {sorted(asked)[0]} is made from score files, but these are older than their sources: {counted} "
            "would run first; run 'snakemake' if that is meant, or move work/evaluation away to take the files as they "
            "are\n"
        )
        sys.exit(2)
