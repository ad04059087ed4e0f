"""The user's own evaluation tasks as mteb tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mteb.abstasks import AbsTaskClassification
from mteb.abstasks.task_metadata import TaskMetadata
from pydantic import ValidationError

from causal2vec.errors import UserError
from causal2vec.evaluation.tasks.packaged import (
    PackagedClustering,
    PackagedPairs,
    PackagedRetrieval,
    PackagedSTS,
    PackagedTask,
)
from causal2vec.evaluation.tasks.registry import RECORD
from causal2vec.files import read_json
from causal2vec.hints import one_line
from causal2vec.settings import MAIN_SCORE, OwnTask


class OwnClassification(PackagedTask, AbsTaskClassification):
    """Classification with mteb's own number of experiments and samples."""

    read_splits = PackagedTask.read_both


CLASSES: dict[str, Any] = {
    "Retrieval": PackagedRetrieval,
    "STS": PackagedSTS,
    "PairClassification": PackagedPairs,
    "Classification": OwnClassification,
    "Clustering": PackagedClustering,
}


def own_task(name: str, settings: OwnTask, revision: str, data: Path | None) -> Any:
    """A new mteb task object that reads ``data/name``.

    Raises:
        UserError: mteb does not take its metadata, such as a language that is none.
    """
    try:
        metadata = TaskMetadata(
            name=name,
            type=settings.type,
            description=settings.description or f"{name}, a task of this study's own",
            dataset={"path": f"own/{name}", "revision": revision},
            prompt={"query": settings.prompt} if settings.prompt and settings.type == "Retrieval" else settings.prompt,
            eval_langs=settings.languages,
            main_score=settings.metric or MAIN_SCORE[settings.type],
            category="t2c" if settings.type in ("Classification", "Clustering") else "t2t",
            is_public=False,
        )  # type: ignore[call-arg]
    except ValidationError as error:
        fault = error.errors()[0]
        key = {"eval_langs": "languages", "main_score": "metric"}.get(str(fault["loc"][0]), str(fault["loc"][0]))
        raise UserError(
            f"evaluation.own_tasks.{name}.{key}: {one_line(ValueError(fault['msg']))}; correct it"
        ) from error
    task = type(name, (CLASSES[settings.type],), {"metadata": metadata})()
    task.data_folder = data
    return task


def prepared_task(name: str, data: Path) -> Any:
    """The own task that was written to ``data/name``."""
    record = read_json(data / name / RECORD)
    task = own_task(name, OwnTask.model_validate(record["task"]), record["revision"], data)
    if "scores" in record:
        task.min_score, task.max_score = record["scores"]
    return task
