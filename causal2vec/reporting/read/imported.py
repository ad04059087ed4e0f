"""Results of others in mteb's own layout, imported so that they can stand beside ours.

Read is what mteb's result cache and the leaderboard's results repository hold on disk:
``results/<org>__<model>/<revision>/<Task>.json``, with or without the level ``results``, or one model's folder. Such
a folder comes from strangers: nothing in it is executed or followed out of it; a broken file costs its own score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.reporting.read.benchmarks import benchmark_part
from causal2vec.reporting.read.foreign import folders, model_folders, plain, read_result, result_files
from causal2vec.reporting.read.published import PublishedRow, Types, with_means
from causal2vec.reporting.read.types import listed
from causal2vec.runtime.files import read_json, write_json

ENGLISH = ("default", "en", "en-en", "eng", "eng-eng", "eng-Latn", "eng_Latn")
"""The subset of a task that neither the study nor a benchmark names: the first of these that its split has."""

CQADUPSTACK = "CQADupstackRetrieval"
"""A task whose score is the mean of `CQADUPSTACK_PARTS`, which many results hold instead of it."""
_FORUMS = "Android English Gaming Gis Mathematica Physics Programmers Stats Tex Unix Webmasters Wordpress"
CQADUPSTACK_PARTS = tuple(f"CQADupstack{forum}Retrieval" for forum in _FORUMS.split())

UNKNOWN = "(version unknown)"
FEW = 3
"""Fewer self-reported files than these leave a doubt about their scale where none goes beyond 1."""

Part = tuple[str, str]
"""A split and a subset."""


@dataclass(frozen=True)
class Evaluated:
    """What our own scores were measured on, so that imported ones are taken from the same.

    Attributes:
        parts: Task -> its splits and subsets.
        revisions: Task -> revisions of its data.
        versions: Versions of mteb.
    """

    parts: dict[str, set[Part]] = field(default_factory=dict)
    revisions: dict[str, set[str]] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class ExternalModel:
    """One imported model.

    Attributes:
        name: Its name, ``org/model``.
        folder: Its folder with the revision.
        scores: Task -> score on 0 to 1.
        notes: In what its results differ from ours.
        skipped: Each file without a usable score, and why.
    """

    name: str
    folder: str
    scores: dict[str, float]
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class External:
    """All imported models, sorted by name, and what was left out, for readers."""

    models: list[ExternalModel] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluated(scores: pd.DataFrame) -> Evaluated:
    """What ``scores`` (as in ``scores.csv``) were measured on."""
    found = Evaluated(versions=set(scores["mteb_version"]))
    columns = ["task", "split", "subset", "data_revision"]
    for task, split, subset, revision in scores[columns].drop_duplicates().itertuples(index=False):
        found.parts.setdefault(task, set()).add((split, subset))
        found.revisions.setdefault(task, set()).add(revision)
    return found


def read_external(root: Path, tasks: Collection[str] | None = None, ours: Evaluated | None = None) -> External:
    """Import a folder of mteb results.

    A task's score is the mean of the main scores of the splits and subsets that ``ours`` has for it; all of them must
    be there. For a task that ``ours`` lacks it is the score of the part that its benchmark counts, or else of split
    ``test`` and the English subset. Of several revisions of a model the one with most tasks is taken, of equal ones
    the last by name.

    Args:
        root: The folder.
        tasks: The tasks that are wanted; None takes all.
        ours: What our own scores were measured on.

    Raises:
        UserError: The folder is missing, is not in mteb's layout, holds more than `MAX_MODELS` models or no usable
            score.
    """
    found = model_folders(root)
    inside = root.resolve()
    wanted = None if tasks is None else {*tasks, *(CQADUPSTACK_PARTS if CQADUPSTACK in tasks else ())}
    models = [_read_model(folder, inside, wanted, ours or Evaluated()) for folder in found]
    usable = sorted((model for model in models if model.scores), key=lambda model: (model.name, model.folder))
    skipped = [line for model in models for line in model.skipped]
    if not usable:
        reason = f"for example, {skipped[0]}" if skipped else "its files are of other tasks than these"
        raise UserError(f"{root}: no usable score in {len(models)} model folder(s) ({reason}); name another folder")
    return External(usable, _skip_notes(len(models) - len(usable), skipped))


def keep_external(external: External, path: Path) -> None:
    """Write down what was imported, so that it can be shown and checked without the folder that it came from."""
    write_json(path, asdict(external))


def kept_external(path: Path) -> External:
    """What `keep_external` wrote.

    Raises:
        UserError: The file holds something else.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(External).validate_python(read_json(path))
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise UserError(f"{path} does not hold imported results ({message}); import them again") from error


