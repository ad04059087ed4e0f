"""Published scores with their citations, for standing beside ours; see ``docs/published.md``.

They are read from ``data/published.csv``. Scores are on 0 to 100, as papers print them. Two kinds of rows are told
apart: what a paper prints for a benchmark, and scores of single tasks, which belong to every benchmark that has the
task (`ANY`). From the latter, means over a task type or a benchmark follow, but only where every task is there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.reporting.read.schema import Parser, number, read_table, text
from causal2vec.reporting.read.types import AVERAGE, listed

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
"""The file that is shipped."""

ANY = "any"
"""In the column ``benchmark``: the score of one task, whatever benchmark it is taken from."""

EFFICIENCY = "efficiency"
"""In the column ``benchmark``: a claim on cost, in the unit that its name states."""

KINDS = ("zero-shot", "supervised", "full-data", "other")
"""What a row may be compared with, in display order.

``zero-shot``: no labelled pairs were used. ``supervised``: trained on public pairs. ``full-data``: as released, with
everything its authors trained on. ``other``: an ablation, or a recipe that nothing here corresponds to.
"""

CONFIDENCES = ("confirmed", "third-hand")
"""Whether the number was seen in its source or only in what others wrote about it."""

RECOMPUTED = "recomputed"
"""The word in ``setting`` of all that was averaged from results of single tasks, not printed by a paper."""

Types = Mapping[str, Sequence[str]]
"""Task type -> the tasks of it that a benchmark has."""


def _one_of(words: Sequence[str]) -> Parser:
    def parse(raw: str) -> str:
        if raw not in words:
            raise ValueError(f"is {raw!r}, none of {', '.join(words)}")
        return raw

    return parse


def _percent(raw: str) -> float:
    value = number(raw)
    if not 0 <= value <= 100:
        raise ValueError(f"is {raw}, not between 0 and 100")
    return value


PUBLISHED_COLUMNS: dict[str, Parser] = {
    "method": text,
    "base": text,
    "setting": text,
    "kind": _one_of(KINDS),
    "benchmark": text,
    "name": text,
    "score": _percent,
    "source": text,
    "confidence": _one_of(CONFIDENCES),
}
"""Columns of ``published.csv``, in order, with what reads each."""

_KEY = ["method", "base", "setting", "benchmark", "name"]


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
        trained: Whether it was trained on pairs of texts; None where only unsupervised or where unknown.
        setting_kind: One of `KINDS`.
        note: What else a reader must know, such as another revision of the data; may be empty.
    """

    method: str
    base: str
    setting: str
    confidence: str
    source: str
    values: dict[str, float] = field(default_factory=dict)
    trained: bool | None = None
    setting_kind: str = "other"
    note: str = ""

    @property
    def recomputed(self) -> bool:
        """Whether the means were taken over results of single tasks, not printed by a paper."""
        return RECOMPUTED in self.setting


@dataclass(frozen=True)
class EfficiencyClaim:
    """A published number on cost; ``name`` states the measure with its unit, ``setting`` the conditions."""

    method: str
    base: str
    setting: str
    name: str
    value: float
    source: str
    confidence: str


def read_published(path: Path = PUBLISHED_FILE) -> pd.DataFrame:
    """Read and check a file of published scores.

    Returns:
        One row per score, with the columns of `PUBLISHED_COLUMNS`.

    Raises:
        UserError: A column is missing, a word or a number is wrong, or a score is given twice; names file and line.
    """
    return read_table(path, PUBLISHED_COLUMNS, _KEY)


def published_rows(
    benchmark: str, types: Types | None = None, names: Sequence[str] | None = None, path: Path = PUBLISHED_FILE
) -> list[PublishedRow]:
    """All published models of one benchmark, in the order of `KINDS`, then by base, method and setting.

    Args:
        benchmark: Its name in mteb, such as ``MTEB(eng, v2)``; `ANY` gives scores of single tasks only.
        types: The benchmark's tasks by type. With them, scores of single tasks are added, and what a paper does not
            print is averaged from them: a type where all of its tasks are there, ``Average`` (the mean over tasks)
            where all of the benchmark's are.
        names: If given, only these values are kept, and only models that have one of them.
        path: The file of published scores.
    """
    frame = _read(path)
    tasks = {task for found in (types or {}).values() for task in found}
    chosen = frame[
        (frame["benchmark"] != EFFICIENCY)
        & ((frame["benchmark"] == benchmark) | ((frame["benchmark"] == ANY) & frame["name"].isin(tasks)))
    ]
    rows = [_row(group, types) for _, group in chosen.groupby(["method", "base", "setting", "kind"], sort=False)]
    if names is not None:
        rows = [_only(row, names) for row in rows]
    return sorted((row for row in rows if row.values), key=_display_order)


