"""Scores of others, for standing beside ours: what papers print, and results in mteb's own layout.

What papers print is read from ``published.csv``, see ``docs/published.md``. Scores there are on 0 to 100. Two kinds of
rows are told apart: what a paper prints for a benchmark, and scores of single tasks, which belong to every benchmark
that has the task (`ANY`). From the latter, means over a task type or a benchmark follow, but only where every task is
there.

Results in mteb's layout (``results/<org>__<model>/<revision>/<Task>.json``, with or without the level ``results``, or
one model's folder) come from strangers: nothing in such a folder is executed or followed out of it, and a broken file
costs its own score. mteb itself reads the files, also those from before its version 1.11; it is imported where that
happens, as it takes seconds to load.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
from pydantic import Field

from causal2vec.errors import UserError, checked, one_line
from causal2vec.reporting.read.benchmarks import benchmark_part
from causal2vec.reporting.read.schema import Parser, number, one_of, read_table, text
from causal2vec.reporting.read.types import AVERAGE, listed
from causal2vec.runtime.files import read_json, write_json

if TYPE_CHECKING:
    from mteb.results import TaskResult

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
"""The file that is shipped."""

ANY = "any"
"""In the column ``benchmark``: the score of one task, whatever benchmark it is taken from. Rows of ``efficiency`` are
claims on cost, in the unit that their name states, and shown nowhere."""

KINDS = ("zero-shot", "supervised", "full-data", "other")
"""What a row may be compared with, in display order.