def external_rows(external: External, types: Types) -> list[PublishedRow]:
    """Imported models as rows, with means of the task types and of all tasks where every task is there.

    Models without any of the tasks are left out.
    """
    tasks = {task for found in types.values() for task in found}
    rows = []
    for model in external.models:
        values = {task: 100 * score for task, score in model.scores.items() if task in tasks}
        if values:
            rows.append(
                PublishedRow(
                    method=model.name,
                    base="",
                    setting="imported",
                    confidence="as imported",
                    source=model.folder,
                    values=with_means(values, types),
                    note=" ".join(model.notes),
                )
            )
    return rows


def _read_model(folder: Path, inside: Path, wanted: Collection[str] | None, ours: Evaluated) -> ExternalModel:
    revisions = {revision: result_files(revision, wanted) for revision in folders(folder, inside)}
    chosen = max(revisions, key=lambda revision: (len(revisions[revision]), revision.name))
    model, revision = plain(folder.resolve().name), plain(chosen.name)
    read, unread = _read_all(chosen, inside)
    scale = _scale_of(read)
    results: dict[str, dict[str, Any]] = {}
    scores: dict[str, float] = {}
    skipped: list[str] = []
    for path in revisions[chosen]:
        task = path.stem
        try:
            if task in unread:
                raise unread[task]
            scores[task] = _task_score(read[task]["scores"], task, ours.parts.get(task), scale)
            results[task] = read[task]
        except ValueError as error:
            skipped.append(f"{model}/{revision}/{plain(path.name)} {error}")
    notes = [
        *([f"Revision {revision}, of {len(revisions)} the one with most tasks."] if len(revisions) > 1 else []),
        *_difference_notes(results, ours),
        *_scale_notes(read, results, scale),
        *_combine_forums(scores),
    ]
    return ExternalModel(model.replace("__", "/", 1), f"{model}/{revision}", scores, notes, skipped)


def _difference_notes(results: dict[str, dict[str, Any]], ours: Evaluated) -> list[str]:
    versions = {_version(result.get("mteb_version")) for result in results.values()}
    other_data = [
        task
        for task, result in results.items()
        if task in ours.revisions and result.get("dataset_revision") not in [*ours.revisions[task]]
    ]
    return [
        *([f"Evaluated with mteb {listed(sorted(versions))}."] if versions and versions != ours.versions else []),
        *([f"Another revision of the data than ours: {listed(other_data)}."] if other_data else []),
    ]


def _combine_forums(scores: dict[str, float]) -> list[str]:
    """Put the mean of all forums where the task of them all is missing; say so."""
    if CQADUPSTACK in scores or not all(part in scores for part in CQADUPSTACK_PARTS):
        return []
    scores[CQADUPSTACK] = math.fsum(scores[part] for part in CQADUPSTACK_PARTS) / len(CQADUPSTACK_PARTS)
    return [f"{CQADUPSTACK} is the mean of its {len(CQADUPSTACK_PARTS)} parts."]


def _read_all(revision: Path, inside: Path) -> tuple[dict[str, dict[str, Any]], dict[str, ValueError]]:
    """All results of a revision's folder by task, of tasks that are not wanted too, and why others cannot be used."""
    read: dict[str, dict[str, Any]] = {}
    unread: dict[str, ValueError] = {}
    for path in result_files(revision):
        try:
            read[path.stem] = read_result(path, inside)
        except ValueError as error:
            unread[path.stem] = error
    return read, unread


