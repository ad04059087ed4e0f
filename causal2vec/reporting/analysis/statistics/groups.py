"""From tasks to groups of tasks: estimates of entries, differences of pairs, and where entries stand over all tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.analysis.evidence import ALL, Difference, Estimate, Group, Standing
from causal2vec.reporting.analysis.statistics.permutation import holm, p_value
from causal2vec.reporting.analysis.statistics.resample import centred, interval
from causal2vec.reporting.analysis.statistics.task import Pair, TaskScores, TaskStatistics
from causal2vec.reporting.analysis.summary import Entry, Summary, is_untrained, is_variant


@dataclass(frozen=True)
class Results:
    """Everything that groups are made from.

    Attributes:
        summary: The main scores.
        scores: Task -> its scores by run.
        statistics: Task -> what its items say; absent for tasks without items.
        items: Task -> its number of test items.
    """

    summary: Summary
    scores: dict[str, TaskScores]
    statistics: dict[str, TaskStatistics]
    items: dict[str, int]

    def has(self, entry: Entry, tasks: list[str]) -> bool:
        """Whether an entry has every one of these tasks."""
        return all((entry, task) in self.summary.values for task in tasks)

    def by_seed(self, entry: Entry, seeds: list[int], task: str) -> np.ndarray:
        """(seeds,) scores of an entry's runs on a task."""
        return np.array([self.scores[task].score((entry, seed)) for seed in seeds])

    def resamples(self, entry: Entry, seeds: list[int], task: str) -> np.ndarray | None:
        """(seeds, resamples) of an entry's runs on a task; None where no items were kept."""
        found = self.statistics.get(task)
        if found is None or any((entry, seed) not in found.resamples for seed in seeds):
            return None
        return np.stack([found.resamples[entry, seed] for seed in seeds])


def groups_of(summary: Summary, benchmarks: dict[str, list[str]]) -> dict[Group, list[str]]:
    """All groups with their tasks: each task, each type, each benchmark that is wholly there, and everything."""
    groups: dict[Group, list[str]] = {("task", task): [task] for task in summary.tasks}
    groups |= {("type", kind): tasks for kind, tasks in summary.types.items()}
    for name, members in benchmarks.items():
        if not members or not set(members) <= set(summary.tasks):
            continue
        groups["benchmark", name] = [task for task in summary.tasks if task in members]
        for kind, tasks in summary.types.items():
            inside = [task for task in tasks if task in members]
            if inside:
                groups["benchmark_type", f"{name}: {kind}"] = inside
    groups[ALL] = summary.tasks
    return groups


def estimates(results: Results, groups: dict[Group, list[str]]) -> dict[tuple[Entry, Group], Estimate]:
    """Scores with intervals of every entry on every group of which it has all tasks."""
    found = {}
    for entry in results.summary.entries:
        seeds = results.summary.seeds[entry]
        own = [task for task in results.summary.tasks if results.has(entry, [task])]
        scores = {task: results.by_seed(entry, seeds, task) for task in own}
        drawn = {task: results.resamples(entry, seeds, task) for task in own}
        means = {task: rows.mean(axis=0) for task, rows in drawn.items() if rows is not None}
        for group, tasks in groups.items():
            if not set(tasks) <= scores.keys():
                continue
            by_seed = _average(scores, tasks)
            low, high = _bounds(_average(means, tasks)) if set(tasks) <= means.keys() else (math.nan, math.nan)
            items = sum(results.items[task] for task in tasks)
            found[entry, group] = Estimate(float(by_seed.mean()), low, high, len(seeds), items, _spread(by_seed))
    return found


