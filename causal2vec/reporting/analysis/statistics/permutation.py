"""Paired permutation: what differences between two runs chance alone would make."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.stats import rankdata

from causal2vec.reporting.analysis.statistics.items import Block, Draw
from causal2vec.reporting.analysis.statistics.resample import (
    Resampled,
    accumulate,
    chunks,
    pseudo_values,
    thresholds,
)

BUDGET = 1e9
"""Pairs of runs times draws, items and permutations up to which metrics are computed anew: about five seconds."""

RunPair = tuple[int, int]
"""Two of a block's runs, of the same seed, by their positions."""

Comparison = list[RunPair]
"""The runs of two entries, paired by seed; their differences are averaged."""

Permuted = tuple[np.ndarray, np.ndarray]
"""(comparisons,) tested differences and (comparisons, permutations) what permutation makes of them."""


def permute(
    metric: str,
    block: Block,
    resampled: Resampled,
    comparisons: list[Comparison],
    permutations: int,
    rng: np.random.Generator,
) -> Permuted:
    """The differences of paired runs, and their distribution if the two entries were interchangeable.

    Seeds that share items share the swaps as well: an item is one piece of evidence however many runs saw it.

    - "mean": the sign of each item's difference is flipped at random.
    - "spearman", "max_ap": the two predictions of each item are swapped at random, after each method's
      predictions were replaced by their ranks, since similarities of two methods are on different scales.
      The metric is computed anew for every permutation.
    - "v_measure", and the former on many items or beyond the `BUDGET`: the signs of the differences of
      jackknife pseudo-values are flipped. Cluster numbers of two methods mean different things and cannot be
      swapped; flipping whole cluster runs would take runs on the same documents for independent evidence.
    """
    tested = _differences(resampled.scores[:, None], comparisons)[:, 0]
    if resampled.pseudo is not None:
        return tested, _flip(resampled.pseudo, comparisons, permutations, rng)
    if metric == "mean":
        return tested, _flip(block.draws[0].prediction, comparisons, permutations, rng)
    if beyond_budget(metric, block, comparisons, permutations):
        pseudo = pseudo_values(metric, block, resampled.scores, rng)
        return tested, _flip(pseudo, comparisons, permutations, rng)
    swap = _swap_spearman if metric == "spearman" else _swap_precision
    ranks = [np.stack([2 * rankdata(p) for p in draw.prediction]).astype(np.int64) for draw in block.draws]
    result = np.zeros((len(comparisons), permutations), dtype=np.float32)
    for chunk in chunks(permutations, block.items):
        swaps = rng.integers(0, 2, size=(block.items, chunk.stop - chunk.start), dtype=np.int8).astype(np.float32)
        exact = swaps.astype(float)
        for number, comparison in enumerate(comparisons):
            for pair in comparison:
                result[number, chunk] += swap(block.draws, ranks, pair, swaps, exact) / len(comparison)
    return tested, result


def beyond_budget(metric: str, block: Block, comparisons: list[Comparison], permutations: int) -> bool:
    """Whether computing the metric anew for every permutation would take too long."""
    pairs = sum(len(comparison) for comparison in comparisons)
    return metric in ("spearman", "max_ap") and pairs * len(block.draws) * block.items * permutations > BUDGET


def _differences(values: np.ndarray, comparisons: list[Comparison]) -> np.ndarray:
    """(comparisons, columns) mean differences of paired rows."""
    return np.stack([np.mean([values[a] - values[b] for a, b in pairs], axis=0) for pairs in comparisons])


def _flip(values: np.ndarray, comparisons: list[Comparison], permutations: int, rng: np.random.Generator) -> np.ndarray:
    """(comparisons, permutations) mean differences of paired rows after flipping the signs of columns."""
    differences = _differences(values, comparisons)
    units = differences.shape[1]
    result = np.empty((len(comparisons), permutations), dtype=np.float32)
    for chunk in chunks(permutations, units):
        signs = rng.integers(0, 2, size=(units, chunk.stop - chunk.start), dtype=np.int8) * 2.0 - 1
        result[:, chunk] = differences @ signs / units
    return result