def published_value(
    method: str,
    base: str,
    benchmark: str,
    name: str,
    *,
    kind: str | None = None,
    setting: str | None = None,
    path: Path = PUBLISHED_FILE,
) -> float | None:
    """One published score on 0 to 100, or None where there is none.

    A printed score goes before one averaged from results of single tasks.

    Args:
        method: As in the file.
        base: As in the file.
        benchmark: Its name in mteb.
        name: A task type, a task or ``Average``.
        kind: One of `KINDS`, where the method was published in several.
        setting: The exact words of the setting, where even that is not enough.
        path: The file of published scores.

    Raises:
        UserError: Several settings fit and differ.
    """
    frame = _read(path)
    found = frame[
        (frame["method"] == method)
        & (frame["base"] == base)
        & frame["benchmark"].isin([benchmark, ANY])
        & (frame["name"] == name)
        & (True if kind is None else frame["kind"] == kind)
        & (True if setting is None else frame["setting"] == setting)
    ]
    printed = found[~found["setting"].str.contains(RECOMPUTED, regex=False)]
    found = printed if len(printed) else found
    if found["score"].nunique() > 1:
        raise UserError(
            f"{method} on {base} has several published scores for {name} of {benchmark}; "
            f"name one of these settings: {'; '.join(sorted(found['setting']))}"
        )
    return float(found["score"].iloc[0]) if len(found) else None


def efficiency_claims(path: Path = PUBLISHED_FILE) -> list[EfficiencyClaim]:
    """What was published on cost, sorted by method and name."""
    frame = _read(path)
    columns = ["method", "base", "setting", "name", "score", "source", "confidence"]
    rows = frame.loc[frame["benchmark"] == EFFICIENCY, columns].itertuples(index=False, name=None)
    return sorted((EfficiencyClaim(*row) for row in rows), key=lambda claim: (claim.method, claim.name))


def with_means(values: Mapping[str, float], types: Types | None) -> dict[str, float]:
    """``values`` (task -> score), with the means that are not there yet but follow from them.

    A mean over a type or over all tasks is added only where every one of these tasks has a score. The result is in
    the order of ``types``: the types, ``Average``, the tasks, then the rest.
    """
    if not types:
        return dict(values)
    tasks = [task for found in types.values() for task in found]
    wanted = {**types, AVERAGE: tasks}
    result = {}
    for name, members in wanted.items():
        if name in values:
            result[name] = values[name]
        elif members and all(task in values for task in members):
            result[name] = math.fsum(values[task] for task in members) / len(members)
    return {**result, **{task: values[task] for task in tasks if task in values}, **values}


@functools.lru_cache(maxsize=4)
def _read(path: Path) -> pd.DataFrame:
    return read_published(path)


def _row(group: pd.DataFrame, types: Types | None) -> PublishedRow:
    first = group.iloc[0]
    singles, own = group[group["benchmark"] == ANY], group[group["benchmark"] != ANY]
    values = dict(zip(singles["name"], singles["score"], strict=True))
    # Second, so that what was printed for the benchmark goes before all else.
    values.update(zip(own["name"], own["score"], strict=True))
    return PublishedRow(
        method=first["method"],
        base=first["base"],
        setting=f"{first['setting']}{_provenance(singles['source'])}",
        # The weakest word counts for the whole row.
        confidence=max(group["confidence"], key=CONFIDENCES.index),
        source=_folders(singles["source"]) if len(singles) else "; ".join(sorted(set(own["source"]))),
        values=with_means(values, types),
        trained=_trained(first["kind"], first["setting"]),
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


def _trained(kind: str, setting: str) -> bool | None:
    if kind == "other" or setting.startswith("unsupervised"):
        return None
    return kind != "zero-shot"


def _only(row: PublishedRow, names: Sequence[str]) -> PublishedRow:
    kept = {name: row.values[name] for name in names if name in row.values}
    return PublishedRow(**{**vars(row), "values": kept})


def _display_order(row: PublishedRow) -> tuple[int, str, str, str]:
    return KINDS.index(row.setting_kind), row.base.casefold(), row.method.casefold(), row.setting
