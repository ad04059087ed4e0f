"""What evaluation jobs left, gathered: mteb's files into one tree, scores into one tidy file, items into one per task.

Number format, device, attention and batches change a score's last digits, so they are part of what it is. Each model's
folder in the tree holds records of how its scores were made, and evaluations that differ in them are never mixed.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import ConfigDict, Field, FiniteFloat

from causal2vec.errors import UserError, checked, one_line
from causal2vec.evaluation.items import COLUMNS
from causal2vec.reporting.read.schema import SCORE_COLUMNS, SCORE_KEY, Strict, read_table, text
from causal2vec.runtime.files import atomic_folder, json_value, read_json, write_json, write_text

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

_ONE_OF = ("batch_tokens", "batch_size")
"""Batches are counted in one of the two, by the kind of model, so that either may be absent."""


class _Task(Strict):
    task_type: text
    data_revision: text
    items: dict[str, int]


class _Record(Strict):
    """An evaluation's record, as far as its scores need it."""

    method: text
    base: text
    seed: int
    model: text
    revision: text
    tasks: dict[text, _Task] = Field(min_length=1)


class _Entry(Strict):
    """The scores of one subset; the metrics beside the main score are extra fields."""

    model_config = ConfigDict(extra="allow")

    main_score: FiniteFloat
    hf_subset: str = "default"


class _Result(Strict):
    """mteb's result of one task: the entries of each split."""

    mteb_version: text
    scores: dict[str, Annotated[list[_Entry], Field(min_length=1)]] = Field(min_length=1)


@dataclass(frozen=True)
class _Job:
    """One evaluation job's folder and what its ``record.json`` says."""

    folder: Path
    record: dict[str, Any]

    @property
    def place(self) -> Path:
        """Where mteb keeps this model's results, relative to a tree's ``results`` folder."""
        # The same two replacements as mteb's own ResultCache makes.
        name = self.record["model"].replace("/", "__").replace(" ", "_")
        return Path(name) / self.record["revision"]

    @property
    def results(self) -> Path:
        """The folder of this job's mteb result files."""
        return self.folder / "results" / self.place

    def rows(self) -> Iterator[dict[str, Any]]:
        """Its rows of ``scores.csv``."""
        for task, about in sorted(self.record["tasks"].items()):
            where, path = f"model {self.record['model']!r}, task {task!r}", self.results / f"{task}.json"
            if not path.is_file():
                raise UserError(f"{where} has no result (no {path}); delete {self.folder} and evaluate it again")
            remedy = f"see what the model returns on this task, delete {self.folder} and evaluate it again"
            result = checked(_Result, read_json(path), where, remedy)
            for split, entry in ((name, entry) for name in sorted(result.scores) for entry in result.scores[name]):
                part = f"{split}/{entry.hf_subset}"
                if part not in about["items"]:
                    raise UserError(
                        f"{self.folder / 'record.json'}: task {task!r} has no number of items for {part!r}; "
                        f"delete {self.folder} and evaluate it again"
                    )
                for metric, value in sorted({**entry.model_extra, "main_score": entry.main_score}.items()):
                    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                        yield {
                            **{name: self.record[name] for name in ("method", "base", "seed")},
                            "task": task,
                            "task_type": about["task_type"],
                            "split": split,
                            "subset": entry.hf_subset,
                            "metric": metric,
                            "value": float(value),
                            "items": about["items"][part],
                            "mteb_version": result.mteb_version,
                            "data_revision": about["data_revision"],
                        }


