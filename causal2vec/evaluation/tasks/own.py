"""The user's own evaluation tasks as mteb tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mteb.abstasks import AbsTaskClassification
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.languages import check_language_code

from causal2vec.config.settings import MAIN_SCORE, OwnTask
from causal2vec.data.tasks.own import RECORD
from causal2vec.errors import UserError, one_line
from causal2vec.evaluation.tasks.packaged import (
    PackagedClustering,
    PackagedPairs,
    PackagedRetrieval,
    PackagedSTS,
    PackagedTask,
)
from causal2vec.runtime.files import read_json


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
        UserError: A language is none.
    """
    for code in settings.languages:
        try:
            check_language_code(code)
        except ValueError as error:
            raise UserError(
                f"evaluation.own_tasks.{name}.languages: {code!r}: {one_line(error)}; correct it"
            ) from error
    metadata = TaskMetadata(
        name=name,
        type=settings.type,
        description=settings.description or f"{name}, a task of this study's own",
        dataset={"path": f"own/{name}", "revision": revision},
        prompt=_prompt(settings),
        eval_langs=settings.languages,
        main_score=settings.metric or MAIN_SCORE[settings.type],
        category="t2c" if settings.type in ("Classification", "Clustering") else "t2t",
        is_public=False,
    )  # type: ignore[call-arg]
    task = type(name, (CLASSES[settings.type],), {"metadata": metadata})()
    task.data_folder = data
    return task


def _prompt(settings: OwnTask) -> Any:
    """As mteb has it: what searches, and what is searched, may have prompts of their own."""
    return {"query": settings.prompt} if settings.prompt and settings.type == "Retrieval" else settings.prompt


def prepared_task(name: str, data: Path) -> Any:
    """The own task that was written to ``data/name``."""
    record = read_json(data / name / RECORD)
    task = own_task(name, OwnTask.model_validate(record["task"]), record["revision"], data)
    if "scores" in record:
        task.min_score, task.max_score = record["scores"]
    return task