``zero-shot``: no labelled pairs were used. ``supervised``: trained on public pairs. ``full-data``: as released, with
everything its authors trained on. ``other``: an ablation, or a recipe that nothing here corresponds to.
"""

CONFIDENCES = ("confirmed", "third-hand")
"""Whether the number was seen in its source or only in what others wrote about it."""

Types = Mapping[str, Sequence[str]]
"""Task type -> the tasks of it that a benchmark has."""

_COLUMNS: dict[str, Parser] = {
    "method": text,
    "base": text,
    "setting": text,
    "kind": one_of(*KINDS),
    "benchmark": text,
    "name": text,
    "score": Annotated[number, Field(ge=0, le=100)],
    "source": text,
    "confidence": one_of(*CONFIDENCES),
}
"""Columns of ``published.csv``, in order, with what reads each."""


@dataclass(frozen=True)
class PublishedRow:
    """Scores of one model that are not ours.

    Attributes:
        method: The method or the model's name.
        base: What it is built on; empty where that is unknown.
        setting: How it was trained and evaluated, in words.
        confidence: One of `CONFIDENCES`, or ``as imported``.
        source: What to cite.
        values: Task type, task or ``Average`` -> score on 0 to 100; what is not known is absent.
        setting_kind: One of `KINDS`.
        note: What else a reader must know, such as another revision of the data; may be empty.
    """

    method: str
    base: str
    setting: str
    confidence: str
    source: str
    values: dict[str, float] = field(default_factory=dict)
    setting_kind: str = "other"
    note: str = ""


def published_rows(benchmark: str, types: Types | None = None, path: Path = PUBLISHED_FILE) -> list[PublishedRow]:
    """All published models of one benchmark, in the order of `KINDS`, then by base, method and setting.

    Args:
        benchmark: Its name in mteb, such as ``MTEB(eng, v2)``; `ANY` gives scores of single tasks only.
        types: The benchmark's tasks by type. With them, scores of single tasks are added, and what a paper does not
            print is averaged from them: a type where all of its tasks are there, ``Average`` (the mean over tasks)
            where all of the benchmark's are.
        path: The file of published scores.

    Raises:
        UserError: A column is missing, a word or a number is wrong, or a score is given twice; names file and line.
    """
    frame = _published(path)
    tasks = {task for found in (types or {}).values() for task in found}
    chosen = frame[(frame["benchmark"] == benchmark) | ((frame["benchmark"] == ANY) & frame["name"].isin(tasks))]
    rows = [_row(group, types) for _, group in chosen.groupby(["method", "base", "setting", "kind"], sort=False)]
    return sorted(
        rows,
        key=lambda row: (KINDS.index(row.setting_kind), row.base.casefold(), row.method.casefold(), row.setting),
    )


@functools.cache
def _published(path: Path) -> pd.DataFrame:
    return read_table(path, _COLUMNS, ["method", "base", "setting", "benchmark", "name"])


def _row(group: pd.DataFrame, types: Types | None) -> PublishedRow:
    first = group.iloc[0]
    singles, own = group[group["benchmark"] == ANY], group[group["benchmark"] != ANY]
    # The own ones last, so that what was printed for the benchmark goes before all else.
    values: dict[str, float] = dict(zip(singles["name"], singles["score"], strict=True))
    values.update(zip(own["name"], own["score"], strict=True))
    return PublishedRow(
        method=first["method"],
        base=first["base"],
        setting=f"{first['setting']}{_provenance(singles['source'])}",
        # The weakest word counts for the whole row.
        confidence=max(group["confidence"], key=CONFIDENCES.index),
        source=_folders(singles["source"]) if len(singles) else "; ".join(sorted(set(own["source"]))),
        values=with_means(values, types),
        setting_kind=first["kind"],
    )


def _folders(sources: pd.Series) -> str:
    """Each cited folder once, with its revisions."""
    found: dict[str, list[str]] = {}
    for source in sorted(set(sources)):
        folder, _, revision = source.rpartition("/")
        found.setdefault(folder, []).append(revision)
    return "; ".join(f"{folder}/{listed(revisions)}" for folder, revisions in found.items())


def _provenance(sources: pd.Series) -> str:
    """Who made the results of single tasks: their folders tell."""
    own = sources.str.endswith("/external")
    if own.empty:
        return ""
    if own.all():
        return " (all self-reported)"
    return " (mixed: self-reported and mteb runs)" if own.any() else " (all mteb runs)"


def with_means(values: Mapping[str, float], types: Types | None) -> dict[str, float]:
    """``values`` (task -> score), with the means that are not there yet but follow from them.

    A mean over a type or over all tasks is added only where every one of these tasks has a score. The result is in
    the order of ``types``: the types, ``Average``, the tasks, then the rest.
    """
    if not types:
        return dict(values)
    tasks = [task for found in types.values() for task in found]
    result = {}
    for name, members in {**types, AVERAGE: tasks}.items():
        if name in values:
            result[name] = values[name]
        elif members and all(task in values for task in members):
            result[name] = math.fsum(values[task] for task in members) / len(members)
    return {**result, **{task: values[task] for task in tasks if task in values}, **values}


MAX_BYTES = 50 * 2**20
"""Larger result files are skipped; mteb's own have some kilobytes."""

MAX_MODELS = 200
"""More models than a table can show are refused."""

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
    found = _model_folders(root)
    wanted = None if tasks is None else {*tasks, *(CQADUPSTACK_PARTS if CQADUPSTACK in tasks else ())}
    models = [_read_model(folder, root.resolve(), wanted, ours or Evaluated()) for folder in found]
    usable = sorted((model for model in models if model.scores), key=lambda model: (model.name, model.folder))
    skipped = [line for model in models for line in model.skipped]
    if not usable:
        reason = f"for example, {skipped[0]}" if skipped else "its files are of other tasks than these"
        raise UserError(f"{root}: no usable score in {len(models)} model folder(s) ({reason}); name another folder")
    notes = [f"Imported files without a usable score: {len(skipped)}, such as {skipped[0]}."] if skipped else []
    if left_out := len(models) - len(usable):
        notes.append(f"Imported models left out, as they have no usable score: {left_out}.")
    return External(usable, notes)


def keep_external(external: External, path: Path) -> None:
    """Write down what was imported, so that it can be shown and checked without the folder that it came from."""
    write_json(path, asdict(external))


def kept_external(path: Path) -> External:
    """What `keep_external` wrote.

    Raises:
        UserError: The file holds something else.
    """
    return checked(External, read_json(path), path, "import these results again")  # type: ignore[no-any-return]


