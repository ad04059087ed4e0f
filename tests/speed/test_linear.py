"""Weights in another order multiply to the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from causal2vec.speed.cpu_layers import can_reorder, multiplier

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