def _largest(result: Mapping[str, Any]) -> float:
    return max((abs(score) for _, score in _parts(result["scores"])), default=0.0)


def _scale_of(read: Mapping[str, Mapping[str, Any]]) -> float:
    """What the best possible score is in a folder: 100 where at least half of its files go beyond 1, else 1.

    A single file cannot tell: 0.9 may be a good score on 0 to 1 or a bad one on 0 to 100.
    """
    above = [_largest(result) > 1 for result in read.values() if _largest(result)]
    return 100.0 if above and 2 * sum(above) >= len(above) else 1.0


def _scale_notes(read: Mapping[str, Mapping[str, Any]], used: Mapping[str, Any], scale: float) -> list[str]:
    """On which scale the folder's scores were taken to be, where that is not mteb's, and what casts doubt on it."""
    if scale > 1:
        small = [task for task in used if _largest(read[task]) <= 1]
        return [
            "Reported on 0 to 100, divided by 100.",
            *([f"Doubtful, as not above 1 before that: {listed(small)}."] if small else []),
        ]
    reported = {_version(result.get("mteb_version")) for result in read.values()} == {UNKNOWN}
    few = reported and len(read) < FEW
    return ["Taken to be on 0 to 1, from so few files doubtful."] if few and used else []


def _task_score(scores: Mapping[str, Any], task: str, wanted: set[Part] | None, scale: float) -> float:
    """The mean main score over the wanted parts, brought from ``scale`` to 0 to 1.

    Raises:
        ValueError: A part or its score is missing, or beyond the scale.
    """
    parts: dict[Part, set[float]] = {}
    for part, score in _parts(scores):
        parts.setdefault(part, set()).add(score)
    wanted = wanted or _default_parts(task, parts)
    lacking = sorted("/".join(part) for part in wanted if part not in parts)
    if lacking:
        raise ValueError(f"has no usable main score for {listed(lacking)}")
    if any(len(parts[part]) > 1 for part in wanted):
        raise ValueError("gives two main scores for the same split and subset")
    beyond = [score for part in wanted for score in parts[part] if abs(score) > scale]
    if beyond:
        raise ValueError(f"has the main score {beyond[0]:g}, though its folder's scores are on 0 to {scale:g}")
    return math.fsum(score for part in wanted for score in parts[part]) / len(wanted) / scale


def _parts(scores: Mapping[str, Any]) -> Iterator[tuple[Part, float]]:
    for split, entries in scores.items():
        for entry in entries if isinstance(entries, list) else []:
            subset = entry.get("hf_subset", "default") if isinstance(entry, dict) else None
            if isinstance(subset, str) and _usable(entry.get("main_score")):
                yield (split, subset), float(entry["main_score"])


def _usable(value: object) -> bool:
    # A correlation may be negative, authors' own reports are on 0 to 100; NaN fails both comparisons.
    return isinstance(value, int | float) and not isinstance(value, bool) and -100 <= value <= 100


def _default_parts(task: str, parts: Collection[Part]) -> set[Part]:
    split, subset = benchmark_part(task) or ("test", "default")
    return {(split, next((name for name in (subset, *ENGLISH) if (split, name) in parts), subset))}


def _version(value: object) -> str:
    # 0.0.0 is what self-reported results carry, which no version of mteb measured.
    known = isinstance(value, str) and value != "0.0.0" and re.fullmatch(r"[\w.+-]{1,40}", value)
    return str(value) if known else UNKNOWN


def _skip_notes(models: int, skipped: list[str]) -> list[str]:
    return [
        *([f"Imported files without a usable score: {len(skipped)}, such as {skipped[0]}."] if skipped else []),
        *([f"Imported models left out, as they have no usable score: {models}."] if models else []),
    ]
