"""Where entries stand among each other over all tasks: interquartile mean, win rate, Borda points, mean rank."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata

from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.analysis.evidence import Standing
from causal2vec.reporting.analysis.statistics.groups import Results
from causal2vec.reporting.analysis.statistics.resample import centred, interval
from causal2vec.reporting.analysis.summary import Entry, is_untrained, is_variant


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
    means = np.array([[r.mean(axis=0) if r is not None else [math.nan] for r in row] for row in _even(drawn)])
    win_bounds = interval(win_rates(means)) if not np.isnan(means).any() else np.full((2, len(rivals)), math.nan)
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
            mean_rank=float(_ranks(values)[i].mean()),
        )
    return found


def _even(drawn: list[list[np.ndarray | None]]) -> list[list[np.ndarray | None]]:
    """All None where any is, since rivals are compared on all tasks or none."""
    complete = all(rows is not None for row in drawn for rows in row)
    return drawn if complete else [[None for _ in row] for row in drawn]


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


def _ranks(values: np.ndarray) -> np.ndarray:
    """(entries, tasks) ranks within each task; 1 is best, ties share their mean."""
    return rankdata(-values, axis=0)


def borda(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Borda points and ranks as on the MTEB leaderboard.

    On each task an entry gets as many points as there are entries, less its rank (mean rank for ties); the points
    are added up and ranked, equal sums sharing the better rank.

    Args:
        values: (entries, tasks) scores.

    Returns:
        (entries,) points and (entries,) ranks.
    """
    points = (len(values) - _ranks(values)).sum(axis=1)
    return points, rankdata(-points, method="min")
