"""What the packaged tasks have in common: they read parquet files instead of asking a hub."""

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

from causal2vec.errors import UserError


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
    """Retrieval or, with a table of candidates, reranking."""

    reranking = False

    def read_splits(self) -> Any:
        """Queries, corpus, relevance and candidates of the test split."""
        relevant: dict[str, dict[str, int]] = {}
        for row in self.table("relevance"):
            relevant.setdefault(row["query_id"], {})[row["document_id"]] = row["score"]
        candidates = {r["query_id"]: r["document_ids"] for r in self.table("candidates")} if self.reranking else None
        split = {
            "queries": self.table("queries"),
            "corpus": self.table("corpus"),
            "relevant_docs": relevant,
            "top_ranked": candidates,
        }
        return {"default": {"test": split}}


class PackagedClassification(PackagedTask, AbsTaskClassification):
    """Classification by logistic regression on few samples per label."""

    samples_per_label = 8
    n_experiments = 5

    read_splits = PackagedTask.read_both


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
