"""Layers in another way make the same, and are as before afterwards."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest
import torch
from conftest import TEXTS, build
from sentence_transformers import SentenceTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, LlamaConfig

from causal2vec.efficiency.counting import _flop_counter
from causal2vec.encoding import encode
from causal2vec.speed import cpu_layers as layers
from causal2vec.speed.cpu_layers import ACTIVATED, GATED, NORMS, can_reorder, fast_layers

MODULES = {"qwen2": "Qwen2", "qwen3": "Qwen3", "llama": "Llama", "mistral": "Mistral", "smollm3": "SmolLM3",
           "bert": "Bert", "roberta": "Roberta", "xlm_roberta": "XLMRoberta"}  # fmt: skip


@pytest.fixture(autouse=True)
def able() -> None:
    if not can_reorder(torch.zeros(1, 1)):
        pytest.skip("this torch or processor has no such way")


@pytest.fixture
def half() -> torch.dtype:
    if not can_reorder(torch.zeros(1, 1, dtype=torch.bfloat16)):
        pytest.skip("no bfloat16 here")
    return torch.bfloat16


def known(name: str) -> type[nn.Module]:
    """A class of transformers."""
    folder = next(folder for folder, start in MODULES.items() if re.match(f"{start}(MLP|Intermediate|RMSNorm)", name))
    return getattr(importlib.import_module(f"transformers.models.{folder}.modeling_{folder}"), name)


def part(name: str, activation: str) -> nn.Module:
    """A layer of transformers, random, with biases where it can have them."""
    config = BertConfig if name in ACTIVATED else LlamaConfig
    return known(name)(config(hidden_size=64, intermediate_size=96, hidden_act=activation, mlp_bias=True)).eval()


@pytest.mark.parametrize("name", [*GATED, *ACTIVATED])
@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_pytorch_tanh"])
@torch.inference_mode()
def test_activations_within_products_make_the_same(name, activation, half):
    layer, states = part(name, activation), 2 * torch.randn(3, 50, 64)
    exact, layer = layer(states), layer.to(half)
    expected, before = layer(states.to(half)), layer.forward
    with fast_layers(layer):
        assert layer.forward != before  # a plain product in it would be another, too
        found = layer(states.to(half))
    assert found.dtype == half and found.shape == exact.shape and layer.forward == before
    torch.testing.assert_close(found.float(), exact, rtol=2e-2, atol=2e-2)
    # It is rounded less often, so that it is nearer to float32, if anything.
    assert (found.float() - exact).norm() < 1.05 * (expected.float() - exact).norm()


def test_what_is_not_known_or_not_faster_is_left_to_transformers(half):
    from peft import LoraConfig, inject_adapter_in_model

    rare, single, adapted = part("LlamaMLP", "gelu_new").to(half), part("LlamaMLP", "silu"), part("LlamaMLP", "silu")
    adapted = inject_adapter_in_model(LoraConfig(target_modules=["up_proj"]), adapted.to(half))

    class LlamaMLP(type(single)):  # of another library, of the same name
        pass

    other = LlamaMLP(LlamaConfig(hidden_size=64, intermediate_size=96)).to(half)
    for layer in (rare, single, adapted, other):
        with fast_layers(layer):
            assert "forward" not in vars(layer) and "forward" in vars(layer.gate_proj)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(4, 64), (1, 9000, 64), (1, 5000, 3, 64)])
@torch.inference_mode()
def test_norms_in_pieces_are_the_same_bits(name, shape, half, monkeypatch):
    kind = known(name)
    norm, states = kind(64).to(half), torch.randn(shape).to(half)
    nn.init.normal_(norm.weight)
    expected, seen = norm(states), []
    own = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x: seen.append(x.numel()) or own(self, x))
    with fast_layers(norm):
        assert torch.equal(norm(states), expected)
    assert max(seen) <= layers.PIECE and sum(seen) == states.numel()


def test_layers_are_as_before_afterwards_also_after_a_failure():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    states = torch.randn(3, 4)
    expected = model(states)
    with pytest.raises(RuntimeError, match="on purpose"), fast_layers(model):
        with fast_layers(model):
            pass
        assert all("forward" in vars(layer) for layer in model)  # still: the inner one had nothing to do
        torch.testing.assert_close(model(states), expected)
        raise RuntimeError("on purpose")
    assert not any("forward" in vars(layer) for layer in model)
    with torch.no_grad():
        model[0].weight.zero_()
    assert not torch.allclose(model(states), expected)


def test_a_layer_that_is_no_plain_one_is_left_alone():
    class Own(nn.Linear):
        def forward(self, states):
            return states

    model = nn.ModuleList([Own(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, device="meta"), nn.Linear(4, 4).half()])
    model[1].forward = lambda states: states
    forward = model[1].forward
    with fast_layers(model):
        assert "forward" not in vars(model[0]) and model[1].forward is forward
        assert "forward" not in vars(model[2]) and "forward" not in vars(model[3])
    assert model[1].forward is forward


@pytest.mark.parametrize("method", ["last_token", "causal2vec", "encoder_only"])
def test_encoding_sees_weights_as_they_are_now(tiny, method):
    model = SentenceTransformer(modules=[build(method, tiny)], device="cpu")
    before = encode(model, TEXTS)
    with torch.no_grad():
        part = getattr(model[0], model[0].parts[0])
        next(layer for layer in part.modules() if isinstance(layer, nn.Linear)).weight.mul_(3)
    after = encode(model, TEXTS)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, model.encode(TEXTS), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["last_token", "causal2vec"])
def test_vectors_in_bfloat16_are_nearly_those_of_the_library(method, tiny, half):
    model = SentenceTransformer(modules=[build(method, tiny)], device="cpu")
    exact = model.encode(TEXTS)
    model.to(half)
    for found in (encode(model, TEXTS), model.encode(TEXTS, convert_to_tensor=True).float().cpu().numpy()):
        cosines = (found * exact).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(exact, axis=1)
        assert cosines.min() > 0.99


@pytest.mark.parametrize("name", ["LlamaMLP", "BertIntermediate"])
def test_their_flops_are_counted_as_torchs_own(name, half):
    layer, states = part(name, "silu").to(half), torch.randn(5, 7, 64, dtype=half)
    with torch.no_grad(), FlopCounterMode(display=False) as plain:
        layer(states)
    with torch.no_grad(), fast_layers(layer), _flop_counter() as ours:
        layer(states)
    count = 3 if name == "LlamaMLP" else 1
    assert ours.get_total_flops() == plain.get_total_flops() == count * 2 * 35 * 64 * 96
