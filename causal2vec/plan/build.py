"""The plan of a study: a table per stage, totals, time on so many devices, disk, and what was assumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.config import Config
from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import runs_of
from causal2vec.errors import UserError
from causal2vec.evaluation.tasks import PACKAGED_TASKS
from causal2vec.plan.estimate import Estimator
from causal2vec.plan.jobs import Job, Task, jobs_of, longest_path, makespan, used_models
from causal2vec.plan.rates import PRINTED, Accelerator, accelerators, choose
from causal2vec.runtime.folders import Folders

GIGA = 1e9

CHECKPOINT = 12
"""Bytes per weight that learns: itself and AdamW's two moments, in float32."""

KEPT_CHECKPOINTS = 2
"""The last checkpoint and the one that is being written."""

SCORES_PER_TASK = 1.0e6
"""Bytes of one model's results on one task, item by item (assumed)."""

STAGE_TEXTS = {"mntp": 0.3e9, "simcse": 0.1e9}
"""Bytes of a pre-training stage's own text, of WikiText-103's and Wiki1m's size (assumed)."""


class Amount(NamedTuple):
    """Bytes of something, and a word on how they are known."""

    what: str
    bytes: float
    note: str


class Plan(NamedTuple):
    """Everything that is printed: rows per stage, method and base; amounts; seconds by number of devices."""

    title: str
    accelerator: Accelerator
    table: pd.DataFrame
    downloads: list[Amount]
    disk: list[Amount]
    walls: dict[int, float]
    critical: tuple[float, list[str]]
    shapes: dict[str, str]
    notes: list[str]


def make_plan(
    config: Config,
    prompts: Prompts,
    *,
    gpus: int | None = None,
    accelerator: str | None = None,
    work: Path | None = None,
    calibration: Path | None = None,
) -> Plan:
    """Estimate a study without loading a weight.

    Args:
        config, prompts: The study.
        gpus: Devices that work at once (on a processor: jobs at once); None: several numbers are tried.
        accelerator: Key of the device; see `causal2vec.plan.rates.choose`.
        work: Where prepared models, pairs and tasks lie; what is not there is taken from elsewhere or
            assumed. None: the study's.
        calibration: What `snakemake calibrate` wrote. None: the study's.

    Raises:
        UserError: No such accelerator, no such number of devices, or a model whose shape cannot be had.
    """
    if gpus is not None and gpus < 1:
        raise UserError(f"gpus is {gpus}, but at least one is needed; set it to a positive number")
    folders = Folders(config.study)
    work, calibration = work or folders.work, calibration or folders.calibration
    chosen = choose(accelerator, config.compute.device, calibration)
    dtype = config.compute.dtype if config.compute.dtype != "auto" else chosen.dtype
    estimator = Estimator(config, prompts, chosen.device, dtype, work, chosen.imports)
    jobs = jobs_of(config, estimator)
    shown = _shown(chosen, calibration)
    tasks = {job.name: Task(seconds(job, chosen), _devices(job, chosen), job.needs) for job in jobs}
    least = max((task.devices for task in tasks.values()), default=1)
    numbers = [gpus] if gpus is not None else [n for n in (1, 2, 4, 8, 16, 32, 64) if n >= least]
    return Plan(
        title=config.title,
        accelerator=chosen,
        table=_table(jobs, chosen, shown),
        downloads=downloads(config, estimator),
        disk=disk(config, estimator, jobs),
        walls={number: makespan(tasks, number) for number in numbers},
        critical=longest_path(tasks),
        shapes={
            name: estimator.model(name).source
            for name in dict.fromkeys(j.base for j in jobs if j.stage == "prepare_model")
        },
        notes=_notes(config, estimator, shown, dtype, jobs),
    )


def whole_number(gpus: Any) -> int | None:
    """The switch ``--config gpus=8`` as a number; None where it is not given.

    Raises:
        UserError: It is no whole number.
    """
    if gpus is None:
        return None
    try:
        return int(str(gpus))
    except ValueError as error:
        raise UserError(f"gpus is {gpus!r}, which is no whole number; say how many, as in --config gpus=8") from error


def seconds(job: Job, accelerator: Accelerator) -> float:
    """Predicted seconds of a job: its FLOPs at the achieved rate of all its devices, and what is fixed."""
    rate = {"training": accelerator.training, "encoding": accelerator.encoding}.get(job.cost.kind)
    return job.cost.seconds + (job.cost.flops / (rate * job.cost.processes) if rate else 0.0)


def _devices(job: Job, accelerator: Accelerator) -> int:
    """Devices a job holds; on a processor every job takes a place, on a GPU machine light jobs run beside."""
    return job.cost.processes if job.cost.kind or accelerator.device == "cpu" else 0


def _shown(chosen: Accelerator, calibration: Path) -> list[Accelerator]:
    """Accelerators whose hours are printed: the chosen one first."""
    known = accelerators(calibration)
    return [chosen, *(known[key] for key in PRINTED if key != chosen.key and chosen.device == "cuda")]


def _table(jobs: list[Job], chosen: Accelerator, shown: list[Accelerator]) -> pd.DataFrame:
    groups: dict[tuple[str, str, str], list[Job]] = {}
    for job in jobs:
        base = "" if job.stage == "fetch_package" else job.base
        groups.setdefault((job.stage, job.method, base), []).append(job)
    return pd.DataFrame([_row(key, found, chosen, shown) for key, found in groups.items()])


