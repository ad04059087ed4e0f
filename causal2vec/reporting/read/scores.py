"""Gather the evaluation jobs' mteb results into one tree and one tidy file."""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.reporting.read.records import RECORDS, read_records, refuse_mixed, refuse_other_identity, write_records
from causal2vec.reporting.read.schema import SCORE_COLUMNS, SCORE_KEY, read_table
from causal2vec.runtime.files import atomic_folder, read_json, write_text

_RECORD_FIELDS: dict[str, type] = {
    "method": str,
    "base": str,
    "seed": int,
    "model": str,
    "revision": str,
    "tasks": dict,
}


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


def collect_scores(jobs: list[Path], mteb_root: Path, output: Path) -> pd.DataFrame:
    """Gather jobs into the mteb tree ``mteb_root/results`` and write the tidy ``output``.

    Everything is read and checked before anything is written. The tree's folder of each model revision is
    replaced whole, so that no result of an earlier run lingers in it; beside the scores lies how they were made
    (`causal2vec.reporting.read.records`). Metrics other than the main score that are not finite numbers (mteb leaves
    some undefined) and lists of per-experiment scores are left out.

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
    refuse_mixed([(job.folder, job.record) for job in loaded])
    rows: dict[tuple[Any, ...], tuple[dict[str, Any], Path]] = {}
    for job in loaded:
        for row in _job_rows(job):
            key = tuple(row[name] for name in SCORE_KEY)
            earlier, origin = rows.setdefault(key, (row, job.folder))
            if earlier != row:
                raise UserError(_disagreement(earlier, row, origin, job.folder))
    frame = frame_of([row for row, _ in rows.values()])
    places: dict[Path, list[_Job]] = {}
    for job in loaded:
        places.setdefault(job.place, []).append(job)
    for sharing in places.values():
        _refuse_collisions(sharing)
    for place, sharing in places.items():
        refuse_other_identity(mteb_root / "results" / place, [job.record for job in sharing])
    for place, sharing in places.items():
        _write_model(sharing, mteb_root / "results" / place)
    write_text(output, scores_csv(frame))
    return frame


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
                key = (record["method"], record["base"], record["seed"], task)
                try:
                    rows: list[dict[str, Any]] | None = list(_job_rows(job))
                except UserError:
                    rows = None
                yield Filed(key, job.results / f"{task}.json", rows)


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as ``scores.csv`` has them, sorted."""
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).sort_values(SCORE_KEY, ignore_index=True)


def read_scores(path: Path) -> pd.DataFrame:
    """Read and check a ``scores.csv``.

    Raises:
        UserError: A column is missing, a number is wrong, a main score is on another scale than -1 to 1, or a score is
            given twice; names file and line.
    """
    return read_table(path, SCORE_COLUMNS, SCORE_KEY, check=_check_scale)


def _check_scale(row: dict[str, Any]) -> None:
    if row["metric"] == "main_score" and abs(row["value"]) > 1 + 1e-6:
        raise ValueError(
            f"column 'value' is {row['value']:g}, but a main score lies between -1 and 1; divide what is given in per "
            "cent by 100, and correct what is wrong"
        )


def _read_job(folder: Path) -> _Job:
    path = folder / "record.json"
    record = read_json(path)
    for name, kind in _RECORD_FIELDS.items():
        value = record.get(name) if isinstance(record, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool) or value == "":
            raise UserError(f"{path}: {name!r} is {value!r}; delete {folder} and evaluate this model again")
    if not record["tasks"]:
        raise UserError(f"{path} lists no tasks; delete {folder} and evaluate this model again")
    return _Job(folder, record)


def _job_rows(job: _Job) -> Iterator[dict[str, Any]]:
    for task, about in sorted(job.record["tasks"].items()):
        path = job.results / f"{task}.json"
        if not path.is_file():
            raise UserError(
                f"model {job.record['model']!r} has no result for task {task!r} (no {path}); "
                f"delete {job.folder} and evaluate it again"
            )
        result = read_json(path)
        fixed = {
            "method": job.record["method"],
            "base": job.record["base"],
            "seed": job.record["seed"],
            "task": task,
            "task_type": _text_of(about, "task_type", task, job),
            "mteb_version": _text_of(result, "mteb_version", task, job),
            "data_revision": _text_of(about, "data_revision", task, job),
        }
        yield from _task_rows(job, task, about, result, fixed)


