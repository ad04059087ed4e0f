"""Whether Slurm has what a profile asks for, found out before the first job is handed to it."""

from __future__ import annotations

import difflib
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from causal2vec.errors import UserError

WHERE = "slurm_partition under default-resources or set-resources of the profile"


def check_workflow(workflow: Any) -> None:
    """For the Snakefile's ``onstart``: ends snakemake with one sentence where a job's partition does not exist.

    Args:
        workflow: Snakemake's own object; nothing is done where its executor is not Slurm.
    """
    if getattr(workflow.executor_plugin, "name", None) != "slurm":
        return
    waiting = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    try:
        check_partitions(str(job.resources.get("slurm_partition") or "") for job in waiting)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def check_partitions(wanted: Iterable[str]) -> None:
    """Compare the partitions that jobs name with those that there are.

    Args:
        wanted: One name per job; several separated by commas are fine, an empty one stands for the default partition.

    Raises:
        UserError: One does not exist, there is no default one, or Slurm does not answer.
    """
    if not (names := set(wanted)):
        return
    found = _partitions()
    there = sorted(name.rstrip("*") for name in found)
    for name in sorted({part for several in names - {""} for part in several.split(",")}):
        if name not in there:
            guess = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean '{guess[0]}'?" if guess else f"there are: {', '.join(there)}"
            raise UserError(f"Slurm has no partition '{name}' ({hint}); correct {WHERE}")
    if "" in names and not any(name.endswith("*") for name in found):
        raise UserError(f"this cluster has no default partition ({', '.join(there)}); set {WHERE}")


def _partitions() -> list[str]:
    """The partitions' names, a star behind the default one."""
    try:
        asked = subprocess.run(["sinfo", "--noheader", "--format=%P"], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise UserError("there is no Slurm on this machine (no command sinfo); run this on a login node") from error
    except subprocess.CalledProcessError as error:
        raise UserError(f"Slurm does not answer: {' '.join(error.stderr.split())}") from error
    return asked.stdout.split()
