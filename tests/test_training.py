"""Training: equal terms for all, gradients that are what they claim, and nothing lost when it is stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import METHODS, TEXTS, build
from safetensors.torch import load_file

from causal2vec.config import Budget, LearningRates, Lora, Method, Mntp
from causal2vec.errors import UserError
from causal2vec.evaluation.prompts import Prompts
from causal2vec.runs import Run
from causal2vec.training import contrastive
from causal2vec.training.lora import attach_lora

PROMPTS = Prompts(sources={"a": "find", "b": "match"}, symmetric=["b"])
BUDGET = Budget(steps=6, batch_size=4, max_length=48, temperature=0.05, save_steps=2, lora=Lora(rank=4, alpha=8))
RATES = LearningRates(lora=5e-3, encoder=5e-3, projection=5e-3)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        {
            "query": f"question {i} of {s}",
            "positive": f"{TEXTS[i % 4]} answer {i}",
            "source": s,
            "pair_id": f"{s}{i}",
        }
        for s in ("a", "b")
        for i in range(24)
    ]
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name in ("train", "validation"):
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    return folder


def run_of(method: str, *, trained: bool = True, seed: int = 0) -> Run:
    path, settings = METHODS[method]
    spec = Method(module=path, settings=settings)
    return Run(
        method=method, base="tiny", seed=seed, trained=trained, spec=spec, settings=settings, budget=BUDGET,
        encoder="tiny-encoder", max_length=64,
    )  # fmt: skip


def make(run: Run, tiny, pairs: Path, folder: Path, budget: Budget = BUDGET, **options) -> Path:
    run = run.model_copy(update={"budget": budget})
    contrastive.make_model(run, tiny, pairs, PROMPTS, folder / "model", folder / "state", **options)
    return folder / "model"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.relative_to(folder)}:{name}": tensor
        for path in folder.rglob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def test_every_method_sees_the_same_pairs_in_the_same_order(tiny, pairs, tmp_path):
    records = [json.loads((make(run_of(m), tiny, pairs, tmp_path / m) / "training.json").read_text()) for m in METHODS]
    assert len({record["order_sha256"] for record in records}) == 1
    assert {record["pairs"] for record in records} == {24}
    other = make(run_of("last_token", seed=1), tiny, pairs, tmp_path / "other")
    assert json.loads((other / "training.json").read_text())["order_sha256"] != records[0]["order_sha256"]


@pytest.mark.parametrize("method", METHODS)
def test_training_lowers_the_loss_and_changes_what_it_should(method, tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"steps": 30, "save_steps": 100, "learning_rates": RATES})
    trained = make(run_of(method), tiny, pairs, tmp_path, budget)
    losses = [entry["loss"] for entry in json.loads((trained / "training.json").read_text())["loss"]]
    assert sum(losses[-5:]) < sum(losses[:5])
    before = weights(make(run_of(method, trained=False), tiny, pairs, tmp_path / "untrained"))
    after = weights(trained)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    kinds = {"own" if name.startswith("own") else name.split("/")[0] for name in changed}
    assert kinds == {"causal2vec": {"llm", "encoder", "own"}, "encoder_only": {"encoder"}}.get(method, {"llm"})
    assert not any("embed_tokens" in name for name in changed)


def test_hard_negatives_are_used_and_read_as_positives_are(tiny, pairs, tmp_path):
    def first_loss(name: str) -> float:
        folder = make(run_of("last_token"), tiny, pairs, tmp_path / name)
        return json.loads((folder / "training.json").read_text())["loss"][0]["loss"]

    without = first_loss("without")
    table = pd.read_parquet(pairs / "train.parquet")
    table["negative_1"] = [f"{row.positive} but not quite" for row in table.itertuples()]
    table.to_parquet(pairs / "train.parquet")
    data = contrastive.load_training_data(pairs / "train.parquet")
    assert data["a"].column_names == ["query", "positive", "negative_1"]
    prompts = contrastive.column_prompts(PROMPTS, data)
    assert prompts["a"] == {"query": "Instruct: find\nQuery: ", "positive": "", "negative_1": ""}
    assert len(set(prompts["b"].values())) == 1 and prompts["b"]["negative_1"]
    assert first_loss("with") > without, "the same batch with more candidates is harder"


def test_frozen_encoder_stays_as_it_is(tiny, pairs, tmp_path):
    run = run_of("causal2vec")
    run = run.model_copy(update={"settings": {**run.settings, "freeze_encoder": True}})
    after = weights(make(run, tiny, pairs, tmp_path))
    before = load_file(tiny["encoder"] / "model.safetensors")
    assert all(torch.equal(before[name.partition(":")[2]], after[name]) for name in after if name.startswith("encoder"))


@pytest.mark.parametrize("method", METHODS)
def test_cached_gradients_equal_plain_gradients(method, tiny):
    from sentence_transformers import SentenceTransformer

    gradients = []
    for mini_batch_size in (None, 2):
        torch.manual_seed(0)
        module = build(method, tiny)
        attach_lora(module, BUDGET.lora)
        module.eval()  # without dropout the two must agree; with it, each chunk draws its own
        model = SentenceTransformer(modules=[module], device="cpu")
        budget = BUDGET.model_copy(update={"mini_batch_size": mini_batch_size})
        features = [
            module.preprocess([f"{t} {side}" for t in TEXTS], "Instruct: find\nQuery: ") for side in ("x", "y z")
        ]
        contrastive.make_loss(model, budget)(features, None).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, cached = gradients
    assert plain.keys() == cached.keys() and plain
    for name in plain:
        assert torch.allclose(plain[name], cached[name], rtol=1e-3, atol=1e-5), name


def test_stopped_training_ends_in_the_same_weights(tiny, pairs, tmp_path, monkeypatch):
    whole = weights(make(run_of("causal2vec"), tiny, pairs, tmp_path / "whole"))
    check = contrastive.check_finite

    def stop(loss: float, step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt
        check(loss, step)

    monkeypatch.setattr("causal2vec.training.trainer.check_finite", stop)
    with pytest.raises(KeyboardInterrupt):
        make(run_of("causal2vec"), tiny, pairs, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "model").exists(), "nothing half-written is taken for finished"
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", check)
    folder = make(run_of("causal2vec"), tiny, pairs, tmp_path / "stopped")
    assert json.loads((folder / "training.json").read_text())["resumed"] is True
    resumed = weights(folder)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not (tmp_path / "stopped" / "state").exists()


def test_same_seed_gives_the_same_revision(tiny, pairs, tmp_path):
    first, second = (make(run_of("causal2vec"), tiny, pairs, tmp_path / name) for name in ("a", "b"))
    one, two = (json.loads((folder / "manifest.json").read_text())["revision"] for folder in (first, second))
    assert one == two


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_loss_that_is_no_number_stops_the_training(loss):
    with pytest.raises(UserError, match=r"at step 7; lower budget.learning_rates"):
        contrastive.check_finite(loss, 7)


def test_lora_targets_that_are_not_there(tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"lora": Lora(targets=["nothing"])})
    with pytest.raises(UserError, match="fit no layer of LlamaModel"):
        make(run_of("last_token"), tiny, pairs, tmp_path, budget)


def test_instruction_that_fills_the_whole_length_is_found_before_training(tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"max_length": 8})
    with pytest.raises(UserError, match=r"the pairs' source a: .* leave none for the text"):
        make(run_of("last_token"), tiny, pairs, tmp_path, budget)


@pytest.mark.parametrize("setting", [{"max_seq_length": 512}, {"add_bos": False}])
def test_no_method_gets_a_budget_of_its_own(setting, tiny, pairs, tmp_path):
    run = run_of("last_token").model_copy(update={"settings": setting})
    with pytest.raises(UserError, match="which is the same for every method"):
        make(run, tiny, pairs, tmp_path)


def test_too_few_pairs_for_a_batch(tiny, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"batch_size": 64})
    with pytest.raises(UserError, match="do not fill one batch"):
        make(run_of("last_token"), tiny, pairs, tmp_path, budget)


def test_masked_next_token_training_makes_a_better_bidirectional_base(tiny, pairs, tmp_path):
    from causal2vec.training.mntp import pretrain_mntp

    mntp = Mntp(steps=12, batch_size=8, max_length=32, learning_rate=1e-2)
    pretrain_mntp(tiny["llm"], pairs / "train.parquet", mntp, BUDGET.lora, 0, tmp_path / "base", tmp_path / "state")
    losses = [entry["loss"] for entry in json.loads((tmp_path / "base" / "mntp.json").read_text())["loss"]]
    assert len(losses) == 12 and sum(losses[-4:]) < sum(losses[:4])
    module = build("bidirectional", {"llm": tmp_path / "base"})
    assert torch.isfinite(module(module.preprocess(TEXTS))["sentence_embedding"]).all()


def test_masked_token_is_predicted_from_the_state_before_it(tiny):
    """The objective itself: labels at masked positions alone, shifted by one by the causal-LM loss."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from causal2vec.training.mntp import _collator

    tokenizer = AutoTokenizer.from_pretrained(tiny["llm"])
    mntp = Mntp(steps=1, batch_size=2, max_length=32, mask_probability=0.5, all_mask=True)
    ids = tokenizer(TEXTS[2])["input_ids"]
    batch = _collator(tokenizer, mntp, 0)([{"input_ids": ids, "attention_mask": [1] * len(ids)}])
    llm = AutoModelForCausalLM.from_pretrained(tiny["llm"]).eval()
    llm.config.is_causal = False
    with torch.no_grad():
        output = llm(**batch)
    masked = (batch["labels"][0] != -100).nonzero().flatten()
    masked = masked[masked > 0]
    assert len(masked) > 3
    assert (batch["input_ids"][0][masked] == tokenizer.convert_tokens_to_ids("_")).all()
    by_hand = torch.nn.functional.cross_entropy(output.logits[0][masked - 1], batch["labels"][0][masked])
    assert torch.isclose(output.loss, by_hand, atol=1e-5)


def test_mask_token_must_be_one_token(tiny):
    from transformers import AutoTokenizer

    from causal2vec.training.mntp import _collator

    mntp = Mntp(steps=1, batch_size=2, max_length=32, mask_token="no such token")
    with pytest.raises(UserError, match="is not one token of the LLM"):
        _collator(AutoTokenizer.from_pretrained(tiny["llm"]), mntp, 0)
