"""How long it takes to plan thousands of jobs, beside what Snakemake itself takes for as many that know nothing."""

from __future__ import annotations

import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from causal2vec.bench.timing import Contender, Row, take_turns
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


def compare_planning(repetitions: int) -> Row:
    """The time of a plan for the large study, of which nothing is there yet; the limit is Snakemake's own time.

    Raises:
        UserError: Snakemake refuses.
    """
    import yaml

    with tempfile.TemporaryDirectory(prefix="planning-") as folder:
        bare, study = Path(folder, "bare"), Path(folder, "study")
        write_text(bare / "Snakefile", BARE_SNAKEFILE)
        write_text(bare / "script.py", "")
        write_text(study / "study.yaml", yaml.safe_dump(large_study(), sort_keys=False))
        found = take_turns(
            [
                Contender(OURS, lambda: dry_run(study, ROOT / "workflow" / "Snakefile", "study.yaml")),
                Contender(BARE, lambda: dry_run(bare, bare / "Snakefile")),
            ],
            repetitions,
        )
    ours, own = found[OURS], found[BARE]
    return Row(
        f"plan {METHODS} methods × {SEEDS} seeds × {SHARDS} tasks", OURS, BARE, "s",
        ours.median, min(ours.seconds), max(ours.seconds), own.median, min(own.seconds), max(own.seconds),
        statistics.median(GOAL_SECONDS / s for s in ours.seconds), 1.0, GOAL_SECONDS / own.median,
        f"{ours.result[0]:,} jobs, the bare one {own.result[0]:,}; the ratio is {GOAL_SECONDS:.0f} s, the goal, over "
        "the median, its limit that of the bare one",
    )  # fmt: skip


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


def dry_run(folder: Path, snakefile: Path, config: str | None = None) -> tuple[int, float]:
    """Jobs that Snakemake plans in a folder, and the seconds that it takes.

    Raises:
        UserError: It refuses, or lists no jobs.
    """
    words = ["-n", "--quiet", "rules", "--cores", "all", "--directory", str(folder)]
    if config:
        words += ["--configfile", str(folder / config)]
        # Files that the configuration names, such as the prompts, are looked for where Snakemake runs.
        for name in ("config", "data"):
            if (ROOT / name).exists() and not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), *words],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=ends_with_us,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    total = re.search(r"^total\s+(\d+)", done.stdout + done.stderr, flags=re.MULTILINE)
    if done.returncode or total is None:
        raise UserError(f"snakemake -n failed: {' '.join((done.stderr or done.stdout).split())[-400:]}")
    return int(total[1]), seconds
