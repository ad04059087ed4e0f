"""Do 95 % intervals hold the truth 95 times in 100, and does the test of no difference reject 5 times in 100?"""

import zlib

import numpy as np
import pytest

from causal2vec.reporting.analysis.statistics.items import Block, Draw
from causal2vec.reporting.analysis.statistics.permutation import p_value, permute
from causal2vec.reporting.analysis.statistics.resample import centred, interval, resample, weighted_scores

ITEMS = {"mean": 60, "spearman": 60, "max_ap": 150, "v_measure": 60}
STUDIES = 400
RESAMPLES = 200
RUNS = [(("one", "b"), 0), (("two", "b"), 0)]


def made(metric, rng, better, n):
    """A test set of two methods; the first is ``better`` times as strong as the second."""
    strength = np.array([[better], [1.0]])
    every, shared, own = np.arange(n), rng.normal(size=n), rng.normal(size=(2, n))
    if metric == "mean":
        latent = shared + strength + own
        return Block(RUNS, n, [Draw("", every, np.full(n, np.nan), np.where(latent > 0, 1 / (1 + np.exp(-latent)), 0))])
    if metric == "spearman":
        gold = np.round(rng.uniform(0, 5, n), 1)
        return Block(RUNS, n, [Draw("", every, gold, strength * (gold - 2.5) + 1.2 * shared + 1.2 * own)])
    if metric == "max_ap":
        positive = (rng.random(n) < 0.3).astype(float)
        latent = strength * positive + 0.7 * shared + 0.7 * own
        return Block(RUNS, n, [Draw(str(d), every, positive, latent + 0.1 * rng.normal(size=(2, n))) for d in range(3)])
    # A document is easy or hard for a method in all of its cluster runs, as its embedding stays the same.
    labels, draws = rng.integers(0, 8, n), []
    for run in range(10):
        seen = rng.integers(0, n, n)
        hit = 0.8 * shared[seen] + own[:, seen] + 0.5 * rng.normal(size=(2, n)) + strength > 0.5
        wrong = (labels[seen] + 1 + (np.abs(own[:, seen]) * 1000).astype(int) % 7) % 8
        draws.append(Draw(str(run), seen, labels[seen].astype(float), np.where(hit, labels[seen], wrong)))
    return Block(RUNS, n, draws)


def simulate(metric, better, studies=STUDIES, items=None):
    """How often the truth is inside the interval of a score and of a difference, and how often p is below 0.05."""
    rng = np.random.default_rng(zlib.crc32(f"{metric} {better}".encode()))
    n = items or ITEMS[metric]
    scores = [weighted_scores(metric, made(metric, rng, better, n), np.ones((n, 1)))[:, 0] for _ in range(3 * studies)]
    truth = np.mean(scores, axis=0)
    inside, rejected = np.zeros(2), 0
    for _ in range(studies):
        block = made(metric, rng, better, n)
        drawn = resample(metric, block, RESAMPLES, rng)
        resamples = centred(drawn.scores, drawn.resamples)
        for place, (values, true) in enumerate(
            [(resamples[0], truth[0]), (resamples[0] - resamples[1], truth[0] - truth[1])]
        ):
            low, high = interval(values)
            inside[place] += low <= true <= high
        tested, permuted = permute(metric, block, drawn, [[(0, 1)]], RESAMPLES, rng)
        rejected += p_value(float(tested[0]), permuted[0]) <= 0.05
    return (*inside / studies, rejected / studies)


@pytest.mark.parametrize("metric", ["mean", "spearman", "max_ap"])
def test_intervals_cover_and_the_test_keeps_its_error_rate(metric):
    score, difference, rejected = simulate(metric, 1.0)
    assert 0.92 <= score <= 0.98
    assert 0.92 <= difference <= 0.98
    assert 0.02 <= rejected <= 0.08


@pytest.mark.parametrize(("metric", "better"), [("mean", 1.8), ("spearman", 1.6), ("max_ap", 2.2)])
def test_differences_are_covered_and_found_where_there_are_some(metric, better):
    score, difference, rejected = simulate(metric, better, 200)
    assert 0.9 <= score <= 0.99
    assert 0.9 <= difference <= 0.99
    assert rejected > 0.5


def test_clustering_intervals_hold_although_documents_repeat():
    # The plain bootstrap covers the score in under two thirds of these studies.
    score, difference, rejected = simulate("v_measure", 1.0, 60)
    assert score >= 0.85
    assert difference >= 0.85
    assert rejected <= 0.15
