"""Weights in another order multiply to the same, and are gone afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TEXTS, build
from sentence_transformers import SentenceTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from causal2vec.efficiency.counting import _flop_counter
from causal2vec.encoding import encode
from causal2vec.linear import can_reorder, multiplier, reordered_weights

FORMATS = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def able() -> None:
    if not can_reorder(torch.zeros(1, 1)):
        pytest.skip("this torch or processor has no such way")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("tokens", [1, 3, 200])
def test_products_are_the_same(kind, tokens):
    weight, bias = torch.randn(48, 32, dtype=kind), torch.randn(48, dtype=kind)
    if not can_reorder(weight):
        pytest.skip("no bfloat16 here")
    for added in (bias, None):
        states = torch.randn(2, tokens, 32, dtype=kind)
        expected = nn.functional.linear(states, weight, added)
        found = multiplier(weight, added)(states)
        assert found.shape == expected.shape and found.dtype == kind
        torch.testing.assert_close(found, expected, rtol=1e-2 if kind == torch.bfloat16 else 1e-5, atol=1e-4)


def test_layers_are_as_before_afterwards_also_after_a_failure():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    states = torch.randn(3, 4)
    expected = model(states)
    with pytest.raises(RuntimeError, match="on purpose"), reordered_weights(model):
        with reordered_weights(model):
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
    with reordered_weights(model):
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


def test_its_flops_are_counted_as_torchs_own():
    layer, states = nn.Linear(32, 48), torch.randn(5, 7, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as plain:
        layer(states)
    with torch.no_grad(), reordered_weights(layer), _flop_counter() as ours:
        layer(states)
    assert ours.get_total_flops() == plain.get_total_flops() == 2 * 35 * 32 * 48
