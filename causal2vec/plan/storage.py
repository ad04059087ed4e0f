"""What a study downloads, and what it leaves on disk."""

from __future__ import annotations

from typing import NamedTuple

from causal2vec.config import Config
from causal2vec.config.runs import runs_of
from causal2vec.evaluation.tasks import PACKAGED_TASKS
from causal2vec.plan.estimate import Estimator
from causal2vec.plan.jobs import Job, used_models
from causal2vec.runtime.folders import Folders

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
