"""How long it takes to plan thousands of jobs, beside what Snakemake itself takes for as many that know nothing."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from causal2vec.bench.comparison import Contender, Row, middle, take_turns
from causal2vec.bench.materials import Effort, Materials, say
from causal2vec.errors import UserError
from causal2vec.runtime.files import read_yaml, write_text
from causal2vec.runtime.manifest import ROOT
from causal2vec.runtime.signals import ends_with_us

METHODS, SEEDS, SHARDS = 15, 4, 56
"""The study that is planned; each of 56 tasks is a job."""

GOAL_SECONDS = 8.0

OURS, BARE = "snakemake -n", "snakemake -n, a bare Snakefile of as many evaluations and trainings"

BARE_SNAKEFILE = f"""
rule all:
    input: "scores"
rule scores:
    input: expand("evaluation/{{m}}/{{s}}/{{t}}", m=range({METHODS}), s=range({SEEDS}), t=range({SHARDS}))
    output: "scores"
    script: "script.py"
rule evaluate:
    input: "models/{{m}}/{{s}}"
    output: directory("evaluation/{{m}}/{{s}}/{{t}}")
    log: "logs/{{m}}/{{s}}/{{t}}"
    benchmark: "benchmarks/{{m}}/{{s}}/{{t}}"
    message: "Evaluating {{wildcards.m}}"
    script: "script.py"
rule train:
    output: directory("models/{{m}}/{{s}}")
    script: "script.py"
"""


def compare_workflow(_: Materials, effort: Effort) -> list[Row]:
    """The time of a plan for the large study, of which nothing is there yet; the limit is Snakemake's own time.

    Raises:
        UserError: Snakemake refuses.
    """
    say("workflow")
    with tempfile.TemporaryDirectory(prefix="planning-") as folder:
        bare, study = Path(folder, "bare"), Path(folder, "study")
        write_text(bare / "Snakefile", BARE_SNAKEFILE)
        write_text(bare / "script.py", "")
        write_text(study / "study.yaml", yaml.safe_dump(large_study(), sort_keys=False))
        for name in ("config", "data"):  # files that the configuration names are looked for where Snakemake runs
            if (ROOT / name).exists():
                (study / name).symlink_to(ROOT / name)
        sides = [
            Contender(OURS, lambda _: dry_run(study)),
            Contender(BARE, lambda _: dry_run(bare, bare / "Snakefile")),
        ]
        ours, own = take_turns(sides, effort.repetitions)
    both = *middle(ours.seconds), *middle(own.seconds)
    note = (
        f"{ours.results[0]:,} jobs, the bare one {own.results[0]:,}; the ratio is {GOAL_SECONDS:.0f} s, the goal, over "
        "the median, its limit that of the bare one"
    )
    work, ratio = f"plan {METHODS} methods × {SEEDS} seeds × {SHARDS} tasks", GOAL_SECONDS / ours.median
    return [Row(work, OURS, BARE, "s", *both, ratio, 1.0, GOAL_SECONDS / own.median, note)]


def large_study() -> dict[str, Any]:
    """The paper's study on one base, with its methods under several names, and each task in a job of its own."""
    study = read_yaml(ROOT / "config" / "paper.yaml", "run this from a checkout of the suite")
    trained = {name: method for name, method in study["methods"].items() if method.get("trained", True)}
    copies = itertools.islice(itertools.cycle(trained.items()), METHODS)
    study["methods"] = {
        f"{name}_{place}": {**method, "zero_shot": False} for place, (name, method) in enumerate(copies)
    }
    study["bases"] = study["bases"][:1]
    study["seeds"] = list(range(SEEDS))
    study["evaluation"] = {**study["evaluation"], "tasks": ["MTEB(eng, v1)"], "shards": SHARDS}
    for section in ("ablations", "efficiency"):  # they name methods
        study.pop(section, None)
    study["compute"] = {**study.get("compute", {}), "device": "cpu"}
    return study


def dry_run(folder: Path, snakefile: Path | None = None) -> int:
    """Jobs that Snakemake plans in a folder: of the study there, or of a Snakefile.

    Raises:
        UserError: It refuses, or lists no jobs.
    """
    words = ["--snakefile", str(snakefile or ROOT / "workflow" / "Snakefile"), "--directory", str(folder)]
    if snakefile is None:
        words += ["--configfile", str(folder / "study.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, "-n", "--quiet", "rules", "--cores", "all"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=ends_with_us,
    )  # fmt: skip
    total = re.search(r"^total\s+(\d+)", done.stdout + done.stderr, flags=re.MULTILINE)
    if done.returncode or total is None:
        raise UserError(f"snakemake -n failed: {' '.join((done.stderr or done.stdout).split())[-400:]}")
    return int(total[1])
