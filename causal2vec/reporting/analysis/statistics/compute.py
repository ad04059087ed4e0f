"""Statistics of a whole study: tasks in parallel, then groups, standings, notes, and the files that hold them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.compare import Panel, check_bases, compare
from causal2vec.reporting.analysis.evidence import ALPHA, Evidence, write_evidence
from causal2vec.reporting.analysis.statistics.groups import Results, differences, estimates, groups_of, standings
from causal2vec.reporting.analysis.statistics.resample import BLOCKS
from causal2vec.reporting.analysis.statistics.task import Pair, TaskScores, TaskStatistics, task_statistics
from causal2vec.reporting.analysis.summary import Summary, summarise
from causal2vec.reporting.read.scores import read_scores
from causal2vec.reporting.read.types import listed
from causal2vec.runtime.signals import end_with_parent


def compute_statistics(
    folder: Path,
    output: Path,
    *,
    bases: Sequence[str] | None = None,
    order: Sequence[str] = (),
    benchmarks: dict[str, list[str]] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    workers: int = 1,
) -> Evidence:
    """Compute all statistics of a study and write them to a folder.

    The files depend on the input, ``resamples`` and ``seed`` only: not on ``workers``, nor on the order of rows.

    Args:
        folder: Holds ``scores.csv`` and ``items/``, item-level results, one Parquet file per task; a task without one
            gets no intervals.
        output: The folder to write: ``estimates.csv``, ``differences.csv``, ``standings.csv``, ``notes.txt``.
        bases: The compared bases; None compares the entries on each base among themselves.
        order: Methods in display order, which decides who is the first of a pair.
        benchmarks: Name -> tasks; those that the study has in full become groups.
        resamples: How many bootstrap resamples, and as many permutations.
        seed: Of all random numbers.
        workers: How many processes.

    Returns:
        What was written.

    Raises:
        UserError: The scores or the items are unusable or contradict each other, or a number is out of range.
    """
    if resamples < 100:
        raise UserError(f"{resamples} resamples are too few for a 95 % interval; ask for 100 or more, usually 2000")
    if seed < 0:
        raise UserError(f"the seed of the statistics is {seed}; give 0 or a positive number")
    frame = read_scores(folder / "scores.csv")
    summary = summarise(frame, list(order))
    check_bases(summary.entries, bases)
    panels = compare(summary.entries, bases)
    pairs = compared_pairs(panels)
    by_task = _task_scores(frame, summary)
    paths = {task: folder / "items" / f"{task}.parquet" for task in summary.tasks}
    jobs = [(paths[t], by_task[t], pairs, resamples, seed) for t in summary.tasks if paths[t].is_file()]
    found = dict(zip((job[1].task for job in jobs), _run(jobs, workers), strict=True))
    results = Results(summary, by_task, found, _item_counts(frame))
    groups = groups_of(summary, benchmarks or {})
    evidence = Evidence(
        estimates(results, groups),
        differences(results, pairs, groups),
        standings(results, panels),
        _notes(results, resamples, seed),
    )
    write_evidence(evidence, output)
    return evidence


def compared_pairs(panels: list[Panel]) -> list[Pair]:
    """All pairs of entries that share a panel, each once, in display order."""
    return list(dict.fromkeys(pair for panel in panels for pair in combinations(panel.entries, 2)))


def _run(jobs: list[tuple[Path, TaskScores, list[Pair], int, int]], workers: int) -> list[TaskStatistics]:
    import joblib
    from threadpoolctl import threadpool_limits

    # One thread of linear algebra per process: threads may add in another order, and then in other last digits.
    with threadpool_limits(limits=1):
        if workers <= 1 or len(jobs) < 2:
            return [task_statistics(*job) for job in jobs]
        # The largest first, so that no process starts it when the others are done.
        order = sorted(range(len(jobs)), key=lambda i: -jobs[i][0].stat().st_size)
        # loky does not import the calling script again, as a plain pool of spawned processes would.
        tie = partial(end_with_parent, os.getpid())
        with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=1, initializer=tie):
            done = joblib.Parallel()(joblib.delayed(task_statistics)(*jobs[i]) for i in order)
    return [result for _, result in sorted(zip(order, done, strict=True), key=lambda both: both[0])]


def _task_scores(frame: pd.DataFrame, summary: Summary) -> dict[str, TaskScores]:
    main = frame[frame["metric"] == "main_score"].sort_values(["task", "method", "base", "seed", "split", "subset"])
    found: dict[str, TaskScores] = {}
    for name, part in main.groupby("task", sort=True):
        task = str(name)
        runs: dict[Any, dict[tuple[str, str], float]] = {}
        columns = part[["method", "base", "seed", "split", "subset", "value"]]
        for method, base, seed, split, subset, value in columns.itertuples(index=False):
            runs.setdefault(((method, base), int(seed)), {})[split, subset] = value
        whole = {run: own for run, own in runs.items() if (run[0], task) in summary.values}
        found[task] = TaskScores(task, whole, frozenset(runs))
    return found


def _item_counts(frame: pd.DataFrame) -> dict[str, int]:
    main = frame[frame["metric"] == "main_score"]
    by_part = main.groupby(["task", "split", "subset"])["items"].max()
    return {str(task): int(count) for task, count in by_part.groupby("task").sum().items()}


def _notes(results: Results, resamples: int, seed: int) -> list[str]:
    tasks = results.summary.tasks
    metrics = {metric for found in results.statistics.values() for metric in found.metrics}
    bare = [task for task in tasks if task not in results.statistics]
    grouped = [task for task in tasks if task in results.statistics and results.statistics[task].grouped]
    if not results.statistics:
        return ["No intervals and no p-values: no item-level results were kept."]
    notes = [
        f"Intervals: 95 %, percentiles of {resamples:,} bootstrap resamples of the test items, the same items for all "
        "methods and seeds, centred on the score. They say how much the score depends on the choice of test items. "
        "Tasks and trained models are fixed: what another training run would change is the standard deviation over "
        "seeds.",
        f"p-values: two-sided, paired, over {resamples:,} permutations of the test items; over the tasks of each "
        f"pair of methods by Holm's correction at {ALPHA}; averages over tasks have a p-value of their own.",
        *(note for metric, note in _METRIC_NOTES.items() if metric in metrics),
        "Interquartile mean and probability of improvement as in rliable; Borda points and ranks as on the MTEB "
        "leaderboard; an entry that lacks a task takes part in neither.",
        f"Seed of all random numbers: {seed}.",
    ]
    flipped = [task for task in tasks if task in results.statistics and results.statistics[task].flipped]
    if flipped:
        notes.append(
            "Too many pairs and items for computing the metric anew in every permutation, so that the signs of "
            f"jackknife pseudo-values were flipped: {listed(flipped)}."
        )
    if grouped:
        notes.append(f"Many items, so that {BLOCKS} random blocks of them were resampled: {listed(grouped)}.")
    if bare:
        notes.append(f"No intervals and no p-values, since no items were kept: {listed(bare)}.")
    return notes


_METRIC_NOTES = {
    "spearman": "STS: the two methods' similarities are swapped pair by pair after ranking within each method, since "
    "they are on different scales; the correlation is computed anew each time.",
    "max_ap": "Pair classification: swapped in this way too; average precision is computed anew, and the best "
    "similarity function is chosen anew, in every resample and permutation.",
    "v_measure": "Clustering: resampled and flipped are the documents' jackknife pseudo-values, since repeated "
    "documents would make clusters look purer, and cluster numbers of two methods cannot be swapped; clusters are not "
    "fitted anew.",
}
