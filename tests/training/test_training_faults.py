"""A training that goes wrong, and one that is told to stop in the middle of a step that takes too long."""

from __future__ import annotations

import json
import math
import os
import signal
import time

import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformerTrainer
from test_training import BUDGET, make, pairs, run_of, weights

from baselines.last_token import LastToken
from causal2vec.config.settings import Lora
from causal2vec.errors import StoppedError, UserError
from causal2vec.training import checkpoints

__all__ = ["pairs"]  # a fixture


@pytest.mark.parametrize(("what", "value"), [("loss", math.nan), ("loss", math.inf), ("gradient's norm", math.nan)])
def test_what_is_no_number_stops_the_training_at_that_step_and_names_the_pairs(
    what, value, tiny, pairs, tmp_path, monkeypatch
):
    state = tmp_path / "state"
    original = SentenceTransformerTrainer.training_step

    def step(self, *args):
        loss = original(self, *args)
        if self.state.global_step != 3:
            return loss
        if what == "loss":
            return loss * value
        next(p for p in self.model.parameters() if p.grad is not None).grad[0] = value
        return loss

    monkeypatch.setattr(SentenceTransformerTrainer, "training_step", step)
    with pytest.raises(UserError) as caught:
        make(run_of("last_token"), tiny, pairs, tmp_path)
    listed = json.loads((state / "diverged.json").read_text())
    assert listed["step"] == 4 and len(listed["pairs"]) == BUDGET.batch_size
    table = pq.read_table(pairs / "train.parquet").to_pydict()
    known = {f"{s}:{p}" for s, p in zip(table["source"], table["pair_id"], strict=True)}
    assert set(listed["pairs"]) <= known and len({name.split(":")[0] for name in listed["pairs"]}) == 1
    assert str(caught.value) == (
        f"the training {what} is {value} at step 4, at the learning rates lora {listed['learning_rates']['lora']:.3g}; "
        f"the batch's pairs are {', '.join(listed['pairs'][:3])} and {BUDGET.batch_size - 3} more (all in "
        f"{state / 'diverged.json'}); look at these pairs, lower budget.learning_rates, raise budget.temperature, or "
        "set compute.dtype: float32"
    )
    assert not (tmp_path / "model").exists()


def test_pairs_of_a_step_are_those_that_the_trainer_was_given(tiny, pairs, tmp_path, monkeypatch):
    """By their texts, as the model reads them in each step."""
    seen: list[list[str]] = []
    original = LastToken.preprocess

    def preprocess(self, inputs, prompt=None, **more):
        seen.append(list(inputs))
        return original(self, inputs, prompt, **more)

    monkeypatch.setattr(LastToken, "preprocess", preprocess)
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", stop_by_nan(5))
    with pytest.raises(UserError, match="the training loss is"):
        make(run_of("last_token"), tiny, pairs, tmp_path)
    table = pq.read_table(pairs / "train.parquet").to_pydict()
    texts = dict(zip(table["pair_id"], zip(table["query"], table["positive"], strict=True), strict=True))
    listed = json.loads((tmp_path / "state" / "diverged.json").read_text())["pairs"]
    queries, positives = (list(side) for side in zip(*(texts[name.split(":", 1)[1]] for name in listed), strict=True))
    assert queries in seen and positives in seen


def stop_by_nan(step: int):
    def check(loss: float, now: int) -> None:
        if now == step:
            raise FloatingPointError

    return check


def test_collapse_is_said_and_recorded(tiny, pairs, tmp_path, capsys, monkeypatch):
    record = json.loads((make(run_of("last_token"), tiny, pairs, tmp_path / "fine") / "training.json").read_text())
    assert -1 <= record["mean_cosine"] < 0.98 and "warning" not in capsys.readouterr().err
    monkeypatch.setattr(LastToken, "pool", lambda self, states, roles: states[:, -1] * 0 + 1)
    budget = BUDGET.model_copy(update={"steps": 1})
    monkeypatch.setattr(
        "causal2vec.training.trainer.EqualTermsTrainer.training_step", lambda self, *a: torch.tensor(1.0)
    )
    folder = make(run_of("last_token"), tiny, pairs, tmp_path / "collapsed", budget)
    assert json.loads((folder / "training.json").read_text())["mean_cosine"] == 1.0
    assert "gives nearly the same vector to every text (mean cosine 1.000)" in capsys.readouterr().err


def test_step_that_takes_too_long_is_broken_off_and_costs_nothing_else(tiny, pairs, tmp_path, monkeypatch):
    """With dropout, so that random generators that were not put back would show."""
    budget = BUDGET.model_copy(update={"save_steps": 100, "lora": Lora(rank=4, alpha=8, dropout=0.2)})
    whole = weights(make(run_of("last_token"), tiny, pairs, tmp_path / "whole", budget))
    monkeypatch.setattr(checkpoints, "PATIENCE", 0.3)
    original = LastToken.pool

    def pool(self, states, roles):
        if hanging and len(calls) == 9:  # the first text of the fifth step
            os.kill(os.getpid(), signal.SIGTERM)
            stop = time.monotonic() + 30
            while time.monotonic() < stop:
                torch.rand(3)
        calls.append(1)
        return original(self, states, roles)

    hanging, calls = True, []
    monkeypatch.setattr(LastToken, "pool", pool)
    start = time.monotonic()
    with pytest.raises(StoppedError, match="stopped by SIGTERM at step 4 of 6") as caught:
        make(run_of("last_token"), tiny, pairs, tmp_path / "stopped", budget)
    assert time.monotonic() - start < 10 and caught.value.status == 128 + signal.SIGTERM
    hanging = False
    folder = make(run_of("last_token"), tiny, pairs, tmp_path / "stopped", budget)
    assert json.loads((folder / "training.json").read_text())["resumed_from_step"] == 4
    resumed = weights(folder)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
