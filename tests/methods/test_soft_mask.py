"""The soft mask: between causal and bidirectional attention, and from one to the other while a training runs."""

from __future__ import annotations

import json
import math

import pytest
import torch
from conftest import TEXTS, build
from test_training import BUDGET, make, pairs, run_of, stop_at, weights

from baselines.soft_mask import SoftMask
from causal2vec.errors import UserError
from causal2vec.models.build import build_embedder
from causal2vec.speed.packing import FLASH, PACKED
from causal2vec.training.lora import attach_lora

__all__ = ["pairs"]  # a fixture

PROMPT = "Instruct: find\nQuery: "
STEPS = BUDGET.steps


@torch.no_grad()
def states(module, texts=TEXTS, *, last=0, w=None):
    """Of a padded batch, whose last token is another one ``last`` further on; and where there are tokens."""
    if w is not None:
        module.w = w
    features = module.preprocess(texts, PROMPT)
    features["input_ids"][:, -1] = (features["input_ids"][:, -1] + last) % 600
    return module.states(features), features["attention_mask"].bool()


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_whole_weight_is_bidirectional(backend, tiny):
    """To the bit where nothing is added, and within rounding by way of the mask."""
    module, other = build("soft_mask", tiny), build("bidirectional", tiny)
    with torch.no_grad():
        ours, theirs = (m(m.preprocess(TEXTS, PROMPT))["sentence_embedding"] for m in (module, other))
    assert module.w == 1 and torch.equal(ours, theirs)
    for each in (module, other):
        each.llm.set_attn_implementation(backend)
    (found, real), (expected, _) = states(module, w=1 - 1e-9), states(other)
    assert torch.allclose(found[real], expected[real], atol=1e-5)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_no_weight_is_causal(backend, tiny):
    module, causal = build("soft_mask", tiny), build("last_token", tiny)
    for each in (module, causal):
        each.llm.set_attn_implementation(backend)
    for w in (0, 1e-12):
        found, real = states(module, w=w)
        features = module.preprocess(TEXTS, PROMPT)  # the same ids: last_token has an EOS more
        with torch.no_grad():
            expected = causal.states(features)
        assert torch.allclose(found[real], expected[real], atol=1e-5), w


def test_later_tokens_reach_earlier_ones_in_proportion_to_the_weight(tiny):
    module = build("soft_mask", tiny)
    reach = []
    for w in (0, 1e-4, 1e-2, 0.5, 1):
        (first, real), (other, _) = states(module, w=w), states(module, w=w, last=7)
        real[:, -1] = False
        reach.append(float((first - other).abs()[real].mean()))
    assert reach[0] < 1e-6 and reach[-1] > 1e-2
    assert reach == sorted(reach) and reach[1] < 1e-3 * reach[-1]
    assert 50 < reach[2] / reach[1] < 200, "a hundred times the weight"


def test_a_later_token_counts_as_a_share_of_a_token(tiny):
    """With queries of zero the weights of attention are 1 for what has been, w for what comes: in closed form."""
    module = build("soft_mask", tiny)
    with torch.no_grad():
        for layer in module.llm.layers:
            layer.self_attn.q_proj.weight.zero_()
    seen = []
    module.llm.layers[0].self_attn.register_forward_hook(lambda *args: seen.append(args[-1][0]))
    module.llm.set_attn_implementation("sdpa")
    states(module, ["a b c d e f"], w=0.25)
    features = module.preprocess(["a b c d e f"], PROMPT)
    layer, length = module.llm.layers[0], features["input_ids"].shape[1]
    with torch.no_grad():
        values = layer.self_attn.v_proj(layer.input_layernorm(module.embed(features)))[0]
        share = torch.ones(length, length).tril() + 0.25 * torch.ones(length, length).triu(1)
        mixed = (share / share.sum(dim=1, keepdim=True)) @ values
        heads = mixed.view(length, 2, 8).repeat_interleave(2, dim=1).flatten(1)
        assert torch.allclose(seen[0][0], layer.self_attn.o_proj(heads), atol=1e-5)


@pytest.mark.parametrize("w", [1e-4, 0.5])
def test_vectors_do_not_depend_on_neighbours_on_the_way(w, tiny):
    module = build("soft_mask", tiny)
    module.w = w
    with torch.no_grad():
        together = module(module.preprocess(TEXTS, PROMPT))["sentence_embedding"]
        alone = [module(module.preprocess([text], PROMPT))["sentence_embedding"] for text in TEXTS]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


FAMILIES = {"Qwen3": {}, "Mistral": {"sliding_window": None}, "Gemma2": {}, "Phi3": {}, "GPTNeoX": {}}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_the_mask(family):
    """As transformers does it for Llama: the mask of four dimensions reaches every layer."""
    import transformers

    sizes = {"vocab_size": 600, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "pad_token_id": 0,
             "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2,
             "max_position_embeddings": 128}  # fmt: skip
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**sizes, **FAMILIES[family])
    module = SoftMask.__new__(SoftMask)
    torch.nn.Module.__init__(module)
    module.llm = transformers.AutoModel.from_config(config).eval()
    module.prefixes_read = None
    ids = torch.arange(3, 19).view(2, 8)
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    features = {"input_ids": ids, "attention_mask": mask}

    def read(w: float, *, causal: bool = False):
        module.w, module.llm.config.is_causal = w, causal
        with torch.no_grad():
            return module.states(features)[mask.bool()]

    assert torch.allclose(read(1 - 1e-9), read(1), atol=1e-4)
    assert torch.allclose(read(1e-12), read(1, causal=True), atol=1e-4)
    assert (read(1e-12) - read(1)).abs().max() > 1e-2


