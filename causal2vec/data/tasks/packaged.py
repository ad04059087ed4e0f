"""Build the packaged tasks from held-out records: no random numbers, only hashes of the texts themselves."""

from __future__ import annotations

import hashlib
import html
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from causal2vec.data.corpora.readers import (
    Article,
    Operation,
    Phenotype,
    Recipe,
    read_lee_news,
    read_tweets,
    read_wordsim,
)
from causal2vec.data.corpora.splits import Split, package_folder
from causal2vec.data.corpora.text import plain, shorten, without_years, words_of_name

T = TypeVar("T")
Columns = dict[str, list[Any]]
Tables = dict[str, Columns]

WIKI_DOCUMENTS_PER_TOPIC = 28
WIKI_CHARACTERS = 200
RECIPE_DOCUMENTS = 180
RECIPE_CHARACTERS = 220
HPO_DOCUMENTS = 200
HPO_CHARACTERS = 150
AWS_SERVICES = 12
AWS_PER_SERVICE = 12
AWS_CHARACTERS = 150
WIKI_OVERLAP = 0.5
HPO_OVERLAP = 0.4
"""Most of a query's content words that its document may repeat; more of them and TF-IDF finds it."""
HPO_PAIRS = 150
BIBLE_VERSES = 75
TWEETS_TRAIN_PER_LABEL = 40
TWEETS_TEST_PER_LABEL = 110
TOPIC_TRAIN_PER_LABEL = 16
TOPIC_TEST_PER_LABEL = 26
CHAPTER_TRAIN_PER_LABEL = 12
CHAPTER_TEST_PER_LABEL = 13
TRAIN_CATEGORIES = 0.5
_FUNCTION_WORDS = re.compile(
    r"(?:an?|and|are|as|at|be|by|for|from|has|have|in|into|is|its?|of|on|or|that|the|their|this|to|was|were"
    r"|which|who(?:se)?|with)"
)


def by_hash(items: Iterable[T], key: Callable[[T], str]) -> list[T]:
    """``items`` in the order of the SHA-256 of their keys: shuffled, yet the same everywhere."""
    return sorted(items, key=lambda item: hashlib.sha256(key(item).encode()).hexdigest())


def content_words(text: str) -> set[str]:
    """Lower-case words of ``text`` cut to five letters (a poor man's stem), function words left out."""
    return {word[:5] for word in plain(text).split() if not _FUNCTION_WORDS.fullmatch(word)}


def overlap(query: str, text: str) -> float:
    """Share (0 to 1) of the query's content words that also occur in ``text``; 1 for an empty query."""
    words = content_words(query)
    return len(words & content_words(text)) / len(words) if words else 1.0


def has_digit(text: str) -> bool:
    """Whether any digit occurs in ``text``."""
    return bool(re.search(r"\d", text))


def unique(items: Iterable[T], key: Callable[[T], str]) -> list[T]:
    """``items`` without those whose key, compared as plain words, came before."""
    seen: dict[str, T] = {}
    for item in items:
        seen.setdefault(plain(key(item)), item)
    return list(seen.values())


def retrieval_tables(pairs: list[tuple[str, str]], distractors: list[str]) -> Tables:
    """Tables of a retrieval task from (query, its only relevant document) pairs and more documents."""
    documents = [document for _, document in pairs] + distractors
    return {
        "queries": {"id": [f"q{i}" for i in range(len(pairs))], "text": [query for query, _ in pairs]},
        "corpus": {"id": [f"d{i}" for i in range(len(documents))], "text": documents},
        "relevance": {
            "query_id": [f"q{i}" for i in range(len(pairs))],
            "document_id": [f"d{i}" for i in range(len(pairs))],
            "score": [1] * len(pairs),
        },
    }


def wiki_documents(split: Split) -> list[Article]:
    """Held-out articles that the Wikipedia tasks share, equally many of each topic, extracts shortened."""
    groups: dict[str, list[Article]] = defaultdict(list)
    for article in by_hash(split.wikipedia, lambda a: a.title):
        if article.topic != "Uncategorized":
            short = without_years(article.description), shorten(article.extract, WIKI_CHARACTERS)
            groups[article.topic].append(article._replace(description=short[0], extract=short[1]))
    ranked = {topic: sorted(group, key=_wiki_rank) for topic, group in sorted(groups.items())}
    return [article for group in ranked.values() for article in group[:WIKI_DOCUMENTS_PER_TOPIC]]


def _wiki_rank(article: Article) -> tuple[bool, float]:
    """Articles with a usable description come first, those in the most different words before others."""
    return not _wiki_query(article), overlap(article.description, article.extract)


def _wiki_query(article: Article) -> bool:
    """Whether the description says enough, and says it in other words than the extract and the title."""
    text = article.description
    return (
        len(plain(text).split()) >= 4
        and not has_digit(text)
        and overlap(text, article.extract) <= WIKI_OVERLAP
        and overlap(article.title, text) == 0
    )


def wiki_vital_retrieval(split: Split) -> Tables:
    """Description -> shortened introduction, among introductions of the same topics."""
    articles = unique(wiki_documents(split), lambda a: a.description)
    queries = [article for article in articles if _wiki_query(article)]
    asked = {article.title for article in queries}
    others = [article.extract for article in wiki_documents(split) if article.title not in asked]
    return retrieval_tables([(a.description, a.extract) for a in queries], others)


