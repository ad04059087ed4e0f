"""The attention of a GPU, computed here by an emulation of torch's kernel: what goes in and what is made of it."""

from __future__ import annotations

import pytest
import torch
from conftest import TEXTS, build

from causal2vec.efficiency import counting
from causal2vec.speed import gpu_attention, packing
from causal2vec.speed.gpu_attention import Beginnings, attend_in_one_call, beginnings
from causal2vec.speed.packing import PACKED

PROMPT = "Instruct: find the text that says the same as this one does, in other words\nQuery: "
MANY = [*TEXTS, *(text[:k] for text in TEXTS for k in (3, 5, 11, 23, 41) if len(text) > k)]


def emulated(query, key, value, queries: Beginnings, keys: Beginnings, causal, dropout, scale):
    """Flash attention's contract: texts end to end, the last query of a text at its last key."""
    shared = query.shape[1] // key.shape[1]
    states, sums = [], []
    starts = zip(queries.ends.tolist(), keys.ends.tolist(), strict=True)
    ends = zip(queries.ends.tolist()[1:], keys.ends.tolist()[1:], strict=True)
    for (q0, k0), (q1, k1) in zip(list(starts)[:-1], ends, strict=True):
        assert q1 - q0 <= queries.longest and k1 - k0 <= keys.longest
        q = query[q0:q1].transpose(0, 1)
        k, v = (x[k0:k1].repeat_interleave(shared, dim=1).transpose(0, 1) for x in (key, value))
        scores = q @ k.transpose(1, 2) * scale
        if causal:
            seen = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).tril(k1 - k0 - (q1 - q0))
            scores = scores.masked_fill(~seen, float("-inf"))
        states.append((scores.softmax(-1) @ v).transpose(0, 1))
        sums.append(scores.logsumexp(-1))
    return torch.cat(states), torch.cat(sums, dim=1)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """The ways of a GPU, taken on a processor; counts the kernel's calls."""
    calls = []

    def kernel(*arguments):
        calls.append(arguments)
        return emulated(*arguments)

    monkeypatch.setattr(gpu_attention, "flash", kernel)
    monkeypatch.setattr(packing, "in_one_call", lambda *states: True)
    return calls


def vectors(module, texts, prompt=None, *, packed: bool) -> torch.Tensor:
    module.llm.set_attn_implementation(PACKED if packed else "sdpa")
    with torch.no_grad():
        return module(module.preprocess(texts, prompt))["sentence_embedding"]


@pytest.mark.parametrize("prompt", [None, PROMPT])
@pytest.mark.parametrize("method", ["causal2vec", "last_token", "echo", "bidirectional"])
def test_one_call_gives_the_padded_vectors(tiny, on_a_gpu, method, prompt):
    module = build(method, tiny)
    module.reuses_prefix = False
    expected = vectors(module, MANY, prompt, packed=False)
    on_a_gpu.clear()
    module.reuses_prefix = True
    torch.testing.assert_close(vectors(module, MANY, prompt, packed=True), expected, rtol=1e-4, atol=1e-5)
    layers = 2 + (2 if method == "causal2vec" else 0)  # the encoder's
    reads_once = module.shared_tokens(module.preprocess(MANY, prompt)) > 0
    assert reads_once or prompt is None or method not in ("last_token", "echo")
    assert len(on_a_gpu) == (3 * layers if reads_once else layers), "not a call for every text"


def test_a_prefix_is_not_copied_in_front_of_every_text_without_gradients(tiny, on_a_gpu):
    module = build("last_token", tiny)
    vectors(module, MANY, PROMPT, packed=True)
    longest_row = max(key.shape[0] for _, key, *_ in on_a_gpu)
    head = int(module.preprocess(MANY, PROMPT)["head"][0])
    assert longest_row < head * len(MANY)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("before", [0, 7])
def test_gradients_are_those_of_text_by_text(on_a_gpu, causal, before):
    torch.manual_seed(0)
    lengths = [1, 2, 4, 9]
    made = [torch.randn(1, heads, sum(lengths), 8, dtype=torch.float64) for heads in (4, 2, 2)]
    ahead = [torch.randn(1, 2, before, 8, dtype=torch.float64) for _ in range(2)]
    inputs = [x.requires_grad_() for x in (*made, *ahead)]
    prefix = tuple(inputs[3:]) if before else None
    found = attend_in_one_call(*inputs[:3], beginnings(lengths, torch.device("cpu")), causal=causal, prefix=prefix)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    expected = []
    for start, length in zip(starts, lengths, strict=True):
        q, k, v = (x[:, :, start : start + length] for x in inputs[:3])
        k, v = (torch.cat([p, x], 2) for p, x in zip(inputs[3:], (k, v), strict=True))
        seen = torch.ones(length, before + length, dtype=torch.bool).tril(before) if causal else None
        states = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
        expected.append(states.transpose(1, 2))
    expected = torch.cat(expected, 1)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    wanted = inputs if before else inputs[:3]
    ours = torch.autograd.grad((found * weights).sum(), wanted)
    theirs = torch.autograd.grad((expected * weights).sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():  # by sums of exponentials
        again = attend_in_one_call(*inputs[:3], beginnings(lengths, torch.device("cpu")), causal=causal, prefix=prefix)
    torch.testing.assert_close(again, expected)


def test_a_processor_does_not_take_the_ways_of_a_gpu(tiny, monkeypatch):
    monkeypatch.setattr(gpu_attention, "flash", lambda *_: pytest.fail("there is no GPU here"))
    vectors(build("last_token", tiny), MANY, PROMPT, packed=True)


def test_flops_of_a_row_are_those_of_its_texts():
    lengths = [1, 5, 12]
    query, key = torch.zeros(18, 4, 8), torch.zeros(18, 2, 8)
    ends = beginnings(lengths, torch.device("cpu")).ends
    alone = sum(counting._attention_flops((1, 4, n, 8), (1, 4, n, 8), (1, 4, n, 8)) for n in lengths)
    assert counting._row_flops(query, key, key, ends, ends, 12, 12) == alone
