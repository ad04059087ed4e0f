"""What the scores say per method: one number per task, and what is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.reporting.read.schema import UNTRAINED_SUFFIX
from causal2vec.reporting.read.types import listed, ordered_types

Entry = tuple[str, str]
"""A compared model: method and base."""


def is_untrained(method: str) -> bool:
    """Whether this is the untrained twin of a method."""
    return method.endswith(UNTRAINED_SUFFIX)


def twin_of(method: str) -> str:
    """The method's name without the suffix of an untrained twin."""
    return method.removesuffix(UNTRAINED_SUFFIX)


def is_variant(method: str) -> bool:
    """Whether this is an ablation's variant of a method, such as ``causal2vec+pooling=eos``."""
    return "+" in method


def sort_entries(entries: list[Entry], order: list[str]) -> list[Entry]:
    """Entries in display order, then by base; a twin goes where its method does, the unknown last."""

    def rank(entry: Entry) -> tuple[int, str, str]:
        method, base = entry
        for name in (method, twin_of(method)):
            if name in order:
                return order.index(name), method, base
        return len(order), method, base

    return sorted(entries, key=rank)


def pairs(frame: pd.DataFrame) -> list[Entry]:
    """The entry of each row."""
    return list(zip(frame["method"], frame["base"], strict=True))


@dataclass(frozen=True)
class Summary:
    """Main scores per method and base (0 to 1), averaged over splits, subsets and seeds.

    Attributes:
        entries: The compared models in display order.
        types: Task type -> its tasks, both in display order.
        values: (entry, task) -> score; absent where any seed, split or subset of it is missing.
        seeds: Entry -> its seeds.
        notes: What a reader of all these scores must know.
        gaps: Entry -> the tasks that are incomplete, with the seeds that lack them if it is not all.
        general: What must be known of any of these scores, whatever entries are shown.
    """

    entries: list[Entry]
    types: dict[str, list[str]]
    values: dict[tuple[Entry, str], float]
    seeds: dict[Entry, list[int]]
    notes: list[str] = field(default_factory=list)
    gaps: dict[Entry, list[str]] = field(default_factory=dict)
    general: list[str] = field(default_factory=list)

    @property
    def tasks(self) -> list[str]:
        """All tasks, in the order of their types."""
        return [task for tasks in self.types.values() for task in tasks]

    def score(self, entry: Entry, task: str) -> float | None:
        """One task's score, or None where it is incomplete."""
        return self.values.get((entry, task))

    def average(self, entry: Entry, tasks: list[str]) -> float | None:
        """Mean over ``tasks``, or None unless every one of them is there."""
        found = [self.values[entry, task] for task in tasks if (entry, task) in self.values]
        return math.fsum(found) / len(found) if found and len(found) == len(tasks) else None

    def notes_on(self, entries: list[Entry]) -> list[str]:
        """What a reader of these entries' scores must know: seeds, versions, what is missing."""
        seeds = {entry: set(self.seeds[entry]) for entry in entries}
        return [seed_note(entries, seeds), *self.general, *_gap_notes(entries, self.gaps)]


def summarise(scores: pd.DataFrame, order: list[str]) -> Summary:
    """Reduce ``scores.csv`` to one main score per model and task.

    Raises:
        UserError: There is no main score at all, or a task has two types.
    """
    main = scores[scores["metric"] == "main_score"]
    if main.empty:
        raise UserError("the scores hold no row with metric 'main_score'; collect them again")
    types = _types(main)
    parts: dict[tuple[Entry, str], dict[int, dict[tuple[str, str], float]]] = {}
    expected: dict[str, set[tuple[str, str]]] = {}
    seeds: dict[Entry, set[int]] = {}
    columns = ["method", "base", "seed", "task", "split", "subset", "value"]
    for method, base, seed, task, split, subset, value in main[columns].itertuples(index=False):
        parts.setdefault(((method, base), task), {}).setdefault(seed, {})[split, subset] = value
        expected.setdefault(task, set()).add((split, subset))
        seeds.setdefault((method, base), set()).add(seed)

    entries = sort_entries(list(seeds), order)
    values: dict[tuple[Entry, str], float] = {}
    gaps: dict[Entry, list[str]] = {}
    for entry in entries:
        for task in (task for tasks in types.values() for task in tasks):
            runs = parts.get((entry, task), {})
            lacking = [s for s in sorted(seeds[entry]) if set(runs.get(s, {})) != expected[task]]
            if lacking:
                # A mean over other seeds, splits or subsets than the rival's would not be comparable.
                some = f" (seed {listed(lacking)})" if len(lacking) < len(seeds[entry]) else ""
                gaps.setdefault(entry, []).append(f"{task}{some}")
                continue
            means = [math.fsum(run.values()) / len(run) for run in runs.values()]
            values[entry, task] = math.fsum(means) / len(means)
    summary = Summary(
        entries, types, values, {e: sorted(seeds[e]) for e in entries}, gaps=gaps, general=_version_notes(main)
    )
    return replace(summary, notes=summary.notes_on(entries))


def entry_name(entry: Entry, entries: list[Entry]) -> str:
    """The method's name, with its base where ``entries`` have this method on several bases."""
    method, base = entry
    return f"{method} ({base})" if len({b for m, b in entries if m == method}) > 1 else method


def seed_note(entries: list[Entry], seeds: dict[Entry, set[int]]) -> str:
    """One sentence on the seeds behind each mean."""
    groups: dict[tuple[int, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(tuple(sorted(seeds[entry])), []).append(entry)
    texts = []
    for found, members in groups.items():
        text = f"mean over {len(found)} seeds ({listed(found)})" if len(found) > 1 else f"one seed ({found[0]})"
        texts.append(text if len(groups) == 1 else f"{_together(members, entries)}: {text}")
    sentence = "; ".join(texts)
    return f"Seeds: {sentence}." if len(groups) > 1 else f"{sentence[0].upper()}{sentence[1:]}."


def _together(members: list[Entry], entries: list[Entry]) -> str:
    """One word for all trained or for all untrained entries, else their names."""
    for untrained, words in ((False, "trained methods"), (True, "untrained twins")):
        if members == [entry for entry in entries if is_untrained(entry[0]) == untrained]:
            return words
    return listed([entry_name(entry, entries) for entry in members])


def _types(main: pd.DataFrame) -> dict[str, list[str]]:
    found = main[["task", "task_type"]].drop_duplicates().sort_values(["task", "task_type"])
    twice = found[found.duplicated("task")]
    if len(twice):
        raise UserError(f"task {twice.iloc[0]['task']!r} has two task types in the scores; collect them again")
    return {t: sorted(found[found["task_type"] == t]["task"]) for t in ordered_types(set(found["task_type"]))}


def _version_notes(main: pd.DataFrame) -> list[str]:
    versions = sorted(set(main["mteb_version"]))
    notes = [f"Evaluated with mteb {', '.join(versions)}."]
    revisions = main.groupby("task")["data_revision"].nunique()
    mixed = sorted(revisions[revisions > 1].index)
    if mixed:
        notes.append(f"Methods were evaluated on different revisions of the data of {', '.join(mixed)}.")
    return notes


def _gap_notes(entries: list[Entry], gaps: dict[Entry, list[str]]) -> list[str]:
    return [f"Missing for {entry_name(e, entries)}: {', '.join(gaps[e])}." for e in entries if e in gaps]
