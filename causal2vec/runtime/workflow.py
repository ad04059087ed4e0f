"""What the Snakefile does beside its rules: before they are read, and before the first job."""

from __future__ import annotations

import difflib
import gc
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterable
from functools import cache
from typing import Any

from causal2vec.errors import UserError
from causal2vec.runtime.folders import Folders, have_home
from causal2vec.runtime.gpus import local_gpus
from causal2vec.runtime.resume import begin_run
from causal2vec.runtime.signals import pass_on_signals

SCORE_FILES = ("scores.csv", "items", "efficiency.csv", "training.json", "manifest.json")
"""What tables, figures and claims are made from."""

_REPORTING = {"compute_statistics", "make_tables", "make_plots", "check_claims", "enforce_claims", "write_report"}
_REPORTED = ("statistics", "tables", "plots", "claims", "report.html")

_LOOKS_ONLY = (
    "dryrun", "touch", "unlock", "lint", "list_rules", "list_target_rules", "print_compilation", "dag", "rulegraph",
    "filegraph", "d3dag", "summary", "detailed_summary", "archive", "list_changes", "list_input_changes",
    "list_params_changes", "list_untracked", "cleanup_metadata", "cleanup_shadow", "containerize",
)  # fmt: skip
"""Options with which Snakemake runs no job, by their names in what it has parsed."""

PARTITIONS = "slurm_partition under default-resources or set-resources of the profile"


def begin(workflow: Any, folders: Folders) -> bool:
    """Prepare Snakemake's process, and in its main process the study's folders, before the rules are read.

    Returns:
        Whether only score files that were brought here are to be reported, see `from_files`.

    Raises:
        UserError: Another run of the study is at work, a folder cannot be written, or a score file is missing.
    """
    # A graph of thousands of jobs holds no garbage; Python would search it for some again and again.
    gc.set_threshold(100_000, 50, 100)
    if not workflow.is_main_process:
        have_home()
        return False
    asked = command_line(*sys.argv[1:])
    if runs_jobs(asked):
        begin_run(folders, workflow.snakemake_tmp_dir)
    have_home()
    # As many GPU jobs at once as there are GPUs, so that none waits for one with its cores held. Only where jobs run on
    # this machine; --resources gpu=N goes before.
    if local_gpus() and workflow.resource_settings.nodes is None and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", local_gpus())
    return from_files(asked, folders)


def before_jobs(workflow: Any, folders: Folders) -> None:
    """For the Snakefile's ``onstart``: refuse what would fail late or cost a training unasked, then pass on signals.

    Raises:
        UserError: A job's partition does not exist, or tables would cost a training.
    """
    waiting = list(workflow.dag.needrun_jobs())
    if getattr(workflow.executor_plugin, "name", None) == "slurm":
        check_partitions(str(job.resources.get("slurm_partition") or "") for job in waiting if not job.is_local)
    refuse_training([job.rule.name for job in waiting], command_line(*sys.argv[1:]), folders)
    pass_on_signals()


@cache
def command_line(*words: str) -> Namespace:
    """A command line by Snakemake's own parser; Snakemake hands on what it has parsed only after the rules are read.

    Profiles are left out: the folder that they are relative to is not known any more.
    """
    from snakemake.cli import get_argument_parser

    return get_argument_parser().parse_known_args(list(words))[0]  # type: ignore[no-any-return]


def runs_jobs(asked: Namespace) -> bool:
    """Whether a command line is one that makes something, and does not only look or tidy up."""
    looks = any(getattr(asked, name) not in (None, False) for name in _LOOKS_ONLY)
    return "verify" not in asked.targets and not looks and (asked.report is None or asked.report_after_run)


def reported(asked: Namespace, folders: Folders) -> list[str]:
    """The targets, if all of them come from score files; else none."""
    known = {"paper_tables", *_REPORTING, *(str(folders.results / name) for name in _REPORTED)}
    targets = sorted(str(target).rstrip("/") for target in asked.targets)
    return targets if known.issuperset(targets) else []


def from_files(asked: Namespace, folders: Folders) -> bool:
    """Whether all that is asked for comes from score files that were brought here without what they were made from.

    Then no rule that could make them is known: a script that is newer than a copied file would start a training.

    Raises:
        UserError: A score file is missing.
    """
    targets = reported(asked, folders)
    if not targets or (folders.work / "evaluation").exists():
        return False
    if missing := [name for name in SCORE_FILES if not (folders.results / name).exists()]:
        raise UserError(
            f"{folders.results / missing[0]} is missing, which {targets[0]} is made from; copy it from where it was "
            "made, or run 'snakemake' to make it here"
        )
    return True


def refuse_training(rules: list[str], asked: Namespace, folders: Folders) -> None:
    """Stop where tables, which are made from files, would cost a training.

    Args:
        rules: Of each job that is about to run.
        asked: What Snakemake was asked for.
        folders: The study's.

    Raises:
        UserError: With the number of jobs by rule.
    """
    costly = [name for name in rules if name.startswith(("train", "pretrain", "evaluate", "measure"))]
    if costly and (targets := reported(asked, folders)):
        counted = ", ".join(f"{costly.count(name)} of {name}" for name in dict.fromkeys(costly))
        raise UserError(
            f"{targets[0]} is made from score files, but these are older than their sources: {counted} would run "
            f"first; run 'snakemake' if that is meant, or move {folders.work / 'evaluation'} away to take the files "
            "as they are"
        )


def check_partitions(wanted: Iterable[str]) -> None:
    """Compare the Slurm partitions that jobs name with those that there are.

    Args:
        wanted: One name per job; several separated by commas are fine, an empty one stands for the default partition.

    Raises:
        UserError: One does not exist, there is no default one, or Slurm does not answer.
    """
    if not (names := set(wanted)):
        return
    try:
        asked = subprocess.run(["sinfo", "--noheader", "--format=%P"], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise UserError("there is no Slurm on this machine (no command sinfo); run this on a login node") from error
    except subprocess.CalledProcessError as error:
        raise UserError(f"Slurm does not answer: {' '.join(error.stderr.split())}") from error
    found = asked.stdout.split()  # a star behind the default one
    there = sorted(name.rstrip("*") for name in found)
    for name in sorted({part for several in names - {""} for part in several.split(",")}):
        if name not in there:
            guess = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean '{guess[0]}'?" if guess else f"there are: {', '.join(there)}"
            raise UserError(f"Slurm has no partition '{name}' ({hint}); correct {PARTITIONS}")
    if "" in names and not any(name.endswith("*") for name in found):
        raise UserError(f"this cluster has no default partition ({', '.join(there)}); set {PARTITIONS}")