@pytest.mark.parametrize(("schedule", "half"), [("linear", 0.5), ("accelerating", 0.25), ("decelerating", 0.75)])
def test_weight_rises_from_its_start_to_one(schedule, half, tiny):
    module = build("soft_mask", tiny, schedule=schedule, start=0.01)
    found = []
    for step in range(9):
        module.on_step(step / 8)
        found.append(module.w)
    assert found == sorted(set(found)) and found[0] == pytest.approx(0.01) and found[-1] == 1
    assert found[4] == pytest.approx(0.01 + 0.99 * half)
    module.on_step(0)
    assert module.w == found[0], "a function of the step alone"


def test_flash_attention_waits_until_the_weight_is_whole(tiny):
    module = build("soft_mask", tiny)
    attach_lora(module, BUDGET.lora)
    assert module.llm.config._attn_implementation == PACKED
    for backend, meanwhile in ((FLASH, "sdpa"), ("eager", "eager")):
        module.llm.config._attn_implementation = backend
        used = []
        for done in (0, 0.5, 1.0):
            module.on_step(done)
            used.append(module.llm.get_base_model().config._attn_implementation)
        assert used == [meanwhile, meanwhile, backend]


@pytest.mark.parametrize("name", ["sliding_window", "attention_chunk_size"])
def test_a_sliding_window_that_is_too_short_is_refused(name, tiny):
    module = build("soft_mask", tiny)
    setattr(module.llm.config, name, 8)
    module.w = 0.5
    with pytest.raises(ValueError, match=r"sliding window of 8.*budget\.max_length to 8"):
        states(module)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"schedule": "cosine"}, "must be one of linear, accelerating"), ({"start": 0.0}, "more than 0 and at most 1")],
)
def test_settings_that_do_not_fit_are_named(settings, words, tiny):
    with pytest.raises(UserError, match=words):
        build_embedder("baselines.soft_mask.SoftMask", tiny, settings)


@pytest.fixture
def seen(monkeypatch) -> list[tuple[float, float]]:
    """What a training tells the method, and the weights that its texts are then read with, each once."""
    told: list[tuple[float, float]] = []
    on_step, read = SoftMask.on_step, SoftMask.states
    monkeypatch.setattr(SoftMask, "on_step", lambda self, done: (on_step(self, done), told.append((done, self.w)))[0])

    def states_at(self, *args):
        assert not self.training or self.w == told[-1][1]
        return read(self, *args)

    monkeypatch.setattr(SoftMask, "states", states_at)
    return told


@pytest.mark.parametrize(
    "update", [{}, {"mini_batch_size": 2, "gradient_checkpointing": True}], ids=["plain", "cached"]
)
def test_weight_rises_while_a_training_runs(update, seen, tiny, pairs, tmp_path):
    folder = make(run_of("soft_mask"), tiny, pairs, tmp_path, BUDGET.model_copy(update=update))
    assert [done for done, _ in seen] == pytest.approx([*(step / STEPS for step in range(STEPS)), 1])
    assert [w for _, w in seen] == pytest.approx([*(1e-4 + (1 - 1e-4) * k / STEPS for k in range(STEPS)), 1])
    losses = [entry["loss"] for entry in json.loads((folder / "training.json").read_text())["loss"]]
    assert all(map(math.isfinite, losses))
    first = json.loads((make(run_of("bidirectional"), tiny, pairs, tmp_path / "b") / "training.json").read_text())[
        "loss"
    ]
    assert losses[0] != first[0]["loss"], "the first step does not see what comes"


def test_weight_goes_on_where_a_training_was_stopped(seen, tiny, pairs, tmp_path, monkeypatch):
    whole = weights(make(run_of("soft_mask"), tiny, pairs, tmp_path / "whole"))
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", stop_at(5))
    with pytest.raises(KeyboardInterrupt):
        make(run_of("soft_mask"), tiny, pairs, tmp_path / "stopped")
    monkeypatch.setattr("causal2vec.training.trainer.check_finite", lambda *args: None)
    seen.clear()
    resumed = weights(make(run_of("soft_mask"), tiny, pairs, tmp_path / "stopped"))
    assert [done for done, _ in seen] == pytest.approx([4 / STEPS, 5 / STEPS, 1])
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_weight_rises_beside_a_frozen_llm_in_bfloat16(seen, tiny, pairs, tmp_path):
    folder = make(run_of("soft_mask"), tiny, pairs, tmp_path, dtype="bfloat16")
    losses = [entry["loss"] for entry in json.loads((folder / "training.json").read_text())["loss"]]
    assert len(losses) == STEPS and all(map(math.isfinite, losses)) and seen[-1] == (1, 1)
