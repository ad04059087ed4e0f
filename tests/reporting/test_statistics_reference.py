"""Every statistic against an independent implementation, or against a truth that the test made itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, v_measure_score

from causal2vec.reporting.analysis.statistics.groups import borda, interquartile_mean, win_rates
from causal2vec.reporting.analysis.statistics.items import Block, Draw
from causal2vec.reporting.analysis.statistics.permutation import _swap_precision, _swap_spearman, holm, p_value, permute
from causal2vec.reporting.analysis.statistics.resample import (
    BLOCKS,
    LARGE,
    centred,
    draw_counts,
    interval,
    pseudo_values,
    resample,
    weighted_scores,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::scipy.stats.ConstantInputWarning",
    "ignore:No positive class:UserWarning",
    "ignore:A single label was found:UserWarning",
    f"ignore::{UndefinedMetricWarning.__module__}.UndefinedMetricWarning",
    "ignore:invalid value:RuntimeWarning",
)


def block_of(*draws, items=None):
    return Block([(("m", "b"), k) for k in range(len(draws[0].prediction))], items or len(draws[0].target), list(draws))


def spearman(prediction, target):
    return np.nan_to_num(stats.spearmanr(prediction, target).statistic)


@st.composite
def cases(draw):
    """Items with few or many ties, and counts that leave some items out and repeat others."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, levels = draw(st.integers(2, 25)), draw(st.sampled_from([1, 2, 3, 8, 1000]))
    prediction = rng.integers(0, levels, size=(3, 2, n)) / 7
    return rng, n, levels, prediction, draw_counts(rng, n, 4)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_weighted_scores_are_those_of_repeated_items(case):
    rng, n, levels, prediction, counts = case
    repeated = [np.repeat(np.arange(n), c.astype(int)) for c in counts.T]
    gold, positive = rng.integers(0, levels, n) / 3, rng.integers(0, 2, n).astype(float)
    every = np.arange(n)

    found = weighted_scores("mean", block_of(Draw("", every, gold, prediction[0])), counts)
    np.testing.assert_allclose(found, [[p[r].mean() for r in repeated] for p in prediction[0]], atol=1e-12)

    found = weighted_scores("spearman", block_of(Draw("", every, gold, prediction[0])), counts)
    expected = [[spearman(p[r], gold[r]) for r in repeated] for p in prediction[0]]
    np.testing.assert_allclose(found, expected, atol=1e-12)

    found = weighted_scores("max_ap", block_of(*(Draw(str(d), every, positive, prediction[d]) for d in (0, 1))), counts)
    expected = [
        [max(average_precision_score(positive[r], prediction[d, m][r]) for d in (0, 1)) for r in repeated]
        for m in (0, 1)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_weighted_v_measure_is_that_of_repeated_documents(case):
    rng, n, levels, _, counts = case
    documents = rng.integers(0, n, size=(2, 2 * n))  # with replacement, as mteb draws them
    labels, clusters = rng.integers(0, min(levels, 8), 2 * n), rng.integers(0, 5, size=(2, 2, 2 * n))
    found = weighted_scores(
        "v_measure",
        block_of(*(Draw(str(d), documents[d], labels.astype(float), clusters[d]) for d in (0, 1)), items=n),
        counts,
    )
    for m in (0, 1):
        for b in range(counts.shape[1]):
            times = [counts[documents[d], b].astype(int) for d in (0, 1)]
            both = [v_measure_score(np.repeat(labels, times[d]), np.repeat(clusters[d, m], times[d])) for d in (0, 1)]
            assert found[m, b] == pytest.approx(np.mean(both), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_swapped_metrics_are_those_of_swapped_ranks(case):
    rng, n, levels, prediction, _ = case
    gold, positive = rng.integers(0, levels, n) / 3, rng.integers(0, 2, n).astype(float)
    positive[0] = 1
    swaps = rng.integers(0, 2, size=(n, 5)).astype(np.float32)
    ranks = [np.stack([2 * stats.rankdata(p) for p in of_draw]).astype(np.int64) for of_draw in prediction]
    first = [np.where(swaps.T == 1, r[1], r[0]) for r in ranks]
    second = [np.where(swaps.T == 1, r[0], r[1]) for r in ranks]

    draws = [Draw(str(d), np.arange(n), gold, prediction[d]) for d in range(3)]
    found = _swap_spearman(draws, ranks, (0, 1), swaps, swaps.astype(float))
    expected = [spearman(a, gold) - spearman(b, gold) for a, b in zip(first[0], second[0], strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)

    draws = [Draw(str(d), np.arange(n), positive, prediction[d]) for d in range(3)]
    found = _swap_precision(draws, ranks, (0, 1), swaps, swaps.astype(float))

    def best(rows, permutation):
        return max(average_precision_score(positive, of_draw[permutation]) for of_draw in rows)

    expected = [best(first, k) - best(second, k) for k in range(5)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_undefined_resamples_follow_the_stated_conventions():
    every, counts = np.arange(3), np.array([[3.0], [0.0], [0.0]])
    prediction = np.array([[0.1, 0.2, 0.3]])
    assert weighted_scores("spearman", block_of(Draw("", every, np.array([1.0, 2, 3]), prediction)), counts) == 0
    assert weighted_scores("max_ap", block_of(Draw("", every, np.array([0.0, 1, 1]), prediction)), counts) == 0
    assert weighted_scores("max_ap", block_of(Draw("", every, np.zeros(3), prediction)), counts) == 0
    assert weighted_scores("v_measure", block_of(Draw("", every, np.array([0.0, 1, 1]), prediction)), counts) == 1


def test_mean_interval_agrees_with_scipy_bootstrap():
    rng = np.random.default_rng(0)
    values = rng.beta(2, 3, size=300)
    mine = interval(resample("mean", block_of(Draw("", np.arange(300), values, values[None])), 4000, rng).resamples[0])
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    np.testing.assert_allclose(mine, theirs, atol=0.0025)


def test_sign_flips_agree_with_scipy_permutation_test():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 40)) + np.array([[0.35], [0.0]])
    block = block_of(Draw("", np.arange(40), np.zeros(40), values))
    drawn = resample("mean", block, 100, rng)
    (tested,), (permuted,) = permute("mean", block, drawn, [[(0, 1)]], 9999, rng)
    theirs = stats.permutation_test(
        (values[0], values[1]), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=9999, rng=1
    )
    assert tested == pytest.approx(theirs.statistic)
    assert p_value(tested, permuted) == pytest.approx(theirs.pvalue, abs=0.012)


def test_seeds_that_share_items_share_the_flips():
    values = np.random.default_rng(0).normal(size=30)
    prediction = np.stack([values, values, np.zeros(30), np.zeros(30)])
    block = block_of(Draw("", np.arange(30), np.zeros(30), prediction))
    one = permute("mean", block, resample("mean", block, 100, np.random.default_rng(1)), [[(0, 2)]], 500,
                  np.random.default_rng(2))  # fmt: skip
    two = permute("mean", block, resample("mean", block, 100, np.random.default_rng(1)), [[(0, 2), (1, 3)]], 500,
                  np.random.default_rng(2))  # fmt: skip
    # A second run with the very same results is no new evidence.
    np.testing.assert_allclose(one[1], two[1])


@pytest.mark.parametrize("metric", ["mean", "spearman", "max_ap"])
def test_blocks_of_many_items_give_the_same_spread(metric):
    rng = np.random.default_rng(3)
    n = BLOCKS * 6 + 7
    target = (rng.random(n) < 0.4).astype(float) if metric == "max_ap" else rng.normal(size=n)
    block = block_of(Draw("", np.arange(n), target, target + rng.normal(size=(1, n))))
    assert n < LARGE[metric]
    singly = resample(metric, block, 400, rng)
    pseudo = pseudo_values(metric, block, singly.scores, rng)
    assert pseudo.mean() == pytest.approx(singly.scores[0], abs=0.05 * singly.resamples.std())
    assert pseudo.std() / np.sqrt(BLOCKS) == pytest.approx(singly.resamples.std(), rel=0.15)


def test_holm_by_hand_and_by_statsmodels():
    # Sorted .01 .02 .03 .04: times 4, 3, 2, 1, and never falling.
    assert holm([0.02, 0.01, 0.04, 0.03]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    values = list(np.random.default_rng(0).uniform(0, 0.2, size=20))
    np.testing.assert_allclose(holm(values), multitest.multipletests(values, method="holm")[1])


def test_p_value_counts_the_data_themselves_and_ties():
    assert p_value(0.3, np.array([0.3, -0.3, 0.1, 0.4])) == 4 / 5
    assert p_value(1.0, np.zeros(99)) == 0.01


def test_borda_as_on_the_leaderboard():
    # Three models; task 1: 1st 2nd 3rd; task 2: models 0 and 1 tie for the first rank (1.5 each).
    points, ranks = borda(np.array([[0.9, 0.5], [0.8, 0.5], [0.1, 0.2]]))
    assert points.tolist() == [2 + 1.5, 1 + 1.5, 0]
    assert ranks.tolist() == [1, 2, 3]
    points, ranks = borda(np.array([[0.9, 0.1], [0.1, 0.9], [0.0, 0.0]]))
    assert (points.tolist(), ranks.tolist()) == ([3, 3, 0], [1, 1, 3])  # method "min"


def test_interquartile_mean_and_win_rates():
    scores = np.random.default_rng(0).normal(size=(21, 3))
    np.testing.assert_allclose(interquartile_mean(scores), stats.trim_mean(scores, 0.25))
    rates = win_rates(np.array([[[0.9], [0.5]], [[0.8], [0.5]], [[0.1], [0.2]]]))[:, 0]
    assert rates == pytest.approx([3.5 / 4, 2.5 / 4, 0])


def test_centring_moves_but_does_not_stretch():
    resamples = np.array([[1.0, 2.0, 6.0]])
    np.testing.assert_allclose(centred(np.array([5.0]), resamples), [[3.0, 4.0, 8.0]])
