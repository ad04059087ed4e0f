"""Whatever the scores are: intervals hold the estimate, p-values are probabilities, the order of rows is irrelevant."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from causal2vec.reporting.analysis.statistics.items import Block, Draw
from causal2vec.reporting.analysis.statistics.permutation import holm, p_value, permute
from causal2vec.reporting.analysis.statistics.resample import centred, interval, resample, weighted_scores
from causal2vec.reporting.analysis.statistics.task import TaskScores, task_statistics

METRICS = ("mean", "spearman", "max_ap", "v_measure")
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
probabilities = st.floats(1e-6, 1)


@st.composite
def blocks(draw: st.DrawFn, metric: str) -> Block:
    """Two runs on up to 40 items, with many ties or none, with rare labels or none at all."""
    n = draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 3, 50]))
    prediction = rng.integers(0, levels, (2, n)) / levels
    target = {
        "mean": np.full(n, np.nan),
        "spearman": rng.integers(0, levels, n) / 2,
        "max_ap": (rng.random(n) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))).astype(float),
        "v_measure": rng.integers(0, draw(st.integers(1, 5)), n).astype(float),
    }[metric]
    return Block([(("a", "x"), 0), (("b", "x"), 0)], n, [Draw("", np.arange(n), target, prediction)])


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40)
@given(data=st.data())
def test_resamples_surround_the_score_and_stay_in_the_scale(metric: str, data: st.DataObject) -> None:
    block = data.draw(blocks(metric))
    found = resample(metric, block, 200, np.random.default_rng(0))
    assert np.isfinite(found.scores).all() and np.isfinite(found.resamples).all()
    moved = centred(found.scores, found.resamples)
    np.testing.assert_allclose(moved.mean(axis=1), found.scores, atol=1e-9)
    low, high = interval(moved)
    assert (low <= high).all()
    assert (moved.min(axis=1) - 1e-9 <= found.scores).all() and (found.scores <= moved.max(axis=1) + 1e-9).all()


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=30)
@given(data=st.data())
def test_p_values_are_probabilities_and_those_of_equals_are_one(metric: str, data: st.DataObject) -> None:
    block = data.draw(blocks(metric))
    drawn = resample(metric, block, 100, np.random.default_rng(1))
    pairs = [[(0, 1)], [(1, 0)], [(0, 0)]]
    tested, chance = permute(metric, block, drawn, pairs, 100, np.random.default_rng(2))
    there, back, same = (p_value(t, c) for t, c in zip(tested, chance, strict=True))
    assert 0 < there <= 1 and there == back and same == 1
    assert tested[0] == pytest.approx(-tested[1]) and tested[2] == 0


@settings(max_examples=100)
@given(st.floats(-1, 1), st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_a_p_value_counts_what_is_as_extreme(tested: float, permuted: list[float]) -> None:
    p = p_value(tested, np.array(permuted))
    assert 1 / (1 + len(permuted)) <= p <= 1
    assert p_value(-tested, -np.array(permuted)) == p
    assert p_value(tested / 2, np.array(permuted)) >= p, "a smaller difference is no stronger evidence"


@settings(max_examples=100)
@given(st.lists(probabilities, max_size=12))
def test_holm_only_raises_and_keeps_the_order(values: list[float]) -> None:
    corrected = holm(values)
    assert all(p <= c <= 1 for p, c in zip(values, corrected, strict=True))
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert all(corrected[a] <= corrected[b] for a, b in pairwise(order))


@settings(max_examples=100)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(-1e6, 1e6))
@example([0.0] * 39 + [1.0], 0.0)
def test_an_interval_lies_within_its_resamples(values: list[float], score: float) -> None:
    low, high = interval(np.array(values))
    assert min(values) <= low <= high <= max(values)
    moved = centred(np.array(score), np.array(values))
    assert moved.mean() == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=12)
@given(data=st.data())
def test_the_order_of_rows_is_irrelevant(
    metric: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    block = data.draw(blocks(metric))
    (draw,) = block.draws
    scores = weighted_scores(metric, block, np.ones((block.items, 1)))[:, 0]
    frame = pd.concat(
        pd.DataFrame({
            "method": method, "base": "x", "seed": 0, "split": "test", "subset": "default", "metric": metric,
            "draw": "", "item": [f"q{i}" for i in range(block.items)], "prediction": prediction, "target": draw.target,
        })
        for method, prediction in zip("ab", draw.prediction, strict=True)
    )  # fmt: skip
    runs = {((method, "x"), 0): {("test", "default"): float(s)} for method, s in zip("ab", scores, strict=True)}
    about = TaskScores("T", runs, frozenset(runs))
    pair = (("a", "x"), ("b", "x"))
    found = []
    for seed in (None, data.draw(st.integers(0, 999))):
        path = Path(tmp_path_factory.getbasetemp()) / f"rows-{metric}.parquet"
        (frame if seed is None else frame.sample(frac=1, random_state=seed)).to_parquet(path)
        found.append(task_statistics(path, about, [pair], 100, 0))
    one, two = found
    assert one.tested == two.tested
    np.testing.assert_array_equal(one.permuted[pair], two.permuted[pair])
    for run in runs:
        np.testing.assert_array_equal(one.resamples[run], two.resamples[run])
        low, high = interval(one.resamples[run])
        assert low - 1e-9 <= about.score(run) <= high + 1e-9, "the interval holds the estimate"