def differences(
    results: Results, pairs: list[Pair], groups: dict[Group, list[str]]
) -> dict[tuple[Entry, Entry, Group], Difference]:
    """Differences of every pair on every group of which both have all tasks."""
    found = {}
    for first, second in pairs:
        seeds = sorted(set(results.summary.seeds[first]) & set(results.summary.seeds[second]))
        shared = [task for task in results.summary.tasks if results.has(first, [task]) and results.has(second, [task])]
        if not seeds or not shared:
            continue
        rows = _pair_differences(_Compared(results, (first, second), seeds, shared), groups)
        corrected = _corrected(rows)
        for group, row in rows.items():
            found[first, second, group] = Difference(**row, p_holm=corrected.get(group, row["p"]))
    return found


class _Compared:
    """The differences of one pair, task by task."""

    def __init__(self, results: Results, pair: Pair, seeds: list[int], tasks: list[str]) -> None:
        self.tasks = tasks
        self.by_seed: dict[str, np.ndarray] = {}
        self.better: dict[str, float] = {}
        self.drawn: dict[str, np.ndarray] = {}
        self.drawn_better: dict[str, np.ndarray] = {}
        self.tested: dict[str, float] = {}
        self.permuted: dict[str, np.ndarray] = {}
        for task in tasks:
            one, two = (results.by_seed(entry, seeds, task) for entry in pair)
            self.by_seed[task] = one - two
            self.better[task] = float(_better(one[:, None], two[:, None])[0])
            first, second = (results.resamples(entry, seeds, task) for entry in pair)
            if first is None or second is None:
                continue
            self.drawn[task] = (first - second).mean(axis=0)
            self.drawn_better[task] = _better(first, second)
            self.tested[task] = results.statistics[task].tested[pair]
            self.permuted[task] = results.statistics[task].permuted[pair]


