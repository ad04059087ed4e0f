"""Build the classification, clustering, pair and similarity tasks."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from causal2vec.data.corpora.readers import LeeNews, Snippet, WordPair, read_lee_news, read_vader, read_wordsim
from causal2vec.data.corpora.splits import Split, package_folder
from causal2vec.data.corpora.terms import Phenotype
from causal2vec.data.corpora.text import plain, without_years
from causal2vec.data.tasks.retrieval import (
    Columns,
    Tables,
    aws_operations,
    siblings,
    wiki_documents,
)
from causal2vec.data.tasks.selection import by_hash, has_digit, overlap, unique

T = TypeVar("T")

HPO_PAIRS = 150
BIBLE_VERSES = 75
TWEETS_TRAIN_PER_LABEL = 40
TWEETS_TEST_PER_LABEL = 110
TOPIC_TRAIN_PER_LABEL = 16
TOPIC_TEST_PER_LABEL = 26
CHAPTER_TRAIN_PER_LABEL = 12
CHAPTER_TEST_PER_LABEL = 13
TRAIN_CATEGORIES = 0.5


def hpo_synonym_pairs(split: Split) -> Tables:
    """(name, own synonym) against (name, a sibling's synonym or name), one of each per term."""
    by_parent: dict[str, list[Phenotype]] = defaultdict(list)
    for term in split.hpo:
        for parent in term.parents:
            by_parent[parent].append(term)
    rows: list[tuple[str, str, int]] = []
    for term in unique(by_hash(split.hpo, lambda t: t.id), lambda t: t.name):
        mine = sorted(term.synonyms, key=lambda s: (overlap(s, term.name), s))
        own = [plain(name) for name in (term.name, *term.synonyms)]
        theirs = [n for other in siblings(term, by_parent) for n in (other.name, *other.synonyms)]
        theirs = sorted((n for n in theirs if plain(n) not in own), key=lambda n: (-overlap(n, term.name), n))
        if mine and theirs and overlap(mine[0], term.name) < 1:
            rows += [(term.name, mine[0], 1), (term.name, theirs[len(theirs) // 2], 0)]
        if len(rows) >= 2 * HPO_PAIRS:
            break
    return {"test": pair_columns(rows)}


def bible_parallel_pairs(split: Split) -> Tables:
    """(verse, same verse in the other translation) against (verse, neighbouring verse there)."""
    by_id = {verse.id: verse for verse in split.bible}
    candidates = []
    for verse in by_hash(split.bible, lambda v: str(v.id)):
        neighbour = by_id.get(verse.id + 1)
        if neighbour and all(30 <= len(t) <= 150 for t in (verse.web, verse.ylt, neighbour.ylt)):
            # the more the neighbour resembles the verse and the less its twin does, the harder the pair
            ease = overlap(verse.web, verse.ylt) - overlap(verse.web, neighbour.ylt)
            candidates.append((ease, verse, neighbour))
    rows: list[tuple[str, str, int]] = []
    for _, verse, neighbour in sorted(candidates, key=lambda c: (c[0], c[1].id))[:BIBLE_VERSES]:
        rows += [(verse.web, verse.ylt, 1), (verse.web, neighbour.ylt, 0)]
    return {"test": pair_columns(rows)}


def pair_columns(rows: list[tuple[str, str, int]]) -> Columns:
    """Columns of a pair classification split from (first, second, label) rows."""
    first, second, labels = zip(*rows, strict=True)
    return {"sentence1": list(first), "sentence2": list(second), "labels": list(labels)}


def tweet_sentiment(packages: Path) -> Tables:
    """Tweets that 20 people clearly found negative (0) or positive (1)."""
    snippets = read_vader(package_folder(packages, "vaderSentiment"), "tweets")
    cleaned = [s._replace(text=html.unescape(s.text)) for s in snippets if 20 <= len(s.text) <= 120]
    clear = unique([s for s in cleaned if abs(s.rating) >= 1.0], lambda s: s.text)
    chosen = by_hash(clear, lambda s: s.text)
    labelled = [(s.text, int(_positive(s))) for s in chosen]
    return _split_by_count(labelled, TWEETS_TRAIN_PER_LABEL, TWEETS_TEST_PER_LABEL)


def _positive(snippet: Snippet) -> bool:
    return snippet.rating > 0


def wiki_topic_classification(split: Split) -> Tables:
    """Short description -> one of 11 topics."""
    named = [a._replace(description=without_years(a.description)) for a in split.wikipedia]
    usable = [a for a in named if a.topic != "Uncategorized" and len(plain(a.description).split()) >= 2]
    articles = unique(by_hash(usable, lambda a: f"topic {a.title}"), lambda a: a.description)
    topics = {topic: number for number, topic in enumerate(sorted({a.topic for a in articles}))}
    rows = [(a.description, topics[a.topic]) for a in articles if not has_digit(a.description)]
    return _split_by_count(rows, TOPIC_TRAIN_PER_LABEL, TOPIC_TEST_PER_LABEL)


def icd10_chapter_classification(split: Split) -> Tables:
    """Code title -> chapter; the categories of training and test texts differ."""
    titles = unique(by_hash(split.icd10, lambda d: d.code), lambda d: d.title)
    short = [d for d in titles if 10 <= len(d.title) <= 90 and d.chapter != "Codes for special purposes"]
    chapters = {name: number for number, name in enumerate(sorted({d.chapter for d in short}))}
    categories: dict[str, list[str]] = {
        chapter: by_hash({d.category for d in short if d.chapter == chapter}, str) for chapter in chapters
    }
    training = {c for group in categories.values() for c in group[: max(1, round(TRAIN_CATEGORIES * len(group)))]}
    sides: dict[bool, list[tuple[str, int]]] = {True: [], False: []}
    for entry in short:
        sides[entry.category in training].append((entry.title, chapters[entry.chapter]))
    return {
        "train": _label_columns(_first_per_label(sides[True], CHAPTER_TRAIN_PER_LABEL)),
        "test": _label_columns(_first_per_label(sides[False], CHAPTER_TEST_PER_LABEL)),
    }


def _split_by_count(rows: list[tuple[str, int]], train: int, test: int) -> Tables:
    chosen = _first_per_label(rows, train + test)
    training = _first_per_label(chosen, train)
    used = set(training)
    return {
        "train": _label_columns(training),
        "test": _label_columns([row for row in chosen if row not in used]),
    }


def _first_per_label(rows: list[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    taken: dict[int, int] = defaultdict(int)
    kept = []
    for text, label in rows:
        if taken[label] < count:
            taken[label] += 1
            kept.append((text, label))
    return kept


def _label_columns(rows: list[tuple[str, int]]) -> Columns:
    return {"text": [text for text, _ in rows], "label": [label for _, label in rows]}


def wiki_topic_clustering(split: Split) -> Tables:
    """Shortened introductions by topic; the documents of WikiVitalRetrieval."""
    return {"test": _cluster_columns(wiki_documents(split), lambda a: a.extract, lambda a: a.topic)}


def aws_service_clustering(split: Split) -> Tables:
    """Operation documentation by service; the documents of AWSOperationReranking."""
    return {"test": _cluster_columns(aws_operations(split), lambda o: o.documentation, lambda o: o.service)}


def _cluster_columns(items: list[T], text: Callable[[T], str], label: Callable[[T], str]) -> Columns:
    ordered = by_hash(items, text)
    return {"sentences": [text(item) for item in ordered], "labels": [label(item) for item in ordered]}


def lee_news_sts(packages: Path) -> Tables:
    """All 1,225 pairs of 50 news texts with their mean human similarity in 0..1."""
    news: LeeNews = read_lee_news(package_folder(packages, "gensim"))
    pairs = [(i, j) for i in range(50) for j in range(i + 1, 50)]
    return {
        "test": {
            "sentence1": [news.texts[i] for i, _ in pairs],
            "sentence2": [news.texts[j] for _, j in pairs],
            "score": [news.similarity[i][j] for i, j in pairs],
        }
    }


def wordsim353_sts(packages: Path) -> Tables:
    """353 word pairs with their mean human similarity in 0..10."""
    pairs: list[WordPair] = read_wordsim(package_folder(packages, "gensim"))
    return {
        "test": {
            "sentence1": [pair.first for pair in pairs],
            "sentence2": [pair.second for pair in pairs],
            "score": [pair.score for pair in pairs],
        }
    }
