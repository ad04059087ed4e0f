"""Build the retrieval and reranking tasks: queries, corpus, relevance, candidates."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from causal2vec.data.corpora.readers import Article, Recipe
from causal2vec.data.corpora.splits import Split
from causal2vec.data.corpora.terms import Operation, Phenotype
from causal2vec.data.corpora.text import plain, shorten, without_years, words_of_name
from causal2vec.data.tasks.selection import by_hash, has_digit, overlap, unique

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
    chosen = sorted(long_enough[: RECIPE_DOCUMENTS + 60], key=_recipe_rank)[:RECIPE_DOCUMENTS]
    return retrieval_tables([(r.title, shorten(r.steps, RECIPE_CHARACTERS)) for r in chosen], [])


def _recipe_rank(recipe: Recipe) -> bool:
    """Recipes whose first steps name the whole title come last: plain word matching finds them."""
    return overlap(recipe.title, shorten(recipe.steps, RECIPE_CHARACTERS)) > 0.6


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


def siblings(term: Phenotype, by_parent: dict[str, list[Phenotype]]) -> list[Phenotype]:
    """Other terms with a common parent, each once, in order of id."""
    found = {other.id: other for parent in term.parents for other in by_parent.get(parent, [])}
    return [found[key] for key in sorted(found) if key != term.id]
