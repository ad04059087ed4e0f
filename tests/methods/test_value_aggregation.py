"""Value aggregation: values of upper layers instead of hidden states, plain and as the last token weights them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import METHODS, TEXTS, build, make_tokenizer
from sentence_transformers import SentenceTransformer

from causal2vec.efficiency.counting import count
from causal2vec.efficiency.law import Lengths, cost, law_of, shape_of
from causal2vec.embedder import DecoderEmbedder, Role
from causal2vec.encoding import encode
from causal2vec.errors import UserError
from causal2vec.models.build import build_embedder
from causal2vec.models.folder import load_model, save_model
from causal2vec.speed import packing
from causal2vec.speed.cpu_layers import fast_layers

PROMPT = "Instruct: find\nQuery: "
LONG = "Instruct: find the text that says the same as this one does, in other words\nQuery: "
VARIANTS = {"value_aggregation": 16, "value_aggregation_weighted": 32}
"""And their widths on the LLM below."""


def make_llm(folder, layers):
    """A random Llama of 4 heads of 8, of which two share a key, with biases."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        initializer_range=0.2, attention_bias=True,
    )  # fmt: skip
    llm = LlamaForCausalLM(config)
    for name, weight in llm.named_parameters():
        if "norm" in name or "bias" in name:
            torch.nn.init.normal_(weight, mean=float("norm" in name), std=0.3)  # they begin as one and zero
    llm.save_pretrained(folder)
    make_tokenizer(folder, bos=True)
    return {"llm": folder}


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    return make_llm(tmp_path_factory.mktemp("five") / "llm", 5)


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    return make_llm(tmp_path_factory.mktemp("one") / "llm", 1)


@torch.no_grad()
def vectors(module, texts=TEXTS, prompt=None):
    return module(module.preprocess(texts, prompt))["sentence_embedding"]


