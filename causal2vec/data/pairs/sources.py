"""The sources of training pairs: how each corpus becomes (query, positive)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from causal2vec.data.corpora.splits import Split
from causal2vec.data.corpora.text import split_first_sentence, words_of_name


class RawPair(NamedTuple):
    """A candidate pair; pairs of one ``record`` share text, so they stay on one side of validation."""

    query: str
    positive: str
    record: str


def _wikipedia_description(split: Split) -> Iterator[RawPair]:
    for article in split.wikipedia:
        yield RawPair(article.description, article.extract, f"wikipedia {article.title}")


def _wikipedia_sentence(split: Split) -> Iterator[RawPair]:
    for article in split.wikipedia:
        yield RawPair(*split_first_sentence(article.extract), f"wikipedia {article.title}")


def _recipe_title(split: Split) -> Iterator[RawPair]:
    for recipe in split.recipes:
        yield RawPair(recipe.title, recipe.steps, f"recipe {recipe.title}")


def _recipe_ingredients(split: Split) -> Iterator[RawPair]:
    for recipe in split.recipes:
        yield RawPair(", ".join(recipe.ingredients), recipe.steps, f"recipe {recipe.title}")


def _aws_sentence(split: Split) -> Iterator[RawPair]:
    for operation in split.aws:
        pair = split_first_sentence(operation.documentation)
        yield RawPair(*pair, f"aws {operation.service} {operation.name}")


def _aws_operation(split: Split) -> Iterator[RawPair]:
    for operation in split.aws:
        words = words_of_name(operation.name)
        yield RawPair(words, operation.documentation, f"aws {operation.service} {operation.name}")


def _bible(split: Split) -> Iterator[RawPair]:
    for verse in split.bible:
        yield RawPair(verse.web, verse.ylt, f"verse {verse.id}")


def _hpo_synonym(split: Split) -> Iterator[RawPair]:
    for term in split.hpo:
        for synonym in term.synonyms:
            yield RawPair(synonym, term.name, f"hpo {term.id}")


def _hpo_definition(split: Split) -> Iterator[RawPair]:
    for term in split.hpo:
        yield RawPair(term.name, term.definition, f"hpo {term.id}")


def _icd10(split: Split) -> Iterator[RawPair]:
    for diagnosis in split.icd10:
        for inclusion in diagnosis.inclusions:
            yield RawPair(inclusion, diagnosis.title, f"icd10 {diagnosis.code}")


SOURCES: dict[str, Callable[[Split], Iterator[RawPair]]] = {
    "wikipedia_description": _wikipedia_description,
    "wikipedia_sentence": _wikipedia_sentence,
    "recipe_title": _recipe_title,
    "recipe_ingredients": _recipe_ingredients,
    "aws_sentence": _aws_sentence,
    "aws_operation": _aws_operation,
    "bible": _bible,
    "hpo_synonym": _hpo_synonym,
    "hpo_definition": _hpo_definition,
    "icd10": _icd10,
}
"""Source name -> its candidate pairs, from the training side of the split."""

CORPUS = {name: name.split("_")[0].replace("recipe", "recipes") for name in SOURCES}
"""Source name -> the corpus (a field of `Split`) that it reads."""

SYMMETRIC = frozenset(("bible", "hpo_synonym", "icd10"))
"""Sources whose two sides are alike, so that both take the same prompt; the others are query and document."""