def collect_scores(jobs: list[Path], mteb_root: Path, output: Path) -> pd.DataFrame:
    """Gather jobs into the mteb tree ``mteb_root/results`` and write the tidy ``output``.

    Everything is read and checked before anything is written. The tree's folder of each model revision is
    replaced whole, so that no result of an earlier run lingers in it. Metrics other than the main score that are not
    finite numbers (mteb leaves some undefined) and lists of per-experiment scores are left out.

    Args:
        jobs: The evaluation jobs' folders, each with a ``record.json``.
        mteb_root: Where the common tree goes; mteb can read it as a result cache.
        output: The ``scores.csv`` to write.

    Raises:
        UserError: A record or a result is missing or unusable, a main score is not a number, or two jobs
            disagree on the same score or were evaluated in different ways.
    """
    if not jobs:
        raise UserError("no evaluation jobs were named; give at least one folder that holds a record.json")
    loaded = [_read_job(folder) for folder in sorted(jobs)]
    _refuse_mixed(loaded)
    rows: dict[tuple[Any, ...], tuple[dict[str, Any], Path]] = {}
    places: dict[Path, list[_Job]] = {}
    for job in loaded:
        places.setdefault(job.place, []).append(job)
        for row in job.rows():
            earlier, origin = rows.setdefault(tuple(row[name] for name in SCORE_KEY), (row, job.folder))
            if earlier != row:
                raise UserError(_disagreement(earlier, row, origin, job.folder))
    for place, sharing in places.items():
        _refuse_collisions(sharing)
        _refuse_other_identity(mteb_root / "results" / place, [job.record for job in sharing])
    for place, sharing in places.items():
        _write_model(sharing, mteb_root / "results" / place)
    frame = frame_of([row for row, _ in rows.values()])
    write_text(output, scores_csv(frame))
    return frame


def _read_job(folder: Path) -> _Job:
    path = folder / "record.json"
    record = read_json(path)
    checked(_Record, record, path, f"delete {folder} and evaluate this model again")
    return _Job(folder, record)


def _refuse_mixed(jobs: Sequence[_Job]) -> None:
    """Refuse evaluations that were not made alike."""
    for name, words in IDENTITY.items():
        known = [
            (job.folder, value) for job in jobs if (value := job.record.get(name)) is not None or name not in _ONE_OF
        ]
        for folder, value in known[1:]:
            first, expected = known[0]
            if value != expected:
                raise UserError(
                    f"{first} was evaluated with {words} {_said(expected)} and {folder} with {_said(value)}, which are "
                    "not the same scores; evaluate both the same way, or gather them into two folders"
                )


def _refuse_collisions(sharing: list[_Job]) -> None:
    """Refuse two jobs that hold different scores for what mteb takes to be one model."""
    seen: dict[str, tuple[Any, Path]] = {}
    for path in (path for job in sharing for path in _result_files(job.results)):
        # As text, since NaN among the secondary metrics is never equal to itself.
        result = checked(dict[str, Any], read_json(path), path, "delete it, or evaluate this model again")
        scores = repr(result.get("scores"))
        earlier, origin = seen.setdefault(path.name, (scores, path))
        if earlier != scores:
            raise UserError(
                f"{origin} and {path} hold different scores for the same model and revision; "
                "give the two models different names or revisions, or delete the wrong job"
            )


def _refuse_other_identity(target: Path, records: Sequence[dict[str, Any]]) -> None:
    """Refuse to replace a model's scores in the tree by scores that were made in another way."""
    for there in read_records(target / RECORDS) if (target / RECORDS).is_file() else []:
        for name, words in IDENTITY.items():
            new = next((record[name] for record in records if record.get(name) is not None), None)
            if there.get(name) != new:
                raise UserError(
                    f"{target} holds scores of the same model with {words} {_said(there.get(name))}, and they would be "
                    f"replaced by scores with {_said(new)}; gather into another folder, or delete this one first"
                )


def _said(value: object) -> str:
    return "unknown" if value is None else str(value)


def _disagreement(first: dict[str, Any], second: dict[str, Any], here: Path, there: Path) -> str:
    differing = next(name for name in first if first[name] != second[name])
    named = ", ".join(f"{name} {first[name]!r}" for name in SCORE_KEY)
    return (
        f"{here} and {there} both hold {named}, but with {differing} {first[differing]!r} and "
        f"{second[differing]!r}; delete the wrong folder or leave it out"
    )


def _result_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.json")) if path.name != "model_meta.json"]


