"""Walk the data of a loaded mteb task: every text that is scored, and how many items are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from causal2vec.evaluation.tasks.download import read_from_cache
from causal2vec.evaluation.tasks.registry import get_tasks, parts_of
from causal2vec.runtime.files import atomic_file

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

_COLUMN_ATTRIBUTES = ("input_column_name", "input1_column_name", "input2_column_name", "column_names")
_NOT_CONTENT = frozenset(("id", "_id", "label", "labels", "score", "relevance", "query-id", "corpus-id", "lang"))


def task_texts(task: AbsTask) -> Iterator[str]:
    """Every text of the evaluation splits of a task whose data is loaded.

    That is queries, documents and titles, both sides of pairs, texts to classify or to cluster; not what a
    classifier is trained on. Texts may repeat. An aggregated task yields the texts of its parts.
    """
    for _, _, data in evaluation_data(task):
        if _is_retrieval(data):
            for name, columns in (("queries", ("text", "instruction")), ("corpus", ("title", "text"))):
                yield from _column_texts(data[name], columns)
        else:
            yield from _column_texts(data, _content_columns(task, data))


def task_items(task: AbsTask) -> dict[tuple[str, str], int]:
    """Scored items of a loaded task per (split, subset): pairs, queries with an answer, or texts."""
    items: dict[tuple[str, str], int] = {}
    for split, subset, data in evaluation_data(task):
        if _is_retrieval(data):
            count = sum(1 for query in data["queries"]["id"] if data["relevant_docs"].get(query))
        else:
            count = _rows(data, _content_columns(task, data))
        items[split, subset] = items.get((split, subset), 0) + count
    return items


def write_task_texts(names: list[str], data: Path, output: Path, fetched: Path | None = None) -> int:
    """Write the unique texts of the named tasks to one parquet file with columns ``task`` and ``text``.

    Names are those of `get_tasks`; tasks of mteb load their data as mteb does, from the files that ``fetched`` (the
    record of `causal2vec.evaluation.tasks.download.fetch_tasks`) lists where it is given. Tasks are loaded and
    dropped one by one. Returns the number of rows.

    Raises:
        UserError: A name is unknown or the data of a packaged task is missing.
    """
    rows: dict[str, str] = {}
    for task in get_tasks(names, data):
        if fetched:
            read_from_cache(task, fetched)
        for part in parts_of(task):
            part.load_data()
            for text in task_texts(part):
                rows.setdefault(text, task.metadata.name)
            part.unload_data()
    table = pa.table({"task": pa.array(rows.values(), pa.string()), "text": pa.array(rows, pa.string())})
    with atomic_file(output) as draft:
        pq.write_table(table, draft, compression="zstd")
    return len(rows)


def evaluation_data(task: Any) -> Iterator[tuple[str, str, Any]]:
    """(split, subset, data) for each evaluation split, whichever way the task nests them."""
    for part in parts_of(task):
        if hasattr(part, "convert_v1_dataset_format_to_v2"):
            part.convert_v1_dataset_format_to_v2(num_proc=None)
        dataset = part.dataset or {}
        for split in part.eval_splits:
            if split in dataset and not _is_subset_of_splits(dataset[split], part.eval_splits):
                yield split, "default", dataset[split]
                continue
            for subset in part.hf_subsets:
                if subset in dataset and split in dataset[subset]:
                    yield split, subset, dataset[subset][split]


def _is_subset_of_splits(data: Any, splits: Iterable[str]) -> bool:
    """Whether ``data`` is a mapping of splits: then its key is a subset that is named like a split."""
    return isinstance(data, Mapping) and not _is_retrieval(data) and any(split in data for split in splits)


def _is_retrieval(data: Any) -> bool:
    return isinstance(data, Mapping) and "corpus" in data and "queries" in data


def _content_columns(task: Any, data: Any) -> tuple[str, ...]:
    """Names of the text columns: those that the task declares, else all that can be content."""
    declared: list[str] = []
    for attribute in _COLUMN_ATTRIBUTES:
        value = getattr(task, attribute, None)
        declared += [value] if isinstance(value, str) else [name for name in value or () if isinstance(name, str)]
    present = [name for name in declared if name in data.column_names]
    if present:
        return tuple(present)
    return tuple(name for name in data.column_names if name not in _NOT_CONTENT)


def _column_texts(data: Any, columns: Iterable[str]) -> Iterator[str]:
    for name in columns:
        if name in data.column_names:
            for value in data[name]:
                yield from _strings(value)


def _strings(value: Any) -> Iterator[str]:
    """The non-empty strings in a string or in nested lists of strings."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _strings(entry)


def _rows(data: Any, columns: tuple[str, ...]) -> int:
    """Number of rows; where a row holds a list of items (older clustering and pair sets), of items."""
    if not columns or not len(data):
        return len(data)
    first = data[columns[0]]
    return sum(len(value) for value in first) if isinstance(first[0], list) else len(first)