def external_rows(external: External, types: Types) -> list[PublishedRow]:
    """Imported models as rows, with means of the task types and of all tasks where every task is there.

    Models without any of the tasks are left out.
    """
    tasks = {task for found in types.values() for task in found}
    return [
        PublishedRow(
            method=model.name,
            base="",
            setting="imported",
            confidence="as imported",
            source=model.folder,
            values=with_means(values, types),
            note=" ".join(model.notes),
        )
        for model in external.models
        if (values := {task: 100 * score for task, score in model.scores.items() if task in tasks})
    ]


def _model_folders(root: Path) -> list[Path]:
    """The models' folders, sorted; ``root`` itself where it is one model's folder."""
    try:
        top = root / "results" if (root / "results").is_dir() else root
        inside = root.resolve()
        children = _folders_in(top, inside)
        if len(children) > MAX_MODELS:
            raise UserError(
                f"{root} holds {len(children)} models, more than the {MAX_MODELS} that a table can show; copy the "
                "folders of those to compare into a folder of their own and name that"
            )
        models = [child for child in children if any(_result_files(f) for f in _folders_in(child, inside))]
        if not models and any(_result_files(child) for child in children):
            models = [top]
    except OSError as error:
        raise UserError(f"{root} is not a readable folder ({error.strerror}); name another folder") from error
    if not models:
        raise UserError(
            f"{root} is not in mteb's layout, results/<org>__<model>/<revision>/<Task>.json; name another folder"
        )
    return models


def _folders_in(parent: Path, inside: Path) -> list[Path]:
    """The folders in ``parent``, sorted, but for hidden ones and links that lead out of ``inside`` (resolved)."""
    return sorted(p for p in parent.iterdir() if not p.name.startswith(".") and p.is_dir() and _within(p, inside))


def _within(path: Path, inside: Path) -> bool:
    """Whether a path, with its links followed, stays in the imported folder."""
    try:
        return path.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):  # a link that leads nowhere or round in a circle
        return False


def _result_files(folder: Path, wanted: Collection[str] | None = None) -> list[Path]:
    """The result files in a revision's folder, sorted; only those of the ``wanted`` tasks, if given."""
    found = [path for path in folder.glob("*.json") if path.name != "model_meta.json"]
    return sorted(path for path in found if wanted is None or path.stem in wanted)


def _plain(name: str) -> str:
    """A stranger's text without what would break a line or fill a page."""
    text = "".join(c if c.isprintable() else " " for c in name)
    return text if len(text) <= 120 else f"{text[:119]}…"


def _read_result(path: Path, inside: Path) -> TaskResult:
    """A result file as mteb reads it, if it is a plain file inside ``inside`` (resolved).

    Raises:
        ValueError: Why it cannot be used, to follow the file's name.
    """
    from mteb.results import TaskResult

    if not _within(path, inside) or not path.is_file():
        raise ValueError("leads out of the folder or is not a plain file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES // 2**20} MB")
    try:
        return TaskResult.from_disk(path)
    except Exception as error:  # mteb trusts its files, so that a wrong one can break it in many ways
        raise ValueError(f"is no result as mteb writes it ({_plain(one_line(error))})") from None


def _read_model(folder: Path, inside: Path, wanted: Collection[str] | None, ours: Evaluated) -> ExternalModel:
    revisions = {revision: _result_files(revision, wanted) for revision in _folders_in(folder, inside)}
    chosen = max(revisions, key=lambda revision: (len(revisions[revision]), revision.name))
    model, revision = _plain(folder.resolve().name), _plain(chosen.name)
    # All files of the revision, of tasks that are not wanted too, tell its scale.
    read: dict[str, TaskResult] = {}
    faults: dict[str, str] = {}
    for path in _result_files(chosen):
        try:
            read[path.stem] = _read_result(path, inside)
        except ValueError as error:
            faults[path.stem] = str(error)
    scale = _scale_of(read)
    scores: dict[str, float] = {}
    for task in (path.stem for path in revisions[chosen] if path.stem in read):
        try:
            scores[task] = _task_score(read[task], task, ours.parts.get(task), scale)
        except ValueError as error:
            faults[task] = str(error)
    used = {task: read[task] for task in scores}
    notes = [
        *([f"Revision {revision}, of {len(revisions)} the one with most tasks."] if len(revisions) > 1 else []),
        *_difference_notes(used, ours),
        *_scale_notes(read, used, scale),
        *_combine_forums(scores),
    ]
    skipped = [
        f"{model}/{revision}/{_plain(path.name)} {faults[path.stem]}"
        for path in revisions[chosen]
        if path.stem in faults
    ]
    return ExternalModel(model.replace("__", "/", 1), f"{model}/{revision}", scores, notes, skipped)


