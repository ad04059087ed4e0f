"""Packing and shared prefixes change what is computed, never what comes out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TEXTS, build
from test_families import FAMILIES, NO_SDPA, WINDOWED, llm_config, save_llm

from causal2vec.speed import packing
from causal2vec.speed.packing import PACKED, Layout, shared_beginning

PROMPT = "Instruct: find the text that says the same as this one does, in other words\nQuery: "
DECODERS = [
    "causal2vec", "last_token", "echo", "bidirectional", "weighted_mean", "token_prepending", "hierarchical_prepending",
    "latent_attention", "soft_mask", "value_aggregation", "value_aggregation_weighted", "generated_tokens",
]  # fmt: skip
MANY = [*TEXTS, *(text[:k] for text in TEXTS for k in (3, 5, 11, 23, 41) if len(text) > k)]


def vectors(module, texts, prompt=None, *, packed=True, reuse=True) -> torch.Tensor:
    module.llm.set_attn_implementation(PACKED if packed else "sdpa")
    module.reuses_prefix = reuse
    with torch.no_grad():
        return module(module.preprocess(texts, prompt))["sentence_embedding"]


def calls(module, texts, prompt=None) -> list[int]:
    """Tokens that each pass through the LLM computes."""
    seen = []
    hook = module.llm.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    vectors(module, texts, prompt)
    hook.remove()
    return seen


@pytest.mark.parametrize("prompt", [None, PROMPT])
@pytest.mark.parametrize("method", DECODERS)
def test_packed_vectors_are_the_padded_ones(tiny, method, prompt):
    module = build(method, tiny)
    expected = vectors(module, MANY, prompt, packed=False)
    torch.testing.assert_close(vectors(module, MANY, prompt, reuse=False), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(vectors(module, MANY, prompt), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in NO_SDPA])
@pytest.mark.parametrize("method", DECODERS)
def test_every_family_is_packed(tiny, tmp_path, family, method):
    folders = {"llm": save_llm(llm_config(family, **FAMILIES[family]), tmp_path / family), "encoder": tiny["encoder"]}
    module = build(method, folders)
    expected = vectors(module, MANY, PROMPT, packed=False)
    torch.testing.assert_close(vectors(module, MANY, PROMPT), expected, rtol=1e-3, atol=1e-4)
    assert module.llm.config._attn_implementation == PACKED


@pytest.mark.parametrize("family", [name for name in WINDOWED if name not in NO_SDPA])
def test_window_that_only_a_layer_knows_of_is_noticed(tiny, tmp_path, family, monkeypatch):
    """Whatever a configuration calls it, a layer tells attention of it."""
    folder = save_llm(llm_config(family, **WINDOWED[family]), tmp_path)
    module = build("last_token", {"llm": folder})
    expected = vectors(module, MANY, packed=False)
    monkeypatch.setattr("causal2vec.embedder.packs", lambda *_: True)
    torch.testing.assert_close(vectors(module, MANY), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [name for name in WINDOWED if name not in NO_SDPA])
def test_texts_longer_than_a_sliding_window_are_left_to_transformers(tiny, tmp_path, family):
    module = build("last_token", {"llm": save_llm(llm_config(family, **WINDOWED[family]), tmp_path / family)})
    assert not packing.packs(module.llm, 4)
    assert packing.packs(module.llm, 3)
    expected = vectors(module, MANY, packed=False)
    torch.testing.assert_close(vectors(module, MANY), expected)


def test_no_padding_is_computed(tiny):
    module = build("last_token", tiny)
    tokens = int(module.preprocess(MANY)["attention_mask"].sum())
    assert calls(module, MANY) == [tokens]


@pytest.mark.parametrize(
    ("method", "settings", "shared"),
    [
        ("last_token", {}, True),
        ("echo", {}, True),
        ("causal2vec", {"place": "after_instruction"}, True),
        ("causal2vec", {"place": "before_bos"}, False),
        ("causal2vec", {"place": "after_bos"}, False),  # BOS alone is shared, which does not pay
        ("bidirectional", {}, False),
    ],
)
def test_which_methods_read_an_instruction_once(tiny, method, settings, shared):
    module = build(method, tiny, **settings)
    features = module.preprocess(MANY, PROMPT)
    tokens, head = int(features["attention_mask"].sum()), int(features["head"][0])
    assert calls(module, MANY, PROMPT) == ([head, tokens - len(MANY) * head] if shared else [tokens])


def test_a_kept_prefix_is_read_once_for_all_batches(tiny):
    module = build("last_token", tiny)
    expected = vectors(module, TEXTS, PROMPT, packed=False)
    head = int(module.preprocess(TEXTS, PROMPT)["head"][0])
    module.prefixes_read = {}
    first, second = calls(module, TEXTS, PROMPT), calls(module, TEXTS, PROMPT)
    assert first == [head, *second]
    for text, vector in zip(TEXTS, expected, strict=True):  # a batch of one gains most
        torch.testing.assert_close(vectors(module, [text], PROMPT)[0], vector, rtol=1e-4, atol=1e-5)
    assert len(module.prefixes_read) == 1


def test_a_prefix_ends_where_texts_change_its_tokens(tiny):
    """A token may reach from the instruction into a text; then that token is not shared."""
    module = build("last_token", tiny)
    prompt = "find find find find find find find find find find find find find find find find find find find find tex"
    texts = ["t again", "ting", "x"] * 8
    torch.testing.assert_close(
        vectors(module, texts, prompt), vectors(module, texts, prompt, packed=False), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("filler", [0, 7])
def test_gradients_are_those_of_the_padded_batch(tiny, monkeypatch, filler):
    monkeypatch.setattr(packing, "_missing", lambda _, layout: 0 if layout.record else filler)
    gradients = []
    for packed in (False, True):
        torch.manual_seed(0)  # of the projection
        module = build("causal2vec", tiny, place="after_instruction").train()
        module.encoder.eval()  # its dropout would draw other units
        module.learns_prefix = packed
        module.llm.set_attn_implementation(PACKED if packed else "sdpa")
        found = module(module.preprocess(MANY, PROMPT))["sentence_embedding"]
        (found * torch.randn(found.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})
    plain, packed = gradients
    assert plain.keys() == packed.keys()
    for name, gradient in plain.items():  # a key's bias has no gradient but rounding
        scale = max(float(gradient.abs().max()), 1.0)
        torch.testing.assert_close(packed[name], gradient, rtol=1e-3, atol=1e-4 * scale)


def test_lengths_come_again_while_a_processor_learns_in_bfloat16(tiny):
    module = build("last_token", tiny)
    texts = [MANY[:count] for count in range(2, len(MANY))]
    plain = [calls(module, some)[0] for some in texts]
    module.train()
    assert [calls(module, some)[0] for some in texts] == plain, "float32 has nothing to win"
    with torch.autocast("cpu", torch.bfloat16):
        filled = [calls(module, some)[0] for some in texts]
    for tokens, length in zip(plain, filled, strict=True):
        assert tokens <= length < tokens + max(16, tokens / 16)
        assert length % max(16, 2 ** (length.bit_length() - 1) // 16) == 0
    assert len(set(filled)) < len(set(plain))


def test_an_llm_that_cannot_be_packed_is_padded(tiny, monkeypatch):
    module = build("last_token", tiny)
    expected = vectors(module, MANY, packed=False)
    # Layers that do not hand the layout on, as those of state-space models, or of code of a model's own.
    for layer in module.llm.layers:
        plain = layer.forward
        monkeypatch.setattr(layer, "forward", lambda *a, plain=plain, packed=None, **k: plain(*a, **k))
    torch.testing.assert_close(vectors(module, MANY), expected)
    assert module.llm.config._attn_implementation == "sdpa"


def test_flash_attention_is_told_where_texts_begin(tiny, monkeypatch):
    """Flash attention needs a GPU; here something that reads the same arguments stands in for it."""
    module = build("bidirectional", tiny)
    expected = vectors(module, MANY, packed=False)

    def flash(layer, query, key, value, attention_mask, scaling=None, cu_seq_lens_q=None, cu_seq_lens_k=None, **_):
        assert attention_mask is None and cu_seq_lens_q.dtype == torch.int32
        parts = []
        for start, stop in zip(cu_seq_lens_q[:-1].tolist(), cu_seq_lens_q[1:].tolist(), strict=True):
            q, k, v = (x[:, :, start:stop] for x in (query, key, value))
            attend = torch.nn.functional.scaled_dot_product_attention
            parts.append(attend(q, k, v, scale=scaling, enable_gqa=True).transpose(1, 2))
        return torch.cat(parts, dim=1), None

    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", flash)
    module.llm.config._attn_implementation = "flash_attention_2"
    with torch.no_grad():
        found = module(module.preprocess(MANY))["sentence_embedding"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_layout_packs_and_unpacks():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
    padded = torch.arange(12.0).reshape(3, 4, 1) * mask.unsqueeze(-1)
    layout = Layout(mask, causal=True)
    assert layout.pack(padded).flatten().tolist() == [2, 3, 9, 10, 11, 4, 5, 6, 7]
    assert layout.positions.flatten().tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert torch.equal(layout.unpack(layout.pack(padded)), padded)
    assert sum(len(group.lengths) for group in layout.groups) == 3


def test_a_layout_asks_the_copy_on_the_processor():
    real = torch.tensor([[0, 1, 1], [1, 1, 1]])
    there = torch.zeros_like(real)  # what a GPU would have to be waited for
    there.on_host = real
    found, expected = Layout(there, causal=True), Layout(real, causal=True)
    assert torch.equal(found.index, expected.index) and torch.equal(found.positions, expected.positions)


def test_groups_waste_no_more_than_allowed():
    lengths = sorted(np.random.default_rng(0).integers(1, 300, 200).tolist())
    groups = packing._groups(lengths)
    assert [length for group in groups for length in group.lengths] == lengths
    assert all(group.lengths[0] >= (1 - packing.WASTE) * group.lengths[-1] for group in groups)


@pytest.mark.parametrize(
    ("heads", "shared"),
    [([[1, 2, 3], [1, 2, 4]], [1, 2]), ([[1], [1, 2]], [1]), ([[], [1]], []), ([[5, 6]], [5, 6]), ([[2], [3]], [])],
)
def test_shared_beginning(heads, shared):
    assert shared_beginning(heads) == shared
