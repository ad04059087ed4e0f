"""Turn the user's own files into the tables of an evaluation task, every row looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from causal2vec.config.settings import TASK_FILES, OwnTask
from causal2vec.data.rows import Row, columns_of, files_like, plain, read_rows, require
from causal2vec.data.tasks.packaged import Columns, Tables
from causal2vec.errors import UserError

RECORD = "task.json"
"""In the folder of an own task's data: its settings, and the hash of its content as its revision."""

ALIASES = {
    "id": ("_id",),
    "query_id": ("query-id",),
    "document_id": ("corpus-id", "corpus_id", "doc_id"),
    "score": ("relevance",),
}
"""What BEIR and its kin call the columns."""

TRUTH = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "true": 1, "false": 0}

logger = logging.getLogger(__name__)


def own_files(tasks: dict[str, OwnTask]) -> list[Path]:
    """All files of own tasks.

    Raises:
        UserError: A name or pattern stands for no file.
    """
    return [
        path
        for name, task in tasks.items()
        for key, patterns in task.files.items()
        for path in files_like(patterns, f"evaluation.own_tasks.{name}.{key}")
    ]


def own_tables(name: str, task: OwnTask) -> Tables:
    """The tables of an own task, as the packaged tasks have them.

    Raises:
        UserError: A file, column, id or value is missing or wrong; the message names file and line.
    """
    return _BUILDERS[task.type](partial(_rows, name, task))


T = TypeVar("T")

Part = Callable[[Row, dict[str, str]], Any]
"""What is read of a row, given what its file calls our columns."""

Reader = Callable[[str], Iterator[tuple[Row, dict[str, str]]]]
"""Gives the rows of one kind of file, each with what its file calls our columns."""


def _rows(name: str, task: OwnTask, key: str) -> Iterator[tuple[Row, dict[str, str]]]:
    where = f"evaluation.own_tasks.{name}"
    for path in files_like(task.files[key], f"{where}.{key}"):
        known = columns_of(path)
        called = {}
        for column in (*TASK_FILES[task.type][key], "title", "score"):
            words = (task.columns[column],) if column in task.columns else (column, *ALIASES.get(column, ()))
            called[column] = next((word for word in words if word in known), words[0])
        needed = [called[column] for column in TASK_FILES[task.type][key]]
        require(path, needed, f"name it so, or say what the file calls it in {where}.columns")
        if "score" in task.columns and key == "qrels":
            require(path, [called["score"]], f"correct {where}.columns.score")
        for row in read_rows(path):
            yield row, called


def _retrieval(read: Reader) -> Tables:
    queries = _by_id(read, "queries", lambda row, called: row.text(called["text"]))
    corpus = _by_id(read, "corpus", _document)
    relevance: Columns = {"query_id": [], "document_id": [], "score": []}
    judged: dict[tuple[str, str], Row] = {}
    for row, called in read("qrels"):
        pair = row.name(called["query_id"]), row.name(called["document_id"])
        for name, what, known in ((pair[0], "queries", pair[0] in queries), (pair[1], "corpus", pair[1] in corpus)):
            if not known:
                raise row.fault(f"names {name!r}, which is no id in {what}; correct it, or add it there")
        if pair in judged:
            raise row.fault(f"judges the pair {pair} of {judged[pair].place} again; remove one of them")
        judged[pair] = row
        score = row.amount(called["score"]) if called["score"] in row.values else 1.0
        if score != int(score):
            raise row.fault(f"has the score {score}, which is no whole number; 0 is not relevant, 1 and more are")
        for column, value in zip(relevance, (*pair, int(score)), strict=True):
            relevance[column].append(value)
    answered = {q for q, s in zip(relevance["query_id"], relevance["score"], strict=True) if s > 0}
    if not answered:
        raise next(iter(judged.values())).fault("and all others have no score above 0, so that no query has an answer")
    if len(answered) < len(queries):
        logger.warning("%d of %d queries have no relevant document and are left out", len(queries) - len(answered),
                       len(queries))  # fmt: skip
    asked = {query: text for query, text in queries.items() if query in answered}
    kept = [place for place, query in enumerate(relevance["query_id"]) if query in answered]
    documents: Columns = {"id": list(corpus), "text": [text for _, text in corpus.values()]}
    if any(title for title, _ in corpus.values()):
        documents["title"] = [title for title, _ in corpus.values()]
    return {
        "queries": {"id": list(asked), "text": list(asked.values())},
        "corpus": documents,
        "relevance": {column: [values[place] for place in kept] for column, values in relevance.items()},
    }


