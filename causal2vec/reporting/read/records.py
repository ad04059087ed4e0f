"""How scores came about, beside the scores: a record per model in the mteb tree, and what must not be mixed.

Number format, device, attention and batches change a score's last digits, so they are part of what it is. Evaluations
that differ in them are never filed under one name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError

RECORDS = "records.jsonl"
"""The file of records in a model's folder of the mteb tree. mteb takes every ``*.json`` there for a task's scores."""

IDENTITY = {
    "dtype": "number format",
    "device": "device",
    "attention": "attention",
    "batch_tokens": "tokens per batch",
    "batch_size": "texts per batch",
}
"""What all evaluations of one study have in common, with the words for it."""

_FIELDS = ("method", "base", "seed", "model", "revision", "tasks")
"""What every record says."""

_ONE_OF = ("batch_tokens", "batch_size")
"""Batches are counted in one of the two, by the kind of model, so that either may be absent."""


def refuse_mixed(records: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Refuse evaluations that were not made alike.

    Args:
        records: Each evaluation job's folder and its record.

    Raises:
        UserError: Two records differ in a field of `IDENTITY`; names both folders and both values.
    """
    for name, words in IDENTITY.items():
        known = [(folder, r.get(name)) for folder, r in records if name not in _ONE_OF or r.get(name) is not None]
        for folder, value in known[1:]:
            first, expected = known[0]
            if value != expected:
                raise UserError(
                    f"{first} was evaluated with {words} {_said(expected)} and {folder} with {_said(value)}, which are "
                    "not the same scores; evaluate both the same way, or gather them into two folders"
                )


def _said(value: object) -> str:
    return "unknown" if value is None else str(value)


def merged_records(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of one model's jobs as one: the tasks of all shards together, without times.

    How the tasks were divided among jobs, and how long they took, changes no score, and so changes no record.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        fixed = {key: value for key, value in record.items() if key != "tasks"}
        merged = found.setdefault(_line(fixed), {**fixed, "tasks": {}})
        for task, about in record["tasks"].items():
            merged["tasks"][task] = {key: value for key, value in about.items() if not key.endswith("seconds")}
    return [found[line] for line in sorted(found)]


def write_records(folder: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write `merged_records` into a model's folder of the mteb tree, one a line."""
    text = "".join(f"{_line(record)}\n" for record in merged_records(records))
    (folder / RECORDS).write_text(text, encoding="utf-8")


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a file of records.

    Raises:
        UserError: The file is absent or a line is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; gather the evaluation jobs again") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a file of records ({error}); gather the evaluation jobs again") from error
    if not found or not all(isinstance(record, dict) and set(_FIELDS) <= record.keys() for record in found):
        raise UserError(f"{path} holds no records of evaluations; gather the evaluation jobs again")
    return found


def refuse_other_identity(target: Path, records: Sequence[dict[str, Any]]) -> None:
    """Refuse to replace a model's scores by scores that were made in another way.

    Args:
        target: The model's folder of the mteb tree, there or not.
        records: The records of the scores that are to go there.

    Raises:
        UserError: Scores of the same model and revision, but of another `IDENTITY`, are there already.
    """
    if not (target / RECORDS).is_file():
        return
    for there in read_records(target / RECORDS):
        for name, words in IDENTITY.items():
            new = next((record.get(name) for record in records if record.get(name) is not None), None)
            if there.get(name) != new:
                raise UserError(
                    f"{target} holds scores of the same model with {words} {_said(there.get(name))}, and they would be "
                    f"replaced by scores with {_said(new)}; gather into another folder, or delete this one first"
                )


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
