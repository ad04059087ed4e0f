"""Bootstrap resamples of a task's scores: one set of drawn items for all runs, so that differences are paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causal2vec.reporting.analysis.statistics.items import Block
from causal2vec.reporting.analysis.statistics.weighted import weighted_scores

LARGE = {"mean": 20_000, "spearman": 5_000, "max_ap": 5_000, "v_measure": 0}
"""Metric -> the number of items above which jackknife pseudo-values are drawn, not the items themselves."""

BLOCKS = 500
"""How many jackknife pseudo-values there are at most: of single items, or of random blocks of items."""

_CELLS = 1 << 20
"""Items times resamples computed at a time: 8 MB for each of a handful of arrays, and fastest by measurement."""


@dataclass(frozen=True)
class Resampled:
    """A block's scores and their resamples.

    Attributes:
        scores: (runs,) the scores themselves.
        resamples: (runs, resamples) the scores of resampled items.
        pseudo: (runs, units) jackknife pseudo-values where these were drawn, else None.
    """

    scores: np.ndarray
    resamples: np.ndarray
    pseudo: np.ndarray | None = None


def resample(metric: str, block: Block, resamples: int, rng: np.random.Generator) -> Resampled:
    """Draw a block's items with replacement, ``resamples`` times, and score all its runs on every draw.

    Above `LARGE` items, jackknife pseudo-values take the place of items: n times the score less (n - 1) times the
    score without one item, or without one of `BLOCKS` random blocks of items. Their spread is that of the score
    (for a mean they are the items, or the blocks' means). For the V-measure this holds for any number of items:
    drawing documents with replacement repeats some, and repeated documents are always clustered alike, which
    makes clusters look purer and the spread smaller than new documents would.
    """
    scores = weighted_scores(metric, block, np.ones((block.items, 1)))[:, 0]
    if block.items > LARGE[metric]:
        pseudo = pseudo_values(metric, block, scores, rng)
        units = pseudo.shape[1]
        return Resampled(scores, pseudo @ draw_counts(rng, units, resamples) / units, pseudo)
    result = np.empty((len(block.runs), resamples))
    for chunk in chunks(resamples, block.items):
        counts = draw_counts(rng, block.items, chunk.stop - chunk.start)
        result[:, chunk] = weighted_scores(metric, block, counts)
    return Resampled(scores, result)


def chunks(resamples: int, items: int) -> list[slice]:
    """Slices of the resamples, small enough for the memory."""
    size = max(1, _CELLS // max(items, 1))
    return [slice(start, min(start + size, resamples)) for start in range(0, resamples, size)]


def draw_counts(rng: np.random.Generator, items: int, resamples: int) -> np.ndarray:
    """(items, resamples) how often each item is drawn when ``items`` are drawn with replacement."""
    drawn = rng.integers(0, items, size=(resamples, items))
    drawn += np.arange(resamples)[:, None] * items
    counts = np.bincount(drawn.ravel(), minlength=resamples * items).reshape(resamples, items)
    return np.ascontiguousarray(counts.T, dtype=float)


def pseudo_values(metric: str, block: Block, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(runs, units) jackknife pseudo-values of single items or, if there are many, of `BLOCKS` random blocks."""
    units = min(block.items, BLOCKS)
    member = rng.permutation(block.items) % units
    left_out = np.empty((len(block.runs), units))
    for chunk in chunks(units, block.items):
        counts = (member[:, None] != np.arange(units)[chunk]).astype(float)
        left_out[:, chunk] = weighted_scores(metric, block, counts)
    return units * scores[:, None] - (units - 1) * left_out


def centred(scores: np.ndarray, resamples: np.ndarray) -> np.ndarray:
    """Move each row of resamples so that its mean is the score.

    A resample repeats items, which biases scores that are not means: of several similarity functions the best is
    chosen on the resample itself, for instance. The move takes this bias of resampling out and leaves the spread.
    """
    return resamples + (scores - resamples.mean(axis=-1))[..., None]


def interval(resamples: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper percentiles that enclose ``level`` of the resamples, along the last axis."""
    low, high = np.quantile(resamples, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return low, high