@torch.no_grad()
def by_hand(layer, states):
    """Values ``(tokens, 16)`` and what attention adds to the last token's state, ``(32,)``, from weights alone."""
    mean_square = states.square().mean(dim=-1, keepdim=True)
    normed = states / (mean_square + 1e-6).sqrt() * layer.input_layernorm.weight
    query, key, value = (
        normed @ part.weight.T + part.bias
        for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
    )
    angles = torch.arange(len(states))[:, None] / 10000 ** (torch.arange(4) / 4)

    def rotated(head, place):
        a, b, cos, sin = head[..., :4], head[..., 4:], angles[place].cos(), angles[place].sin()
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    found = []
    for head in range(4):
        own, shared = slice(8 * head, 8 * head + 8), slice(8 * (head // 2), 8 * (head // 2) + 8)
        scores = rotated(key[:, shared], slice(None)) @ rotated(query[-1, own], -1) / math.sqrt(8)
        found.append(scores.softmax(dim=0) @ value[:, shared])
    return value, torch.cat(found) @ layer.self_attn.o_proj.weight.T + layer.self_attn.o_proj.bias


@pytest.mark.parametrize("prompt", [None, PROMPT])
def test_one_layer_by_hand(prompt, shallow):
    plain, weighted = (build(method, shallow, first=None) for method in VARIANTS)
    for text, mean, seen in zip(TEXTS, vectors(plain, prompt=prompt), vectors(weighted, prompt=prompt), strict=True):
        for module, vector in ((plain, mean), (weighted, seen)):
            features = module.preprocess([text], prompt)
            states = module.llm.get_input_embeddings()(features["input_ids"][0])
            values, added = by_hand(module.llm.layers[0], states)
            expected = added if module.weighted else values[features["roles"][0] == Role.TEXT].mean(dim=0)
            torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "read"), [({"first": None}, [2, 3, 4]), ({"first": 1}, range(5)), ({"first": 2, "last": 3}, [1, 2])]
)
@pytest.mark.parametrize("method", VARIANTS)
def test_the_mean_of_the_layers_that_are_read(method, settings, read, deep):
    """From transformers' own hidden states."""
    module = build(method, deep, **settings)
    found = vectors(module)
    for text, vector in zip(TEXTS, found, strict=True):
        features = module.preprocess([text])
        with torch.no_grad():
            states = module.llm(input_ids=features["input_ids"], output_hidden_states=True).hidden_states
        each = [by_hand(module.llm.layers[k], states[k][0]) for k in read]
        text_only = features["roles"][0] == Role.TEXT
        expected = [added if module.weighted else values[text_only].mean(dim=0) for values, added in each]
        torch.testing.assert_close(vector, torch.stack(expected).mean(dim=0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", VARIANTS)
def test_as_wide_as_the_values_or_as_the_llm(method, deep):
    module = build(method, deep)
    assert vectors(module).shape[1] == module.get_embedding_dimension() == VARIANTS[method]


def test_the_template_of_the_weighted_variant_is_that_of_prompt_eol(deep):
    weighted, asked = (build(method, deep) for method in ("value_aggregation_weighted", "prompt_eol"))
    for name in ("input_ids", "roles"):
        assert torch.equal(weighted.preprocess(TEXTS, PROMPT)[name], asked.preprocess(TEXTS, PROMPT)[name])


@pytest.mark.parametrize("settings", [{}, {"first": 2, "last": 3}])
@pytest.mark.parametrize("method", VARIANTS)
def test_neighbours_padding_packing_and_prefixes_change_nothing(method, settings, deep, monkeypatch):
    module = build(method, deep, add_bos=True, **settings)
    if method == "value_aggregation_weighted":
        monkeypatch.setattr("causal2vec.embedder.WORTHWHILE", 8)  # its template's beginning is short
    alone = torch.cat([vectors(module, [text], LONG) for text in TEXTS])
    once: list[int] = []
    read = DecoderEmbedder._prefix
    monkeypatch.setattr(DecoderEmbedder, "_prefix", lambda *given: once.append(given[-1]) or read(*given))
    torch.testing.assert_close(vectors(module, prompt=LONG), alone, rtol=1e-4, atol=1e-5)
    found = encode(SentenceTransformer(modules=[module], device="cpu").eval(), TEXTS * 3, prompt=LONG)
    assert once, "the beginning is read once"
    np.testing.assert_allclose(found, torch.cat([alone] * 3).numpy(), rtol=1e-3, atol=1e-4)
    monkeypatch.setenv(packing.PLAIN, "1")
    torch.testing.assert_close(vectors(module, prompt=LONG), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", VARIANTS)
def test_faster_layers_are_listened_to_as_well(method, deep):
    module = build(method, deep)
    expected = vectors(module)
    with fast_layers(module), torch.inference_mode():
        found = module(module.preprocess(TEXTS))["sentence_embedding"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", VARIANTS)
def test_nothing_stays_behind(method, deep, monkeypatch):
    """Neither after a batch nor after one that failed: the LLM gives its own states again."""
    module = build(method, deep)
    expected = vectors(module)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(module.llm.norm, "forward", lambda _: 1 / 0)
        vectors(module)
    ids = module.preprocess(TEXTS[:1])["input_ids"]
    with torch.no_grad():
        assert module.llm(input_ids=ids).last_hidden_state.shape[-1] == 32
    assert not any(part._forward_hooks for part in module.llm.modules())
    assert torch.equal(vectors(module), expected)


@pytest.mark.parametrize("method", VARIANTS)
def test_saved_with_its_settings(method, deep, tmp_path):
    module = build(method, deep, first=2, last=4)
    manifest = {"method": method, "base": "deep", "seed": 0, "trained": False}
    save_model(module, tmp_path / "model", manifest=manifest, records={})
    opened = load_model(str(tmp_path / "model"), "cpu", "float32")
    assert (opened[0].weighted, opened[0].first, opened[0].last) == (module.weighted, 2, 4)
    np.testing.assert_allclose(opened.encode(TEXTS), vectors(module).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", VARIANTS)
def test_it_could_be_trained(method, deep):
    module = build(method, deep, first=2, last=3)
    module(module.preprocess(TEXTS))["sentence_embedding"].sum().backward()
    moved = [layer.self_attn.v_proj.weight.grad is not None for layer in module.llm.layers]
    assert moved == [True] * 3 + [False] * 2


@pytest.mark.parametrize("last", [None, 3])
@pytest.mark.parametrize("method", VARIANTS)
def test_leaving_early_is_in_the_flops(method, last, deep):
    """As predicted, by the law and as torch counts them."""
    model = SentenceTransformer(modules=[build(method, deep, last=last)], device="cpu").eval()
    text = " ".join(TEXTS)[:200]
    counted = count(model, [text] * 6, "", None)
    words = len(model[0].tokenizer(text, add_special_tokens=False)["input_ids"])
    found = cost(law_of(model[0]), shape_of(model[0]), Lengths(words))
    assert counted.predicted_flops == pytest.approx(counted.counted_flops, rel=0.02)
    assert found.flops == pytest.approx(counted.counted_flops, rel=0.02)
    assert shape_of(model[0]).llm.layers == (last or 5)


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("value_aggregation", {"last": 6}, "last is 6; name layers from 1 to 5"),
        ("value_aggregation", {"first": 4, "last": 3}, "first is 4 and last is 3; name layers"),
        ("value_aggregation", {"first": 0}, "first is 0 .* name layers from 1 to 5"),
        ("value_aggregation_weighted", {"chat": ["a", "b"]}, "remove chat: true"),
    ],
)
def test_settings_that_do_not_fit_are_named(method, settings, words, deep):
    path, defaults = METHODS[method]
    with pytest.raises(UserError, match=words):
        build_embedder(path, deep, {**defaults, **settings})


def test_an_llm_whose_values_have_no_projection_of_their_own_is_refused(tmp_path):
    from transformers import Phi3Config, Phi3ForCausalLM

    config = Phi3Config(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    Phi3ForCausalLM(config).save_pretrained(tmp_path)
    make_tokenizer(tmp_path, bos=True)
    with pytest.raises(UserError, match=r"self_attn\.v_proj .* another base"):
        build_embedder(METHODS["value_aggregation"][0], {"llm": tmp_path}, {})
    assert build("value_aggregation_weighted", {"llm": tmp_path}).get_embedding_dimension() == 32
