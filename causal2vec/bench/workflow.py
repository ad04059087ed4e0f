"""What the workflow costs beside computing: planning (`causal2vec.bench.planning`), and the share of a run in models.

``python -m causal2vec.bench.workflow`` reads what a finished run left.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from causal2vec.bench.planning import compare_planning
from causal2vec.bench.timing import Row
from causal2vec.errors import UserError
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.files import read_json
from causal2vec.runtime.folders import RESULTS, Folders, the_only
from causal2vec.runtime.manifest import ROOT

GOAL_SHARE = 0.85
"""Of all cores' time while a demo runs, in model computation."""

EFFICIENCY = "measure_efficiency"
LIBRARIES = ("sentence_transformers", "mteb")
RULES_WITH_MODELS = ("train_model", "pretrain_mntp", "pretrain_simcse", "evaluate_model", EFFICIENCY)


class Share(NamedTuple):
    """Where the time of a run went: seconds, times the threads that the job has.

    Attributes:
        wall: Seconds from the start of the first job to the end of the last.
        cores: Of the machine. ``wall * cores`` is all the time that there was.
        training, pretraining: In the training loops.
        encoding: In the models, of the evaluations.
        efficiency: The job that measures it, whole: it does nothing else.
        jobs: In the jobs that hold a model, all in all; beside computing they import, open, score and save.
        others: In all other jobs that are timed, as of one thread.
        processes: Jobs that hold a model; each imports the libraries for itself.
        threads: Of these jobs, added up.
    """

    wall: float
    cores: int
    training: float
    pretraining: float
    encoding: float
    efficiency: float
    jobs: float
    others: float
    processes: int
    threads: int

    @property
    def computing(self) -> float:
        """In model computation."""
        return self.training + self.pretraining + self.encoding + self.efficiency

    @property
    def share(self) -> float:
        """Of the cores' time, in model computation. Where one job has all cores, this is the share of the wall time."""
        return self.computing / (self.wall * self.cores)

    @property
    def idle(self) -> float:
        """Of cores that have no job, or one that is not timed."""
        return self.wall * self.cores - self.jobs - self.others


def compare_workflow(folders: Folders, *, repetitions: int = 5) -> list[Row]:
    """The planning's row, and that of the share where the study's folders hold a finished run."""
    found, none = [compare_planning(repetitions)], float("nan")
    try:
        share = share_of_run(folders.results, folders.work)
    except UserError:  # nothing has been run yet
        return found
    return [
        *found,
        Row(
            "share of a finished run in model computation", "snakemake", "-", "of the cores' time",
            share.share, share.share, share.share, none, none, none, share.share, GOAL_SHARE, None,
            describe(share, statistics.median(time_imports(repetitions))),
        ),
    ]  # fmt: skip


def share_of_run(results: Path, work: Path) -> Share:
    """How much of the cores' time models computed in a finished run.

    Seconds are those that the jobs themselves recorded. The wall time is that of a run from scratch: from the start of
    the first job to the end of the last, by Snakemake's benchmark files. Jobs run side by side, each with some of the
    cores; so time is counted per core, and a core that has no job counts as well.

    Raises:
        UserError: There is no finished run, or its jobs ran on different days.
    """
    benchmarks = sorted((work / "benchmarks").rglob("*.jsonl"))
    records = sorted((work / "evaluation").rglob("record.json"))
    if not benchmarks or not records or not (results / "training.json").is_file():
        raise UserError(f"{results} and {work} hold no finished run; run 'make demo' first")
    spans = {path: (_ended(path), _seconds(path)) for path in benchmarks}
    wall = max(end for end, _ in spans.values()) - min(end - seconds for end, seconds in spans.values())
    if wall > 10 * sum(seconds for _, seconds in spans.values()):
        raise UserError(f"{work}/benchmarks holds jobs of several runs; the share needs one run from scratch")
    heavy = {path: s for path, (_, s) in spans.items() if _rule(path, work) in RULES_WITH_MODELS}
    hardware = read_json(work / "hardware.json")
    threads, alone = int(hardware["threads"]), _threads_of_study(results, int(hardware["threads"]))
    stages = [path for name in ("mntp", "simcse") for path in sorted((work / name).rglob(f"{name}.json"))]
    tasks = [task for record in records for task in read_json(record)["tasks"].values()]
    if any("encoding_seconds" not in task for task in tasks):
        raise UserError(f"{work}/evaluation was made before encoding was timed; run the evaluations again")
    return Share(
        wall=wall,
        cores=int(hardware["cores"]),
        training=threads * sum(_recorded(path) for path in sorted((results / "models").rglob("training.json"))),
        pretraining=threads * sum(map(_recorded, stages)),
        encoding=threads * sum(task["encoding_seconds"] for task in tasks),
        efficiency=alone * sum(s for path, s in heavy.items() if _rule(path, work) == EFFICIENCY),
        jobs=sum(s * (alone if _rule(path, work) == EFFICIENCY else threads) for path, s in heavy.items()),
        others=sum(seconds for path, (_, seconds) in spans.items() if path not in heavy),
        processes=len(heavy),
        threads=sum(alone if _rule(path, work) == EFFICIENCY else threads for path in heavy),
    )