def recipe_retrieval(split: Split) -> Tables:
    """Title -> first steps."""
    recipes = unique(by_hash(split.recipes, lambda r: r.title), lambda r: r.steps)
    long_enough = [r for r in recipes if len(r.steps) >= RECIPE_CHARACTERS // 2]

    def names_the_title(recipe: Recipe) -> bool:  # such come last: plain word matching finds them
        return overlap(recipe.title, shorten(recipe.steps, RECIPE_CHARACTERS)) > 0.6

    chosen = sorted(long_enough[: RECIPE_DOCUMENTS + 60], key=names_the_title)[:RECIPE_DOCUMENTS]
    return retrieval_tables([(r.title, shorten(r.steps, RECIPE_CHARACTERS)) for r in chosen], [])


def hpo_definition_retrieval(split: Split) -> Tables:
    """Synonym (or name) that shares the fewest words with the definition -> definition."""
    found = []
    for term in by_hash(split.hpo, lambda t: t.id):
        if len(term.definition) < 40:
            continue
        document = shorten(term.definition, HPO_CHARACTERS)
        query = min((term.name, *term.synonyms), key=lambda name: (overlap(name, document), name))
        if overlap(query, document) <= HPO_OVERLAP and overlap(term.definition, query) < 1:
            found.append((query, document))
    return retrieval_tables(unique(unique(found, lambda p: p[0]), lambda p: p[1])[:HPO_DOCUMENTS], [])


def aws_operations(split: Split) -> list[Operation]:
    """The operations that the AWS tasks share: some services, equally many operations of each."""
    groups: dict[str, list[Operation]] = defaultdict(list)
    for operation in unique(by_hash(split.aws, lambda o: o.service + o.name), lambda o: o.documentation):
        short = operation._replace(documentation=shorten(operation.documentation, AWS_CHARACTERS))
        if len(short.documentation) >= 30:
            groups[operation.service].append(short)
    # operations whose documentation repeats their name come last: plain word matching finds them
    full = {
        service: sorted(unique(group, lambda o: o.documentation)[: 2 * AWS_PER_SERVICE], key=_aws_rank)
        for service, group in groups.items()
    }
    services = by_hash((s for s, g in full.items() if len(g) >= AWS_PER_SERVICE), str)[:AWS_SERVICES]
    return [operation for service in services for operation in full[service][:AWS_PER_SERVICE]]


def _aws_rank(operation: Operation) -> float:
    return round(overlap(words_of_name(operation.name), operation.documentation), 3)


def aws_operation_reranking(split: Split) -> Tables:
    """Operation name in words -> its documentation, among operations of the same service."""
    operations = aws_operations(split)
    tables = retrieval_tables([(words_of_name(o.name), o.documentation) for o in operations], [])
    of_service: dict[str, list[str]] = defaultdict(list)
    for number, operation in enumerate(operations):
        of_service[operation.service].append(f"d{number}")
    tables["candidates"] = {
        "query_id": tables["queries"]["id"],
        "document_ids": [by_hash(of_service[o.service], lambda d: f"order {d}") for o in operations],
    }
    return tables


def hpo_synonym_pairs(split: Split) -> Tables:
    """(name, own synonym) against (name, a sibling's synonym or name), one of each per term."""
    by_parent: dict[str, dict[str, Phenotype]] = defaultdict(dict)
    for term in split.hpo:
        for parent in term.parents:
            by_parent[parent][term.id] = term
    rows: list[tuple[str, str, int]] = []
    for term in unique(by_hash(split.hpo, lambda t: t.id), lambda t: t.name):
        mine = sorted(term.synonyms, key=lambda s: (overlap(s, term.name), s))
        own = [plain(name) for name in (term.name, *term.synonyms)]
        siblings = {key: other for parent in term.parents for key, other in by_parent[parent].items() if key != term.id}
        theirs = [n for key in sorted(siblings) for n in (siblings[key].name, *siblings[key].synonyms)]
        theirs = sorted((n for n in theirs if plain(n) not in own), key=lambda n: (-overlap(n, term.name), n))
        if mine and theirs and overlap(mine[0], term.name) < 1:
            rows += [(term.name, mine[0], 1), (term.name, theirs[len(theirs) // 2], 0)]
        if len(rows) >= 2 * HPO_PAIRS:
            break
    return {"test": _columns(rows, "labels")}


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
    return {"test": _columns(rows, "labels")}


def _columns(rows: Iterable[tuple[str, str, float]], last: str) -> Columns:
    """Columns of a split of pairs from (first, second, label or score) rows."""
    first, second, values = zip(*rows, strict=True)
    return {"sentence1": list(first), "sentence2": list(second), last: list(values)}


def tweet_sentiment(packages: Path) -> Tables:
    """Tweets that 20 people clearly found negative (0) or positive (1)."""
    tweets = read_tweets(package_folder(packages, "vaderSentiment"))
    clear = [(html.unescape(text), rating) for text, rating in tweets if 20 <= len(text) <= 120 and abs(rating) >= 1.0]
    chosen = by_hash(unique(clear, lambda tweet: tweet[0]), lambda tweet: tweet[0])
    labelled = [(text, int(rating > 0)) for text, rating in chosen]
    return _split_by_count(labelled, TWEETS_TRAIN_PER_LABEL, TWEETS_TEST_PER_LABEL)


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
    return {"train": _label_columns(training), "test": _label_columns([row for row in chosen if row not in training])}


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
    texts, similarity = read_lee_news(package_folder(packages, "gensim"))
    pairs = [(i, j) for i in range(50) for j in range(i + 1, 50)]
    return {"test": _columns([(texts[i], texts[j], similarity[i][j]) for i, j in pairs], "score")}


def wordsim353_sts(packages: Path) -> Tables:
    """353 word pairs with their mean human similarity in 0..10."""
    return {"test": _columns(read_wordsim(package_folder(packages, "gensim")), "score")}
