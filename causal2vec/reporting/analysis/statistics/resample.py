"""Bootstrap resamples of a task's scores: one set of drawn items for all runs, so that differences are paired.

Every metric is computed exactly as if each item stood there as often as it was drawn. Counts are arrays of shape
(items, resamples).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from causal2vec.reporting.analysis.statistics.items import Block, Draw

LARGE = {"mean": 20_000, "spearman": 5_000, "max_ap": 5_000, "v_measure": 0}
"""Metric -> the number of items above which jackknife pseudo-values are drawn, not the items themselves."""

BLOCKS = 500
"""How many jackknife pseudo-values there are at most: of single items, or of random blocks of items."""

_CELLS = 1 << 20
"""Items times resamples computed at a time: 8 MB for each of a handful of arrays, and fastest by measurement."""


_TINY = 1e-12


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


# -- scores of drawn items: (runs, resamples) each -------------------------------------------------------


def weighted_scores(metric: str, block: Block, counts: np.ndarray) -> np.ndarray:
    """The scores of a block's runs on resampled items.

    Args:
        metric: One of `causal2vec.reporting.analysis.statistics.items.METRICS`.
        block: The runs and their items.
        counts: (items, resamples) how often each item was drawn; whole numbers.

    Returns:
        (runs, resamples) scores. Where a resample leaves a score undefined, the libraries' own conventions hold:
        0 for an average precision without positives (scikit-learn), 1 for a homogeneity or completeness without
        entropy (scikit-learn); and 0 for a correlation with a constant, which orders nothing. Leaving such
        resamples out, or drawing them again, would bias the interval.
    """
    draws = [_SCORES[metric](draw, counts) for draw in block.draws]
    return np.max(draws, axis=0) if metric == "max_ap" else np.mean(draws, axis=0)


def accumulate(rows: np.ndarray) -> np.ndarray:
    """Cumulative sums down the columns, in place; for wide arrays many times faster than ``numpy.cumsum``."""
    for above, row in pairwise(rows):
        np.add(row, above, out=row)
    return rows


def membership(groups: np.ndarray, values: np.ndarray | None = None, shape: int | None = None) -> sp.csr_matrix:
    """(groups, items) matrix that adds up, by group, what stands for each item (times its value)."""
    items = len(groups)
    weights = np.ones(items) if values is None else values
    height = int(groups.max()) + 1 if shape is None else shape
    return sp.csr_matrix((weights, (groups, np.arange(items))), shape=(height, items))


def dense(values: np.ndarray) -> np.ndarray:
    """Which of the distinct values, in ascending order, each value is."""
    return np.unique(values, return_inverse=True)[1]


def _means(draw: Draw, counts: np.ndarray) -> np.ndarray:
    return (draw.prediction @ counts) / counts.sum(axis=0)


def _midranks(groups: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centred midranks by group of equal values, (groups, resamples), and their sum of squares (resamples,)."""
    drawn = membership(groups) @ counts
    ranks = accumulate(drawn.copy())
    # A group that fills the places c - h + 1 to c has the midrank c - h/2 + 1/2; the mean rank is (n + 1) / 2.
    ranks -= drawn / 2
    ranks -= counts.sum(axis=0) / 2
    return ranks, np.einsum("gb,gb,gb->b", drawn, ranks, ranks)


def _spearman(draw: Draw, counts: np.ndarray) -> np.ndarray:
    gold_groups = dense(draw.target)
    gold, gold_square = _midranks(gold_groups, counts)
    weighted_gold = gold[gold_groups] * counts
    scores = np.zeros((len(draw.prediction), counts.shape[1]))
    for number, prediction in enumerate(draw.prediction):
        groups = dense(prediction)
        ranks, square = _midranks(groups, counts)
        product = np.einsum("gb,gb->b", ranks, membership(groups) @ weighted_gold)
        scale = np.sqrt(square * gold_square)
        np.divide(product, scale, out=scores[number], where=scale > _TINY)
    return scores


def _average_precision(draw: Draw, counts: np.ndarray) -> np.ndarray:
    positive = draw.target == 1
    scores = np.zeros((len(draw.prediction), counts.shape[1]))
    if not positive.any():
        return scores
    positives = counts[positive].sum(axis=0)
    for number, prediction in enumerate(draw.prediction):
        groups, kept = thresholds(dense(-prediction), positive)
        ranked = accumulate(membership(groups[kept], shape=groups.max() + 1) @ counts[kept])
        hits = membership(groups[positive], shape=groups.max() + 1) @ counts[positive]
        precision = accumulate(hits.copy())
        precision /= np.maximum(ranked, 1)
        np.divide(np.einsum("gb,gb->b", hits, precision), positives, out=scores[number], where=positives > 0)
    return scores


def thresholds(groups: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge ranked groups (0 is ranked first) without positives into the next group that has one.

    Average precision adds precisions at thresholds where recall rises, that is, at positives; items in between
    only count towards the next of them, and items below the last of them not at all.

    Returns:
        (items,) merged groups, and (items,) which items count.
    """
    bearing = np.unique(groups[positive])
    merged = np.searchsorted(bearing, groups)
    kept = merged < len(bearing)
    return np.minimum(merged, len(bearing) - 1), kept


def _v_measure(draw: Draw, counts: np.ndarray) -> np.ndarray:
    labels = dense(draw.target)
    by_label = _drawn(labels, draw, counts)
    total = by_label.sum(axis=0)
    # Counts are whole numbers, so n log n is looked up, not computed.
    table = _n_log_n(int(total.max(initial=1)))
    whole = table[total]
    label_entropy = whole - table[by_label].sum(axis=0)
    scores = np.empty((len(draw.prediction), counts.shape[1]))
    for number, prediction in enumerate(draw.prediction):
        clusters = dense(prediction)
        cells = dense(labels * (clusters.max() + 1) + clusters)
        cluster_entropy = whole - table[_drawn(clusters, draw, counts)].sum(axis=0)
        joint_entropy = whole - table[_drawn(cells, draw, counts)].sum(axis=0)
        shared = np.maximum(label_entropy + cluster_entropy - joint_entropy, 0)
        homogeneity, completeness = (
            np.divide(shared, entropy, out=np.ones_like(shared), where=entropy > _TINY * np.maximum(whole, 1))
            for entropy in (label_entropy, cluster_entropy)
        )
        either = homogeneity + completeness
        both = 2 * homogeneity * completeness
        scores[number] = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return scores


def _drawn(groups: np.ndarray, draw: Draw, counts: np.ndarray) -> np.ndarray:
    """How many drawn rows are in each group, (groups, resamples), as whole numbers."""
    shape = (int(groups.max()) + 1, len(counts))
    # A document that a cluster run holds several times counts as often; such entries are added up.
    matrix = sp.csr_matrix((np.ones(len(groups)), (groups, draw.item)), shape=shape)
    return (matrix @ counts).astype(np.intp)


def _n_log_n(largest: int) -> np.ndarray:
    numbers = np.arange(largest + 1, dtype=float)
    return numbers * np.log(np.maximum(numbers, 1))


_SCORES = {
    "mean": _means,
    "spearman": _spearman,
    "max_ap": _average_precision,
    "v_measure": _v_measure,
}