def _task_rows(
    job: _Job, task: str, about: dict[str, Any], result: dict[str, Any], fixed: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    found = False
    for split, entries in sorted(_entries(job, task, result).items()):
        for entry in entries:
            subset = entry.get("hf_subset", "default")
            where = f"{split}/{subset}"
            if not _is_number(entry.get("main_score")):
                raise UserError(
                    f"model {job.record['model']!r}, task {task!r} ({where}): the main score is "
                    f"{entry.get('main_score')!r}, not a number; see what the model returns on this task, "
                    f"delete {job.folder} and evaluate it again"
                )
            counted = about.get("items")
            items = counted.get(where) if isinstance(counted, dict) else None
            if not isinstance(items, int):
                raise UserError(
                    f"{job.folder / 'record.json'}: task {task!r} has no number of items for {where!r}; "
                    f"delete {job.folder} and evaluate it again"
                )
            for metric in sorted(name for name, value in entry.items() if _is_number(value)):
                found = True
                yield {
                    **fixed,
                    "split": split,
                    "subset": subset,
                    "metric": metric,
                    "value": float(entry[metric]),
                    "items": items,
                }
    if not found:
        raise UserError(
            f"model {job.record['model']!r}, task {task!r}: the result file holds no scores; "
            f"delete {job.folder} and evaluate it again"
        )


def _entries(job: _Job, task: str, result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """A result's scores: split -> one entry per subset."""
    scores = result.get("scores", {})
    lists = list(scores.values()) if isinstance(scores, dict) else [None]
    if not all(isinstance(entries, list) and all(isinstance(e, dict) for e in entries) for entries in lists):
        raise UserError(
            f"model {job.record['model']!r}, task {task!r}: the scores in the result file are not as mteb writes them; "
            f"delete {job.folder} and evaluate it again"
        )
    return scores


def _text_of(source: Any, name: str, task: str, job: _Job) -> str:
    value = source.get(name) if isinstance(source, dict) else None
    if not isinstance(value, str) or not value:
        raise UserError(
            f"model {job.record['model']!r}, task {task!r}: {name!r} is {value!r} in {job.folder}; "
            "delete that folder and evaluate this model again"
        )
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _disagreement(first: dict[str, Any], second: dict[str, Any], here: Path, there: Path) -> str:
    differing = next(name for name in first if first[name] != second[name])
    named = ", ".join(f"{name} {first[name]!r}" for name in SCORE_KEY)
    return (
        f"{here} and {there} both hold {named}, but with {differing} {first[differing]!r} and "
        f"{second[differing]!r}; delete the wrong folder or leave it out"
    )


def _write_model(sharing: list[_Job], target: Path) -> None:
    with atomic_folder(target) as draft:
        # In reverse, so that of equal results the first job's file stays whatever the number of jobs.
        for job in reversed(sharing):
            for path in sorted(job.results.glob("*.json")):
                shutil.copyfile(path, draft / path.name)
        lines = {line for job in sharing for line in _setting_lines(job.results)}
        if lines:
            text = "".join(f"{line}\n" for line in sorted(lines))
            (draft / "run_settings.jsonl").write_text(text, encoding="utf-8")
        write_records(draft, [job.record for job in sharing])


def _refuse_collisions(sharing: list[_Job]) -> None:
    """Refuse two jobs that hold different scores for what mteb takes to be one model."""
    seen: dict[str, tuple[Any, Path]] = {}
    for job in sharing:
        for path in sorted(job.results.glob("*.json")):
            if path.name == "model_meta.json":
                continue
            # As text, since NaN among the secondary metrics is never equal to itself.
            result = read_json(path)
            scores = repr(result.get("scores") if isinstance(result, dict) else result)
            earlier, origin = seen.setdefault(path.name, (scores, path))
            if earlier != scores:
                raise UserError(
                    f"{origin} and {path} hold different scores for the same model and revision; "
                    "give the two models different names or revisions, or delete the wrong job"
                )


def _setting_lines(folder: Path) -> list[str]:
    path = folder / "run_settings.jsonl"
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def scores_csv(frame: pd.DataFrame) -> str:
    """The text of ``scores.csv``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(SCORE_COLUMNS)
    for row in frame.itertuples(index=False):
        # repr is the shortest text that reads back as the very same number, on every machine.
        writer.writerow([repr(float(cell)) if isinstance(cell, float) else cell for cell in row])
    return buffer.getvalue()
