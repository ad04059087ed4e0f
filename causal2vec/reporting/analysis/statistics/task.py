"""All that one task's items say: resampled scores of every run, permuted differences of every pair."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.statistics.items import Part, Run, read_items
from causal2vec.reporting.analysis.statistics.permutation import Comparison, beyond_budget, permute
from causal2vec.reporting.analysis.statistics.resample import BLOCKS, LARGE, centred, resample
from causal2vec.reporting.analysis.summary import Entry

TOLERANCE = 1e-5
"""How far a score may lie from the score that its items give."""

Pair = tuple[Entry, Entry]
"""Two entries that are compared."""

PartScores = dict[tuple[str, str], float]
"""(split, subset) -> score of a run."""


@dataclass(frozen=True)
class TaskScores:
    """What ``scores.csv`` says of one task.

    Attributes:
        task: The task.
        runs: Run -> its score by part, for entries that have the whole task.
        known: All runs with some score of this task.
    """

    task: str
    runs: dict[Run, PartScores]
    known: frozenset[Run]

    def score(self, run: Run) -> float:
        """A run's score: the mean over the parts."""
        return float(np.mean(list(self.runs[run].values())))


@dataclass(frozen=True)
class TaskStatistics:
    """What resampling and permuting one task's items gives.

    Attributes:
        resamples: Run -> (resamples,) its scores on resampled items, with the score itself as their mean.
        tested: Pair -> the difference that is tested.
        permuted: Pair -> (permutations,) the differences under permutation, in single precision.
        metrics: The metrics of the task's parts.
        flipped: Whether signs were flipped where recomputing the metric would have taken too long.
        grouped: Whether items were resampled in random blocks, since there are many.
    """

    resamples: dict[Run, np.ndarray]
    tested: dict[Pair, float]
    permuted: dict[Pair, np.ndarray]
    metrics: list[str]
    flipped: bool
    grouped: bool


def task_statistics(path: Path, scores: TaskScores, pairs: list[Pair], resamples: int, seed: int) -> TaskStatistics:
    """Resample and permute the items of one task.

    Entries without any items (imported scores) are left out; each part has its own generator, seeded by ``seed``
    and by the names of task, split and subset, so that neither the order nor the other tasks matter.

    Raises:
        UserError: The items do not fit each other or the scores.
    """
    parts = read_items(path)
    aggregate = _is_aggregate(parts, scores)
    present = _check_runs(path, parts, scores, aggregate)
    seeds = {entry: {s for e, s in present if e == entry} for entry, _ in present}
    common = {pair: sorted(seeds[pair[0]] & seeds[pair[1]]) for pair in pairs if set(pair) <= seeds.keys()}
    common = {pair: shared for pair, shared in common.items() if shared}
    totals = {run: np.zeros(resamples) for run in present}
    whole = dict.fromkeys(present, 0.0)
    tested = dict.fromkeys(common, 0.0)
    permuted = {pair: np.zeros(resamples, dtype=np.float32) for pair in common}
    flipped = False
    for part in parts:
        rng = _generator(seed, scores.task, part)
        for block in part.blocks:
            place = {run: row for row, run in enumerate(block.runs)}
            drawn = resample(part.metric, block, resamples, rng)
            _check_scores(path, part, place, drawn.scores, scores)
            for run in place.keys() & present:
                totals[run] += drawn.resamples[place[run]] / len(parts)
                whole[run] += drawn.scores[place[run]] / len(parts)
            of_pair = {pair: _rows(pair, shared, place) for pair, shared in common.items()}
            of_pair = {pair: rows for pair, rows in of_pair.items() if rows}
            if not of_pair:
                continue
            flipped |= beyond_budget(part.metric, block, list(of_pair.values()), resamples)
            differences, chance = permute(part.metric, block, drawn, list(of_pair.values()), resamples, rng)
            for row, (pair, rows) in enumerate(of_pair.items()):
                share = len(rows) / len(common[pair]) / len(parts)
                tested[pair] += share * float(differences[row])
                permuted[pair] += np.float32(share) * chance[row]
    if aggregate:
        _check_aggregate(path, whole, scores)
    moved = {run: centred(np.array(scores.score(run)), total) for run, total in totals.items()}
    grouped = any(block.items > max(BLOCKS, LARGE[part.metric]) for part in parts for block in part.blocks)
    return TaskStatistics(moved, tested, permuted, sorted({part.metric for part in parts}), flipped, grouped)


def _generator(seed: int, task: str, part: Part) -> np.random.Generator:
    name = "\0".join((task, part.split, part.subset))
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(digest[:8], "big")]))


def _rows(pair: Pair, seeds: list[int], place: dict[Run, int]) -> Comparison:
    first, second = pair
    return [(place[first, s], place[second, s]) for s in seeds if (first, s) in place and (second, s) in place]


def _is_aggregate(parts: list[Part], scores: TaskScores) -> bool:
    """Whether the items are those of other tasks whose scores this one averages, such as CQADupstackRetrieval."""
    return not {(part.split, part.subset) for part in parts} & {name for own in scores.runs.values() for name in own}


def _check_aggregate(path: Path, found: dict[Run, float], scores: TaskScores) -> None:
    for run, value in sorted(found.items()):
        if abs(value - scores.score(run)) > TOLERANCE:
            raise _other_score(path, run, f"task {scores.task!r}", value, scores.score(run))


def _other_score(path: Path, run: Run, of: str, value: float, expected: float) -> UserError:
    return UserError(
        f"{path}: the items of {_named(run)} give {of} a score of {value:.6f}, but scores.csv says {expected:.6f}; "
        "evaluate this model again and collect the scores"
    )


def _named(run: Run) -> str:
    (method, base), seed = run
    return f"method {method!r}, base {base!r}, seed {seed}"


def _check_runs(path: Path, parts: list[Part], scores: TaskScores, aggregate: bool) -> set[Run]:
    """The runs with items in all parts, of entries that have the whole task.

    Raises:
        UserError: There are items without scores, or an entry has items for some of its scores only.
    """
    with_items = {(run, (part.split, part.subset)) for part in parts for run in part.runs}
    unknown = sorted({run for run, _ in with_items} - scores.known)
    if unknown:
        raise UserError(
            f"{path} holds items of {_named(unknown[0])}, of which scores.csv has no score of task {scores.task!r}; "
            "collect the scores again"
        )
    entries = {entry for (entry, _), _ in with_items}
    for run, own in sorted(scores.runs.items()):
        missing = sorted(part for part in own if (run, part) not in with_items)
        if run[0] in entries and missing and not aggregate:
            split, subset = missing[0]
            raise UserError(
                f"{path} lacks the items of {_named(run)} for split {split!r}, subset {subset!r}; evaluate this model "
                f"on task {scores.task!r} again"
            )
    return {run for run in scores.runs if run[0] in entries}


def _check_scores(path: Path, part: Part, place: dict[Run, int], found: np.ndarray, scores: TaskScores) -> None:
    for run, row in sorted(place.items()):
        expected = scores.runs.get(run, {}).get((part.split, part.subset))
        if expected is None or abs(found[row] - expected) <= TOLERANCE:
            continue
        of = f"task {scores.task!r} (split {part.split!r}, subset {part.subset!r})"
        raise _other_score(path, run, of, found[row], expected)
