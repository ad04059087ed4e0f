"""Training that computes less: the same gradients, the same losses."""

from __future__ import annotations

import pytest
import torch
from conftest import TEXTS, build
from peft import LoraConfig, get_peft_model
from sentence_transformers import SentenceTransformer
from test_plan import LORA, TEN, reader_of

from causal2vec.config.settings import Budget
from causal2vec.plan.estimate import _llm_tokens, _Setting
from causal2vec.speed import packing
from causal2vec.training.lora import Adapter, attach_lora, learns_prefix
from causal2vec.training.trainer import make_loss

PROMPT = "Instruct: find the text that says the same as this one does, in other words\nQuery: "
DECODERS = [
    "causal2vec", "last_token", "echo", "bidirectional", "latent_attention", "soft_mask", "value_aggregation",
    "value_aggregation_weighted", "generated_tokens",
]  # fmt: skip
BUDGET = Budget(steps=1, batch_size=16, max_length=128, temperature=0.05, lora=LORA)
MANY = [text[:k] for text in TEXTS for k in (7, 16, 30, 60)]


def gradients(method, tiny, *, padded=False, autocast=False, **changes) -> dict[str, torch.Tensor]:
    """Of one batch; ``padded``: every text padded, every instruction read again."""
    torch.manual_seed(0)
    module = build(method, tiny, **({"place": "after_instruction"} if method == "causal2vec" else {}))
    budget = BUDGET.model_copy(update=changes)
    attach_lora(module, LORA, gradient_checkpointing=budget.gradient_checkpointing)
    if padded:
        for part in module.parts:
            getattr(module, part).config._attn_implementation = "eager" if part == "encoder" else "sdpa"
        module.learns_prefix = False
    if "encoder" in module.parts:
        module.encoder.eval()  # its dropout would draw other units
    with torch.no_grad():  # an adapter begins as zero and would hide its other half's gradient
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    loss = make_loss(SentenceTransformer(modules=[module], device="cpu"), budget)
    features = [module.preprocess(MANY, PROMPT), module.preprocess([f"{text} again" for text in MANY])]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = loss(features, None)
    value.backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def apart(found, expected) -> float:
    """How far the gradients are from those expected, relative to these, all weights together."""
    assert found.keys() == expected.keys() and expected
    difference = sum(float((found[name] - own).double().square().sum()) for name, own in expected.items())
    return (difference / sum(float(own.double().square().sum()) for own in expected.values())) ** 0.5


@pytest.mark.parametrize("changes", [{}, {"mini_batch_size": 5}, {"gradient_checkpointing": True}], ids=str)
@pytest.mark.parametrize("method", [*DECODERS, "encoder_only"])
def test_gradients_are_those_of_padded_texts(method, changes, tiny):
    assert apart(gradients(method, tiny, **changes), gradients(method, tiny, padded=True)) < 1e-5


@pytest.mark.parametrize("method", ["causal2vec", "bidirectional"])
def test_gradients_in_bfloat16_part_by_its_rounding_only(method, tiny):
    exact = gradients(method, tiny, padded=True)
    rounding = apart(gradients(method, tiny, padded=True, autocast=True), exact)
    assert 1e-4 < rounding < 0.2
    assert apart(gradients(method, tiny, autocast=True), exact) < 1.5 * rounding


def test_training_reads_an_instruction_once(tiny):
    module = build("last_token", tiny)
    attach_lora(module, LORA)
    seen = []
    module.llm.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    features = module.preprocess(MANY, PROMPT)
    module(features)
    tokens, head = int(features["attention_mask"].sum()), int(features["head"][0])
    assert head * (len(MANY) - 1) >= packing.WORTHWHILE
    assert seen == [head, tokens - len(MANY) * head]


@pytest.mark.parametrize(
    ("changes", "dropout", "checkpointing", "shared"),
    [
        ({}, 0.0, False, True),
        ({}, 0.0, True, False),
        ({"dropout": 0.1}, 0.0, False, False),
        ({}, 0.1, False, False),
    ],
)
def test_an_instruction_is_shared_only_where_that_changes_nothing(changes, dropout, checkpointing, shared, tiny):
    module = build("last_token", tiny)
    module.llm.config.attention_dropout = dropout
    lora = LORA.model_copy(update=changes)
    assert learns_prefix(module.llm, lora, gradient_checkpointing=checkpointing) is shared
    attach_lora(module, lora, gradient_checkpointing=checkpointing)
    assert module.learns_prefix is shared


@pytest.mark.parametrize("autocast", [False, True])
def test_adapter_is_that_of_peft(autocast):
    results = []
    for ours in (True, False):
        torch.manual_seed(0)
        layer = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.Linear(20, 8))
        config = LoraConfig(r=4, lora_alpha=12, target_modules=["0", "1"])
        if ours:
            from causal2vec.training.lora import Adapter

            config._register_custom_module({torch.nn.Linear: Adapter})
        model = get_peft_model(layer, config)
        assert any(type(m).__name__ == "Adapter" for m in model.modules()) is ours
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        x = torch.randn(2, 5, 12, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            out = model(x)
        out.float().square().mean().backward()
        learned = [p.grad for p in model.parameters() if p.grad is not None]
        results.append([out, x.grad, *learned, model.merge_and_unload()(x)])
    assert len(results[0]) == 7
    for mine, theirs in zip(*results, strict=True):
        assert mine.dtype == theirs.dtype
        error = (mine - theirs).float().norm() / theirs.float().norm()
        assert error < (2e-2 if autocast else 1e-6)


@pytest.mark.parametrize(("method", "shared"), [("last_token", True), ("bidirectional", False), ("causal2vec", False)])
def test_the_plan_counts_the_tokens_that_training_computes(method, shared, tiny):
    reader = reader_of(tiny, method)
    found = reader.count([TEN, "a"] * 4, "x" * 84, 64)
    assert found.llm_real < found.llm, "no padding"
    assert (found.encoder_real < found.encoder) is (method == "causal2vec")
    assert (found.head >= 19) is shared
    setting = _Setting(reader.parts, [found], 0, {}, learns_prefix=True)
    assert _llm_tokens(setting, found, 8) == 8 * found.llm_real - (7 * found.head if shared else 0)
    assert _llm_tokens(setting._replace(learns_prefix=False), found, 8) == 8 * found.llm_real


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("changes", [{}, {"mini_batch_size": 5, "gradient_checkpointing": True}], ids=str)
def test_adapters_that_write_over_frozen_results_learn_the_same(changes, autocast, tiny, monkeypatch):
    expected = gradients("last_token", tiny, autocast=autocast, **changes)
    monkeypatch.setattr(Adapter, "forward", lambda self, x: self.in_place(x, "default"))  # as on a GPU
    found = gradients("last_token", tiny, autocast=autocast, **changes)
    assert apart(found, expected) < (5e-2 if autocast else 1e-6)
