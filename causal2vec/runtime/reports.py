"""Targets that come from score files, whoever made them: they train nothing and evaluate nothing."""

from __future__ import annotations

import sys
from typing import Any

from causal2vec.errors import UserError
from causal2vec.runtime.folders import Folders

_FILES = ("scores.csv", "items", "efficiency.csv", "training.json", "manifest.json")
_RULES = {"compute_statistics", "make_tables", "make_plots", "check_claims", "enforce_claims", "write_report"}
_MADE = ("statistics", "tables", "plots", "claims", "report.html")


def _asked(words: list[str], folders: Folders) -> set[str]:
    """The targets on a command line of Snakemake's, which knows them itself only after it has read the rules.

    Nothing, if one of them does not come from score files.
    """
    known = {"paper_tables", *_RULES, *(str(folders.results / name) for name in _MADE)}
    if not known & {word.rstrip("/") for word in words}:
        return set()
    from snakemake.cli import parse_args

    asked = {str(target).rstrip("/") for target in parse_args(words)[1].targets}
    return asked if asked <= known else set()


def from_files(workflow: Any, folders: Folders) -> bool:
    """Whether all that is asked for comes from score files that were brought here without what they were made from.

    Then no rule that could make them is known: a script that is newer than a copied file would start a training.

    Raises:
        UserError: A score file is missing.
    """
    asked = _asked(sys.argv[1:], folders) if workflow.is_main_process else set()
    if not asked or (folders.work / "evaluation").exists():
        return False
    if missing := [name for name in _FILES if not (folders.results / name).exists()]:
        raise UserError(
            f"{folders.results / missing[0]} is missing, which {sorted(asked)[0]} is made from; copy it from where it "
            "was made, or run 'snakemake' to make it here"
        )
    return True


def refuse_training(workflow: Any, folders: Folders) -> None:
    """For the Snakefile's ``onstart``: ends snakemake with one sentence where tables would cost a training."""
    asked = _asked(sys.argv[1:], folders)
    if not asked:
        return
    rules = [job.rule.name for job in workflow.dag.needrun_jobs()]
    costly = [name for name in rules if name.startswith(("train", "pretrain", "evaluate", "measure"))]
    if costly:
        counted = ", ".join(f"{costly.count(name)} of {name}" for name in dict.fromkeys(costly))
        sys.stderr.write(
            f"error: {sorted(asked)[0]} is made from score files, but these are older than their sources: {counted} "
            f"would run first; run 'snakemake' if that is meant, or move {folders.work / 'evaluation'} away to take "
            "the files as they are\n"
        )
        sys.exit(2)