def _document(row: Row, called: dict[str, str]) -> tuple[str, str]:
    """Title and text; one of them may be lacking."""
    title = row.text(called["title"]) if plain(row.values.get(called["title"])) else ""
    return title, "" if title and not plain(row.values[called["text"]]) else row.text(called["text"])


def _by_id(read: Reader, key: str, content: Callable[[Row, dict[str, str]], T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for row, called in read(key):
        name = row.name(called["id"])
        if name in found:
            raise row.fault(f"has the id {name!r}, which another row has too; every id must be there once")
        found[name] = content(row, called)
    return found


def _columns(read: Reader, key: str, parts: dict[str, Part]) -> Columns:
    """The columns of a kind of file: our name -> what is read of a row."""
    columns: Columns = {name: [] for name in parts}
    for row, called in read(key):
        for name, part in parts.items():
            columns[name].append(part(row, called))
    return columns


def _text(column: str) -> Part:
    return lambda row, called: row.text(called[column])


def _label(row: Row, called: dict[str, str]) -> str:
    return row.name(called["label"])


def _differ(read: Reader, key: str, values: list[Any], what: str, advice: str) -> None:
    if len(set(values)) < 2:
        raise UserError(f"{next(read(key))[0].path}: {what} {values[0]!r}{advice}")


def _similarity(read: Reader) -> Tables:
    parts = {"sentence1": _text("sentence1"), "sentence2": _text("sentence2")}
    columns = _columns(read, "pairs", parts | {"score": lambda row, called: row.amount(called["score"])})
    _differ(read, "pairs", columns["score"], "all scores are", ", so that nothing correlates with them; give others")
    return {"test": columns}


def _pairs(read: Reader) -> Tables:
    def truth(row: Row, called: dict[str, str]) -> int:
        label = str(row.values.get(called["label"])).strip().lower()
        if label not in TRUTH:
            raise row.fault(f"has {label!r} as '{called['label']}'; write 1 for a pair that belongs together, else 0")
        return TRUTH[label]

    parts = {"sentence1": _text("sentence1"), "sentence2": _text("sentence2"), "labels": truth}
    columns = _columns(read, "pairs", parts)
    _differ(read, "pairs", columns["labels"], "all labels are", "; give pairs that belong together and others")
    return {"test": columns}


def _classes(read: Reader) -> Tables:
    tables = {key: _columns(read, key, {"text": _text("text"), "label": _label}) for key in ("train", "test")}
    learnt = set(tables["train"]["label"])
    _differ(read, "train", tables["train"]["label"], "all texts have the label", "; give texts of two or more")
    for row, called in read("test"):
        if (label := _label(row, called)) not in learnt:
            raise row.fault(f"has the label {label!r} as '{called['label']}', which no training text has; correct it")
    # Numbers, as mteb computes a further metric of two classes that wants them.
    numbers = {label: number for number, label in enumerate(sorted(learnt))}
    for columns in tables.values():
        columns["label"] = [numbers[label] for label in columns["label"]]
    return tables


def _clusters(read: Reader) -> Tables:
    columns = _columns(read, "texts", {"sentences": _text("text"), "labels": _label})
    _differ(read, "texts", columns["labels"], "all texts have the label", "; give texts of two or more")
    return {"test": columns}


_BUILDERS: dict[str, Callable[[Reader], Tables]] = {
    "Retrieval": _retrieval,
    "STS": _similarity,
    "PairClassification": _pairs,
    "Classification": _classes,
    "Clustering": _clusters,
}
