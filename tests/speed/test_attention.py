"""Attention in blocks is torch's attention, text by text."""

from __future__ import annotations

import pytest
import torch
from conftest import TEXTS, build

from causal2vec.speed import cpu_attention as attention
from causal2vec.speed import packing
from causal2vec.speed.cpu_attention import Blocks, pays_in_blocks
from causal2vec.speed.packing import PACKED, Layout

LENGTHS = [3, 1, 9, 64, 64, 65, 130, 150, 151, 20, 33, 31, 32]


def drawn(heads: int, tokens: int, width: int) -> torch.Tensor:
    return torch.randn(1, tokens, heads, width).transpose(1, 2).requires_grad_()


@pytest.mark.parametrize("before", [0, 1, 7, 32, 70])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [(9, 3), (4, 4), (4, 1)])
@pytest.mark.parametrize("lengths", [[1], [5, 5], LENGTHS])
def test_blocks_give_what_torch_gives_with_its_gradients(monkeypatch, lengths, heads, causal, before):
    if before and not causal:
        pytest.skip("nothing is shared where attention is not causal")
    torch.manual_seed(0)
    many, few = heads
    mask = torch.zeros(len(lengths), max(lengths) + 3, dtype=torch.long)
    for row, length in zip(mask, lengths, strict=True):
        row[-length:] = 1
    states = [drawn(h, sum(lengths), width) for h, width in ((many, 16), (few, 16), (few, 24))]
    prefix = (torch.randn(1, few, before, 16), torch.randn(1, few, before, 24)) if before else None
    found = []
    for blocks in (False, True):
        monkeypatch.setattr(packing, "pays_in_blocks", lambda *_, blocks=blocks: blocks)
        result = Layout(mask, causal=causal).attend(*states, prefix, 0.0, None)
        weight = torch.linspace(-1, 1, result.numel()).view(result.shape)
        found.append([result.detach(), *torch.autograd.grad((result * weight).sum(), states)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_keys_come_in_whole_instructions_and_blocks_see_no_more_than_they_must():
    seen = []
    blocks = Blocks([(20, 33), (150,)], heads=1, before=7, causal=True)
    monkey = torch.bmm
    try:
        torch.bmm = lambda a, b: (seen.append(a.shape[1:]), monkey(a, b))[1]
        query, key = torch.randn(1, 2, 203, 8), torch.randn(1, 1, 203, 8)
        blocks.attend(query, key, key, (torch.randn(1, 1, 7, 8),) * 2, None)
    finally:
        torch.bmm = monkey
    assert seen == [(66, 64), (128, 96), (128, 160), (44, 160)]  # two heads in a row; 7 + 33, 7 + 64, 7 + 128, all


def test_training_and_other_formats_are_left_to_torch():
    half, single = (torch.zeros(1, dtype=kind) for kind in (torch.bfloat16, torch.float32))
    with torch.inference_mode():
        assert pays_in_blocks(half)
        assert not pays_in_blocks(single) and not pays_in_blocks(half.to("meta"))
    assert not pays_in_blocks(half)
    with torch.no_grad():  # the first pass of gradient caching
        assert not pays_in_blocks(half)


@pytest.mark.parametrize("method", ["last_token", "bidirectional", "causal2vec"])
def test_a_model_in_bfloat16_attends_in_blocks_and_stays_near(tiny, method, monkeypatch):
    calls = []
    attend = Blocks.attend
    monkeypatch.setattr(attention.Blocks, "attend", lambda *args: (calls.append(1), attend(*args))[1])
    module = build(method, tiny)
    with torch.inference_mode():
        expected = module(module.preprocess(TEXTS))["sentence_embedding"]
        assert not calls
        module.bfloat16()
        module.llm.set_attn_implementation(PACKED)
        found = module(module.preprocess(TEXTS))["sentence_embedding"]
    assert calls
    assert torch.cosine_similarity(found, expected).min() > 0.99