def _write_model(sharing: list[_Job], target: Path) -> None:
    settings: set[str] = set()
    with atomic_folder(target) as draft:
        # In reverse, so that of equal results the first job's file stays whatever the number of jobs.
        for job in reversed(sharing):
            for path in job.results.glob("*.json"):
                shutil.copyfile(path, draft / path.name)
            path = job.results / "run_settings.jsonl"
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            settings |= {line.strip() for line in lines if line.strip()}
        if settings:
            _write_lines(draft / "run_settings.jsonl", sorted(settings))
        _write_lines(draft / RECORDS, [_line(record) for record in merged_records(job.record for job in sharing)])


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


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


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a model's file of records.

    Raises:
        UserError: The file is absent or a line is no record.
    """
    remedy = "gather the evaluation jobs again"
    try:
        found = [json_value(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a file of records ({one_line(error)}); {remedy}") from error
    checked(Annotated[list[_Record], Field(min_length=1)], found, path, remedy)
    return found


@dataclass(frozen=True)
class Filed:
    """One task's scores of one run, as they lie in the mteb tree.

    Attributes:
        key: Method, base, seed, task.
        path: mteb's file.
        rows: What it puts into ``scores.csv``; None where the file is missing or unusable.
    """

    key: tuple[str, str, int, str]
    path: Path
    rows: list[dict[str, Any]] | None


def filed_scores(mteb_root: Path) -> Iterator[Filed]:
    """What a tree that `collect_scores` wrote holds, model by model and task by task.

    Raises:
        UserError: A file of records cannot be read, or is about another folder's scores.
    """
    for path in sorted((mteb_root / "results").glob(f"*/*/{RECORDS}")):
        for record in read_records(path):
            for task, about in sorted(record["tasks"].items()):
                job = _Job(mteb_root, {**record, "tasks": {task: about}})
                if job.results != path.parent:
                    raise UserError(f"{path} is about other scores than its folder's; gather the evaluation jobs again")
                try:
                    rows: list[dict[str, Any]] | None = list(job.rows())
                except UserError:
                    rows = None
                yield Filed(
                    (record["method"], record["base"], record["seed"], task), job.results / f"{task}.json", rows
                )


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as ``scores.csv`` has them, sorted."""
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).sort_values(SCORE_KEY, ignore_index=True)


def scores_csv(frame: pd.DataFrame) -> str:
    """The text of ``scores.csv``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(SCORE_COLUMNS)
    for row in frame.itertuples(index=False):
        # repr is the shortest text that reads back as the very same number, on every machine.
        writer.writerow([repr(float(cell)) if isinstance(cell, float) else cell for cell in row])
    return buffer.getvalue()


def read_scores(path: Path) -> pd.DataFrame:
    """Read and check a ``scores.csv``.

    Raises:
        UserError: A column is missing, a number is wrong, a main score is on another scale than -1 to 1, or a score is
            given twice; names file and line.
    """
    return read_table(path, SCORE_COLUMNS, SCORE_KEY)


def collect_items(jobs: list[Path], output: Path) -> None:
    """Write one parquet file per task with the item-level results of all jobs.

    Args:
        jobs: The evaluation jobs' folders, each with ``record.json`` and ``items/<Task>.parquet``.
        output: The folder to write; it appears whole.

    Raises:
        UserError: A job's items cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables: dict[str, list[Any]] = {}
    for job in sorted(jobs):
        record = read_json(job / "record.json")
        for path in sorted((job / "items").glob("*.parquet")):
            try:
                table = pq.read_table(path)
                if strange := set(table.column_names) ^ set(COLUMNS):
                    raise ValueError(f"other columns than {', '.join(COLUMNS)}, such as {min(strange)!r}")
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{path} cannot be read ({one_line(error)}); delete {job} and evaluate it again"
                ) from error
            for position, name in enumerate(("method", "base", "seed")):
                table = table.add_column(position, name, pa.array([record[name]] * len(table)))
            tables.setdefault(path.stem, []).append(table)
    with atomic_folder(output) as draft:
        for task, found in sorted(tables.items()):
            pq.write_table(pa.concat_tables(found), draft / f"{task}.parquet", compression="zstd")


def collect_training(folders: list[Path], output: Path) -> None:
    """Write the training records of model folders as one JSON list.

    Raises:
        UserError: A model folder has no training record.
    """
    write_json(output, [read_json(folder / "training.json") for folder in sorted(folders)])


def collect_audits(audits: list[Path], output: Path) -> None:
    """Write the audits of all trained models as one JSON list."""
    write_json(output, [read_json(path) for path in sorted(audits)])
