"""Training pairs from the data packages: how each corpus becomes (query, positive)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.data.corpora.splits import Split, read_split
from causal2vec.data.corpora.text import plain, shorten, split_first_sentence, tidy, words_of_name
from causal2vec.data.pairs.files import Candidate, Source, shuffle_key
from causal2vec.errors import UserError

if TYPE_CHECKING:
    from causal2vec.config import Pairs

MAX_CHARACTERS = 2000
"""Longer texts are cut at a sentence: no configured model reads more of a training text."""
MIN_CHARACTERS = 3

SOURCES: dict[str, Callable[[Any], list[tuple[str, str]]]] = {
    "wikipedia_description": lambda article: [(article.description, article.extract)],
    "wikipedia_sentence": lambda article: [split_first_sentence(article.extract)],
    "recipe_title": lambda recipe: [(recipe.title, recipe.steps)],
    "recipe_ingredients": lambda recipe: [(", ".join(recipe.ingredients), recipe.steps)],
    "aws_sentence": lambda operation: [split_first_sentence(operation.documentation)],
    "aws_operation": lambda operation: [(words_of_name(operation.name), operation.documentation)],
    "bible": lambda verse: [(verse.web, verse.ylt)],
    "hpo_synonym": lambda term: [(synonym, term.name) for synonym in term.synonyms],
    "hpo_definition": lambda term: [(term.name, term.definition)],
    "icd10": lambda diagnosis: [(inclusion, diagnosis.title) for inclusion in diagnosis.inclusions],
}
"""Source name -> the pairs that a record of its corpus gives, from the training side of the split."""

_CORPUS = {name: name.split("_")[0].replace("recipe", "recipes") for name in SOURCES}
"""Source name -> the corpus (a field of `Split`) that it reads."""

_RECORD: dict[str, Callable[[Any], str]] = {
    "wikipedia": lambda article: article.title,
    "recipes": lambda recipe: recipe.title,
    "aws": lambda operation: f"{operation.service} {operation.name}",
    "bible": lambda verse: str(verse.id),
    "hpo": lambda term: term.id,
    "icd10": lambda diagnosis: diagnosis.code,
}

SYMMETRIC = frozenset(("bible", "hpo_synonym", "icd10"))
"""Sources whose two sides are alike, so that both take the same prompt; the others are query and document."""


def package_sources(pairs: Pairs, packages: Path) -> dict[str, Source]:
    """The configured sources; ``packages`` holds one folder per data package.

    Raises:
        UserError: A source is unknown, or a package is missing or damaged.
    """
    if unknown := sorted(set(pairs.sources) - set(SOURCES)):
        raise UserError(f"there is no source of pairs {unknown[0]!r}; choose from {', '.join(SOURCES)}")
    split = read_split(packages, evaluation=False, corpora={_CORPUS[name] for name in pairs.sources})
    return {
        name: Source(
            [name],
            partial(_candidates, name, split, pairs.seed),
            {"symmetric": name in SYMMETRIC},
            cap=int(amount),
            distinct=True,
        )
        for name, amount in sorted(pairs.sources.items())
    }


def _candidates(name: str, split: Split, seed: int, counts: Counter[str]) -> Iterator[Candidate]:
    corpus = _CORPUS[name]
    found = [
        candidate
        for record in getattr(split, corpus)
        for texts in SOURCES[name](record)
        if (candidate := _clean(texts, name, f"{corpus} {_RECORD[corpus](record)}"))
    ]
    counts["available"] = len(found)
    yield from sorted(found, key=lambda candidate: shuffle_key(candidate.pair_id, seed))


def _clean(texts: tuple[str, str], source: str, record: str) -> Candidate | None:
    """The tidied pair, or None if a side is too short or both say the same."""
    query, positive = (shorten(tidy(text), MAX_CHARACTERS) for text in texts)
    said = plain(query), plain(positive)
    if min(len(query), len(positive)) < MIN_CHARACTERS or not all(said) or said[0] == said[1]:
        return None
    return Candidate(query, positive, source, record=record)