def _better(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(columns,) share of pairs of rows in which the first is higher, ties half."""
    above = np.sign(one[:, None] - two[None, :])
    return (1 + above.mean(axis=(0, 1))) / 2


def _pair_differences(pair: _Compared, groups: dict[Group, list[str]]) -> dict[Group, dict[str, Any]]:
    rows: dict[Group, dict[str, Any]] = {}
    for group, tasks in groups.items():
        if not set(tasks) <= set(pair.tasks):
            continue
        by_seed = _average(pair.by_seed, tasks)
        p = low = high = better_low = better_high = math.nan
        if set(tasks) <= pair.drawn.keys():
            low, high = _bounds(_average(pair.drawn, tasks))
            better_low, better_high = _bounds(_average(pair.drawn_better, tasks))
            p = p_value(float(np.mean([pair.tested[task] for task in tasks])), _average(pair.permuted, tasks))
        wins = float(np.mean([(1 + np.sign(pair.by_seed[task].mean())) / 2 for task in tasks]))
        rows[group] = {
            "difference": float(by_seed.mean()),
            "low": low,
            "high": high,
            "p": p,
            "seeds": len(by_seed),
            "seeds_above": int((by_seed > 0).sum()),
            "seed_sd": _spread(by_seed),
            "win_rate": math.nan if group[0] == "task" else wins,
            "improvement": float(np.mean([pair.better[task] for task in tasks])),
            "improvement_low": better_low,
            "improvement_high": better_high,
        }
    return rows


def _corrected(rows: dict[Group, dict[str, Any]]) -> dict[Group, float]:
    """Holm's correction over the tasks of a pair; groups are questions of their own and keep their p-value."""
    tasks = [group for group, row in rows.items() if group[0] == "task" and not math.isnan(row["p"])]
    return dict(zip(tasks, holm([rows[group]["p"] for group in tasks]), strict=True))


def _average(values: dict[str, np.ndarray], tasks: list[str]) -> np.ndarray:
    total = values[tasks[0]].copy()
    for task in tasks[1:]:
        total += values[task]
    return total / len(tasks)


def _bounds(resamples: np.ndarray) -> tuple[float, float]:
    low, high = interval(resamples)
    # No score of mteb is above 1, nor any difference beyond 1; only the centring of resamples could lead there.
    return max(float(low), -1.0), min(float(high), 1.0)


def _spread(by_seed: np.ndarray) -> float:
    return float(by_seed.std(ddof=1)) if len(by_seed) > 1 else math.nan


def standings(results: Results, panels: list[Panel]) -> dict[tuple[str, Entry], Standing]:
    """Standings within each panel, of the trained entries and of the untrained ones.

    Entries that lack a task do not take part, nor do ablation variants: they are no rivals but the same method
    again, and would crowd the ranks. Where fewer than two entries are left there is no standing.
    """
    found: dict[tuple[str, Entry], Standing] = {}
    for panel in panels:
        for untrained in (False, True):
            rivals = [
                entry
                for entry in panel.entries
                if is_untrained(entry[0]) == untrained
                and not is_variant(entry[0])
                and results.has(entry, results.summary.tasks)
            ]
            if len(rivals) > 1:
                found |= {(panel.base, entry): row for entry, row in _standings(results, rivals).items()}
    return found


def _standings(results: Results, rivals: list[Entry]) -> dict[Entry, Standing]:
    tasks, seeds = results.summary.tasks, results.summary.seeds
    values = np.array([[results.summary.values[entry, task] for task in tasks] for entry in rivals])
    drawn = [[results.resamples(entry, seeds[entry], task) for task in tasks] for entry in rivals]
    points, ranks = borda(values)
    wins = win_rates(values[:, :, None])[:, 0]
    win_bounds = np.full((2, len(rivals)), math.nan)
    # Rivals are compared on all tasks or none.
    means = [[rows.mean(axis=0) for rows in row if rows is not None] for row in drawn]
    if all(len(row) == len(tasks) for row in means):
        win_bounds = np.stack(interval(win_rates(np.array(means))))
    found = {}
    for i, entry in enumerate(rivals):
        scores = np.concatenate([results.by_seed(entry, seeds[entry], task) for task in tasks])
        iqm = float(interquartile_mean(scores[:, None])[0])
        low, high = _iqm_bounds(iqm, drawn[i])
        found[entry] = Standing(
            iqm=iqm,
            iqm_low=low,
            iqm_high=high,
            win_rate=float(wins[i]),
            win_rate_low=float(win_bounds[0][i]),
            win_rate_high=float(win_bounds[1][i]),
            borda=float(points[i]),
            borda_rank=int(ranks[i]),
            mean_rank=float(rankdata(-values, axis=0)[i].mean()),
        )
    return found


def _iqm_bounds(iqm: float, drawn: list[np.ndarray | None]) -> tuple[float, float]:
    rows = [r for r in drawn if r is not None]
    if len(rows) < len(drawn):
        return math.nan, math.nan
    low, high = interval(centred(np.array(iqm), interquartile_mean(np.concatenate(rows))))
    return float(low), float(high)


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half of each column, as ``scipy.stats.trim_mean(scores, 0.25)``.

    Args:
        scores: (tasks times seeds, columns); the aggregate of rliable (Agarwal et al. 2021).
    """
    cut = int(0.25 * len(scores))
    return np.sort(scores, axis=0)[cut : len(scores) - cut].mean(axis=0)


def win_rates(scores: np.ndarray) -> np.ndarray:
    """Share of (rival, task) pairs that each entry wins, ties half.

    Args:
        scores: (entries, tasks, columns).

    Returns:
        (entries, columns).
    """
    rivals = len(scores) - 1
    above = np.stack([np.sign(own - scores).mean(axis=1).sum(axis=0) for own in scores])
    return (1 + above / rivals) / 2


def borda(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Borda points and ranks as on the MTEB leaderboard.

    On each task an entry gets as many points as there are entries, less its rank (mean rank for ties); the points
    are added up and ranked, equal sums sharing the better rank.

    Args:
        values: (entries, tasks) scores.

    Returns:
        (entries,) points and (entries,) ranks.
    """
    points = (len(values) - rankdata(-values, axis=0)).sum(axis=1)
    return points, rankdata(-points, method="min")