def _swap_spearman(
    draws: list[Draw], ranks: list[np.ndarray], pair: RunPair, swaps: np.ndarray, exact: np.ndarray
) -> np.ndarray:
    """(permutations,) differences of two rank correlations after swapping ranks.

    With A' and B' the swapped predictions, e counts by which A' has more items at each rank than A, and B' fewer
    than B; v does the same for the gold scores of these items. Midranks, sums of squares and products follow from
    cumulative sums of e and from v, without sorting anything again.
    """
    first, second = (ranks[0][run] for run in pair)
    gold = rankdata(draws[0].target)
    gold -= gold.mean()
    values = np.unique(np.concatenate([first, second]))
    a, b = np.searchsorted(values, first), np.searchsorted(values, second)
    moved = _exchange(a, b, len(values))
    e, v = moved @ swaps, (moved @ sp.diags_array(gold.astype(np.float32))).tocsr() @ swaps
    counts = np.stack([np.bincount(x, minlength=len(values)) for x in (a, b)]).astype(float)
    golds = np.stack([np.bincount(x, weights=gold, minlength=len(values)) for x in (a, b)])
    middles = np.cumsum(counts, axis=1) - counts / 2 - len(gold) / 2
    # What is linear in the swaps is exact; the rest is small, so that single precision does for it.
    onward = np.cumsum(golds[:, ::-1], axis=1)[:, ::-1] - golds / 2
    exchanged = moved.T.astype(float)
    linear = ((exchanged @ middles.T) * gold[:, None] + exchanged @ onward.T).T @ exact
    squares = (exchanged @ (counts**2).T).T @ exact
    shift = accumulate(e.copy())
    shift -= e / 2
    crossed = np.einsum("gp,gp->p", shift, v)
    square = np.multiply(e, e, out=shift)
    cube = np.einsum("gp,gp->p", square, e)
    singles = counts.astype(np.float32) @ square
    result = np.zeros(swaps.shape[1])
    for i, sign in enumerate((1, -1)):
        product = middles[i] @ golds[i] + sign * linear[i] + crossed
        # The sum of squares of midranks is (n^3 - sum of h^3) / 12 over groups of h equal values.
        cubes = (counts[i] ** 3).sum() + 3 * (sign * squares[i] + singles[i]) + sign * cube
        scale = np.sqrt(np.maximum((len(gold) ** 3 - cubes) / 12, 0) * (gold @ gold))
        result += sign * np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    return result


def _exchange(a: np.ndarray, b: np.ndarray, groups: int) -> sp.csr_matrix:
    """(groups, items) matrix: what a swap of each item adds to the groups of the first's values."""
    items = np.arange(len(a))
    values = np.repeat(np.array([1, -1], dtype=np.float32), len(a))
    return sp.csr_matrix((values, (np.concatenate([b, a]), np.tile(items, 2))), shape=(groups, len(a)))


def _swap_precision(
    draws: list[Draw], ranks: list[np.ndarray], pair: RunPair, swaps: np.ndarray, _exact: np.ndarray
) -> np.ndarray:
    """(permutations,) differences of two maxima over draws of average precision, after swapping ranks."""
    positive = draws[0].target == 1
    if not positive.any():
        return np.zeros(swaps.shape[1])
    found = {}
    for of_draw in ranks:
        first, second = (of_draw[run] for run in pair)
        key = first.tobytes() + second.tobytes()
        # Similarity functions that rank alike (cosine and dot product of unit vectors) need computing but once.
        if key not in found:
            found[key] = _swapped_precisions(first, second, positive, swaps)
    best = np.max(list(found.values()), axis=0)
    return best[0] - best[1]


def _swapped_precisions(first: np.ndarray, second: np.ndarray, positive: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """(2, permutations) average precisions of both methods after swapping."""
    items = len(first)
    both, ranked = thresholds(-np.concatenate([first, second]) + 2 * items, np.tile(positive, 2))
    height = int(both.max()) + 1
    # One more group takes the items that rank below the last positive and count for nothing.
    a, b = np.split(np.where(ranked, both, height), 2)
    moved = _exchange(a, b, height + 1)[:height]
    more = accumulate(moved @ swaps)
    more_hits = moved[:, positive] @ swaps[positive]
    more_found = accumulate(more_hits.copy())
    result = []
    for sign, groups in ((1, a), (-1, b)):
        count, hits = (
            np.bincount(chosen, minlength=height + 1)[:height, None].astype(np.float32)
            for chosen in (groups, groups[positive])
        )
        # Adding or taking away what the swaps moved, without a copy of it.
        add = np.add if sign > 0 else np.subtract
        ranked = add(np.cumsum(count, axis=0), more)
        precision = add(np.cumsum(hits, axis=0), more_found)
        precision /= np.maximum(ranked, 1, out=ranked)
        precision *= add(hits, more_hits, out=ranked)
        result.append(precision.sum(axis=0, dtype=np.float64) / positive.sum())
    return np.stack(result)


def p_value(tested: float, permuted: np.ndarray) -> float:
    """Two-sided p-value (1 + hits) / (1 + permutations); rounding does not make a tie a miss."""
    hits = np.count_nonzero(np.abs(permuted) >= abs(tested) - 1e-6)
    return (1 + hits) / (1 + len(permuted))


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979): controls the chance of any false positive among these tests."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[number]))
        corrected[number] = largest
    return corrected