def _difference_notes(used: Mapping[str, TaskResult], ours: Evaluated) -> list[str]:
    versions = {_version(result) for result in used.values()}
    other_data = [
        task
        for task, result in used.items()
        if task in ours.revisions and result.dataset_revision not in ours.revisions[task]
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


def _largest(result: TaskResult) -> float:
    return max((abs(score) for _, score in _parts(result)), default=0.0)


def _scale_of(read: Mapping[str, TaskResult]) -> float:
    """What the best possible score is in a folder: 100 where at least half of its files go beyond 1, else 1.

    A single file cannot tell: 0.9 may be a good score on 0 to 1 or a bad one on 0 to 100.
    """
    above = [_largest(result) > 1 for result in read.values() if _largest(result)]
    return 100.0 if above and 2 * sum(above) >= len(above) else 1.0


def _scale_notes(read: Mapping[str, TaskResult], used: Mapping[str, TaskResult], scale: float) -> list[str]:
    """On which scale the folder's scores were taken to be, where that is not mteb's, and what casts doubt on it."""
    if scale > 1:
        small = [task for task, result in used.items() if _largest(result) <= 1]
        return [
            "Reported on 0 to 100, divided by 100.",
            *([f"Doubtful, as not above 1 before that: {listed(small)}."] if small else []),
        ]
    few = len(read) < FEW and {_version(result) for result in read.values()} == {UNKNOWN}
    return ["Taken to be on 0 to 1, from so few files doubtful."] if few and used else []


def _task_score(result: TaskResult, task: str, wanted: set[Part] | None, scale: float) -> float:
    """The mean main score over the wanted parts, brought from ``scale`` to 0 to 1.

    Raises:
        ValueError: A part or its score is missing, or beyond the scale.
    """
    parts: dict[Part, set[float]] = {}
    for part, score in _parts(result):
        parts.setdefault(part, set()).add(score)
    if not wanted:
        split, subset = benchmark_part(task) or ("test", "default")
        wanted = {(split, next((name for name in (subset, *ENGLISH) if (split, name) in parts), subset))}
    if lacking := sorted("/".join(part) for part in wanted if part not in parts):
        raise ValueError(f"has no usable main score for {listed(lacking)}")
    if any(len(parts[part]) > 1 for part in wanted):
        raise ValueError("gives two main scores for the same split and subset")
    found = [score for part in wanted for score in parts[part]]
    if beyond := [score for score in found if abs(score) > scale]:
        raise ValueError(f"has the main score {beyond[0]:g}, though its folder's scores are on 0 to {scale:g}")
    return math.fsum(found) / len(found) / scale


def _parts(result: TaskResult) -> Iterator[tuple[Part, float]]:
    """The usable main scores: correlations may be negative, authors' own reports are on 0 to 100; NaN is none."""
    for split, entries in result.scores.items():
        for entry in entries:
            score: Any = entry["main_score"]
            if isinstance(score, int | float) and not isinstance(score, bool) and -100 <= score <= 100:
                yield (split, entry["hf_subset"]), float(score)


def _version(result: TaskResult) -> str:
    # 0.0.0 is what self-reported results carry, which no version of mteb measured.
    said = result.mteb_version or ""
    return said if said != "0.0.0" and re.fullmatch(r"[\w.+-]{1,40}", said) else UNKNOWN
