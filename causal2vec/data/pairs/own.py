"""The user's own pairs (`pairs.kind: files`), as the lines that a public mix has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from causal2vec.data.pairs.files import NEGATIVE, Source
from causal2vec.data.pairs.mixes import Keys, Line, line_source
from causal2vec.data.rows import Row, columns_of, files_like, plain, read_rows, require
from causal2vec.errors import UserError

if TYPE_CHECKING:
    from causal2vec.config.settings import PairFiles, Pairs

NEGATIVES = "negative"
"""What a line calls its hard negatives, whatever their columns."""


class Columns(NamedTuple):
    """What a file calls the parts of a pair."""

    query: str
    positive: str
    negatives: list[str]


def pair_files(pairs: Pairs) -> list[Path]:
    """All files of all sources; none for another kind of pairs.

    Raises:
        UserError: A name or pattern stands for no file.
    """
    return [path for name, source in pairs.files.items() for path in files_like(source.paths, _where(name))]


def own_sources(pairs: Pairs) -> dict[str, Source]:
    """The sources of the user's own.

    Raises:
        UserError: A file or a column is missing, or there are hard negatives that nobody asked for.
    """
    return {name: _source(pairs, name) for name in sorted(pairs.sources)}


def _source(pairs: Pairs, name: str) -> Source:
    settings, where = pairs.files[name], _where(name)
    files = files_like(settings.paths, where)
    columns = {path: _columns(settings, path, where) for path in files}
    for path, found in columns.items():
        if found.negatives and not pairs.negatives:
            raise UserError(
                f"{path}: the column '{found.negatives[0]}' holds hard negatives, but pairs.negatives is 0; set it to "
                f"{len(found.negatives)}, or leave them out by {where}.columns: [{found.query}, {found.positive}]"
            )
    first = columns[files[0]]
    keys = Keys(first.query, first.positive, NEGATIVES)
    return line_source(pairs, name, files, keys, partial(_lines, columns, first))


def _where(name: str) -> str:
    return f"pairs.files.{name}"


def _columns(settings: PairFiles, path: Path, where: str) -> Columns:
    if settings.columns:
        require(path, settings.columns, f"correct {where}.columns")
        return Columns(settings.columns[0], settings.columns[1], settings.columns[2:])
    advice = f"name it, or say what the files call it, as in {where}.columns: [question, answer]"
    require(path, ("query", "positive"), advice)
    return Columns("query", "positive", [column for column in columns_of(path) if NEGATIVE.match(column)])


def _lines(columns: dict[Path, Columns], names: Columns, what: str) -> Iterator[Line]:
    """Every row as a line of JSON, as in the public mixes."""
    from tqdm import tqdm

    for path, found in columns.items():
        for row in tqdm(read_rows(path), desc=f"{what} {path.name}", unit=" pairs", disable=None):
            value = {
                names.query: plain(row.values.get(found.query)),
                names.positive: plain(row.values.get(found.positive)),
                NEGATIVES: [text for text in _negatives(row, found.negatives) if text != ""],
            }
            yield Line(path, row.number, json.dumps(value).encode())


def _negatives(row: Row, columns: list[str]) -> Iterator[Any]:
    for column in columns:
        value = row.values.get(column)
        yield from map(plain, value) if isinstance(value, list) else [plain(value)]