def _row(key: tuple[str, str, str], jobs: list[Job], chosen: Accelerator, shown: list[Accelerator]) -> dict[str, Any]:
    first = max((job.cost for job in jobs), key=lambda cost: cost.flops)
    row: dict[str, Any] = {
        "stage": key[0],
        "method": key[1],
        "base": key[2],
        "jobs": len(jobs),
        "devices": _devices(jobs[0], chosen),
        "trainable_parameters": first.trainable,
        "parameters": first.parameters,
        "tokens": sum(job.cost.tokens for job in jobs),
        "flops": sum(job.cost.flops for job in jobs),
        "seconds_per_job": round(sum(seconds(job, chosen) for job in jobs) / len(jobs), 1),
        "longest_job_seconds": round(max(seconds(job, chosen) for job in jobs), 1),
    }
    for accelerator in shown:
        total = sum(
            seconds(job, accelerator) * max(_devices(job, chosen), 0 if job.cost.kind == "" else 1) for job in jobs
        )
        row[f"device_hours_{accelerator.key}"] = round(total / 3600, 4)
    memory = first.memory
    row["memory_gb"] = round(memory.total / GIGA, 2) if memory else None
    for kind in ("weights", "learning", "activations"):
        row[f"memory_{kind}_gb"] = round(getattr(memory, kind) / GIGA, 2) if memory else None
    row["memory_plain_gb"] = round(first.plain.total / GIGA, 2) if first.plain else None
    row["memory_checkpointed_gb"] = round(first.checkpointed.total / GIGA, 2) if first.checkpointed else None
    row["fits"] = _fits(memory.total if memory and first.kind else None, chosen.memory)
    row["disk_gb"] = round(sum(job.cost.disk for job in jobs) / GIGA, 2)
    return row


def _fits(needed: float | None, there: float | None) -> str:
    if needed is None or there is None:
        return ""
    return "yes" if needed <= there else "NO"


def _notes(config: Config, estimator: Estimator, shown: list[Accelerator], dtype: str, jobs: list[Job]) -> list[str]:
    notes = [
        *(
            f"Achieved rate of {one.name}: {one.training / 1e12:.3g} TFLOP/s in training ({one.training_source}), "
            f"{one.encoding / 1e12:.3g} in encoding ({one.encoding_source}), in {dtype}. Hours go as one over these."
            for one in shown
        ),
        "Text lengths of the training: "
        + ("assumed (no prepared pairs)." if estimator.sample.assumed else "a sample of the prepared pairs."),
        "4.2 characters per token are assumed; each evaluation text counts with its task's mean length, cut at the "
        "limit, in mteb's descriptive statistics.",
        "Not counted: downloading, reading data sets, tokenising, searching and classifying beside the embedding, "
        "communication between devices, waiting in a queue, failed jobs.",
    ]
    unread = sorted({j.method for j in jobs if j.stage == "train_model"} & estimator.unread())
    if unread:
        notes.append(f"Not understood, counted as one reading of each text: {', '.join(unread)}.")
    if config.budget.mini_batch_size and config.budget.gradient_checkpointing:
        notes.append("Memory as configured: gradient checkpointing on, gradient caching in mini-batches.")
    return notes


def downloads(config: Config, estimator: Estimator) -> list[Amount]:
    """What comes over the network, once."""
    found = []
    for name in used_models(runs_of(config)):
        model = estimator.model(name)
        if config.models[name].source == "hub":
            found.append(Amount(f"model {name}", float(model.parameters * model.weight_bytes), "weights"))
    official = [
        cost for task, cost in estimator.task_costs.items() if task not in {*PACKAGED_TASKS, *config.evaluation.own}
    ]
    if official:
        size = float(sum(cost.characters for cost in official))
        found.append(Amount("evaluation data", size, f"texts of {len(official)} tasks, uncompressed"))
    for stage, size in STAGE_TEXTS.items():
        settings = getattr(config, stage)
        if settings and settings.texts and settings.texts.source == "hub":
            found.append(Amount(f"text for {stage}", size, "assumed"))
    if config.pairs.kind == "bge" and not config.pairs.folder:
        found.append(Amount("training mix", pairs_bytes(estimator), "estimated from its pairs"))
    if config.pairs.kind == "packages" or set(config.evaluation.tasks) & set(PACKAGED_TASKS):
        found.append(Amount("data and model packages", 0.6e9, "measured on the demo"))
    return found


def disk(config: Config, estimator: Estimator, jobs: list[Job]) -> list[Amount]:
    """What lies below ``work`` and ``results`` when all is done."""

    work, results = Folders(config.study).work, Folders(config.study).results

    def written(stage: str) -> float:
        return sum(job.cost.disk for job in jobs if job.stage == stage)

    learning = [job.cost.trainable for job in jobs if job.cost.kind == "training"]
    evaluations = len(runs_of(config)) * len(estimator.tasks)
    return [
        Amount("prepared models", written("prepare_model"), f"{work}/models"),
        Amount(
            "pre-trained bases", written("pretrain_mntp") + written("pretrain_simcse"), f"{work}/mntp, {work}/simcse"
        ),
        Amount("finished models", written("train_model"), f"{results}/models, in float32, untrained twins too"),
        Amount(
            "checkpoints",
            float(KEPT_CHECKPOINTS * CHECKPOINT * sum(learning)),
            f"{work}/state, at most; gone at the end",
        ),
        Amount("training pairs", pairs_bytes(estimator), f"{work}/pairs, uncompressed"),
        Amount(
            "evaluation data", float(sum(c.characters for c in estimator.task_costs.values())), "in the hub's cache"
        ),
        Amount("scores", SCORES_PER_TASK * evaluations, f"{work}/evaluation and {results}, assumed"),
    ]


def pairs_bytes(estimator: Estimator) -> float:
    """Bytes of all training pairs as text."""
    rows = [row for found in estimator.sample.rows.values() for row in found]
    mean = sum(len(text) for row in rows for text in row) / max(len(rows), 1)
    return mean * float(estimator.sample.pairs)