def describe(share: Share, imports: float) -> str:
    """The share in words, and what it would be if the libraries, which take so many seconds, were there at once."""
    total = share.wall * share.cores
    spent = share.threads * imports
    return (
        f"{share.wall:.0f} s on {share.cores} cores; of these {total:.0f} s in model computation "
        f"{share.computing:.0f}: training {share.training:.0f}, pre-training {share.pretraining:.0f}, encoding "
        f"{share.encoding:.0f}, efficiency {share.efficiency:.0f}; in the rest of the jobs that hold a model "
        f"{share.jobs - share.computing:.0f}, in other jobs {share.others:.0f}, without a job {share.idle:.0f}; "
        f"{share.processes} jobs import libraries, {imports:.1f} s each as measured here: were that free, it would be "
        f"{share.computing / (total - spent):.3f}"
    )


def time_imports(repetitions: int) -> list[float]:
    """Seconds in which a process imports what an evaluation needs, by `causal2vec.runtime.job.import_fast` as jobs
    do."""
    code = (
        "import time; from causal2vec.runtime.job import import_fast; start = time.perf_counter(); "
        f"import_fast(*{LIBRARIES}); print(time.perf_counter() - start)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment).stdout)
        for _ in range(repetitions)
    ]


def _threads_of_study(results: Path, others: int) -> int:
    """Threads of the job that measures efficiency, which no other runs beside; files of before have no such column."""
    with (results / "efficiency.csv").open(encoding="utf-8", newline="") as file:
        return int(next(csv.DictReader(file), {}).get("threads") or others)


def _rule(benchmark: Path, work: Path) -> str:
    return benchmark.relative_to(work / "benchmarks").with_suffix("").parts[0]


def _ended(benchmark: Path) -> float:
    """When a job ended; Snakemake writes its benchmark file then."""
    return benchmark.stat().st_mtime


def _seconds(benchmark: Path) -> float:
    lines = benchmark.read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["s"]) if lines else 0.0


def _recorded(path: Path) -> float:
    return float(read_json(path).get("seconds", 0.0))


def main() -> None:
    """Say where a finished run's time went."""
    parser = argparse.ArgumentParser(prog="python -m causal2vec.bench.workflow", description=__doc__)
    parser.add_argument("--results", type=Path, help="default: the one study's in results/")
    parser.add_argument("--work", type=Path, help="default: the same study's in work/")
    parser.add_argument("--repetitions", type=int, default=5, help="of importing libraries")
    options = parser.parse_args()
    results = options.results or the_only(RESULTS, "scores.csv", "--results")
    share = share_of_run(results, options.work or Folders(results.name).work)
    described = describe(share, statistics.median(time_imports(options.repetitions)))
    sys.stdout.write(f"{share.share:.1%} of the cores' time in model computation ({described})\n")


if __name__ == "__main__":
    run_cli(main)
