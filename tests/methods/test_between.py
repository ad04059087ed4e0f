"""Methods that read a template, change states between layers or leave before the last: PromptEOL, Token Prepending."""

from __future__ import annotations

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

PROMPT = "Instruct: find\nQuery: "


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A random Llama of five layers, so that there is something to leave out."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("deep") / "deep-llm"
    config = LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(folder, bos=True)
    return {"llm": folder}


def vectors(module, texts=TEXTS, prompt=None):
    with torch.no_grad():
        return module(module.preprocess(texts, prompt))["sentence_embedding"]


def own_states(module, ids):
    """transformers' hidden states of one row of ids, from the vectors of the tokens on."""
    with torch.no_grad():
        return module.llm(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states


def inputs(module, texts, prompt=None):
    """What every layer was given, ``(rows, tokens, width)`` each."""
    seen = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone())) for layer in module.llm.layers
    ]
    vectors(module, texts, prompt)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("sees", [False, True])
def test_the_template_token_for_token(sees, deep):
    module = build("prompt_eol", deep, sees_instruction=sees)
    features = module.preprocess(["Short fox."], PROMPT)
    before = PROMPT if sees else ""
    written = before + 'This sentence : "Short fox." means in one word:"'
    ids = [1, *module.tokenizer(written, add_special_tokens=False)["input_ids"]]
    assert features["input_ids"][0].tolist() == ids
    assert (features["roles"][0] == Role.EOS).tolist() == [False] * (len(ids) - 1) + [True]
    torch.testing.assert_close(vectors(module, ["Short fox."], PROMPT)[0], own_states(module, ids)[-1][0, -1])


@pytest.mark.parametrize("layer", [1, 3, 4])
def test_an_earlier_layer_is_read_without_the_norm_and_the_rest_is_not_computed(layer, deep):
    module = build("prompt_eol", deep, layer=layer)
    for text, vector in zip(TEXTS, vectors(module), strict=True):
        ids = module.preprocess([text])["input_ids"][0].tolist()
        torch.testing.assert_close(vector, own_states(module, ids)[layer][0, -1], rtol=1e-4, atol=1e-5)
    assert len(inputs(module, TEXTS)) == layer
    assert len(module.llm.layers) == module.llm.config.num_hidden_layers == 5, "it is whole again afterwards"


@pytest.mark.parametrize("layer", [None, 3])
def test_without_a_placeholder_it_is_prompt_eol(layer, deep):
    plain = vectors(build("prompt_eol", deep, layer=layer), prompt=PROMPT)
    assert torch.equal(vectors(build("token_prepending", deep, k=0, layer=layer), prompt=PROMPT), plain)
    for k in (2, 3):
        torch.manual_seed(0)
        changed = vectors(build("token_prepending", deep, k=k, layer=layer), prompt=PROMPT)
        assert (changed - plain).abs().max() > 1e-3


def test_the_placeholder_is_one_token_more_in_front_of_the_text(deep):
    module, plain = build("token_prepending", deep, k=3), build("prompt_eol", deep)
    ids, roles = (module.preprocess(["Short"])[name][0].tolist() for name in ("input_ids", "roles"))
    place = roles.index(Role.PLACEHOLDER)
    assert ids[:place] + ids[place + 1 :] == plain.preprocess(["Short"])["input_ids"][0].tolist()
    assert module.tokenizer.decode(ids[:place]) == "<bos>This sentence :"


@pytest.mark.parametrize("packed", [True, False])
def test_the_placeholder_goes_as_the_last_token_into_layers_two_to_k(packed, deep):
    """By hand in the rows as they are computed: one after the other, or padded."""
    module = build("token_prepending", deep, k=3, layer=4)
    module.llm.set_attn_implementation(packing.PACKED if packed else "sdpa")
    module.reuses_prefix = False
    features = module.preprocess(TEXTS)
    roles = features["roles"]
    if packed:
        roles = packing.Layout(features["attention_mask"], causal=True).pack(roles)
    given = inputs(module, TEXTS)
    assert len(given) == 4 and given[0].shape[:2] == roles.shape
    for number, states in enumerate(given, start=1):
        placeholders, ends = states[roles == Role.PLACEHOLDER], states[roles == Role.EOS]
        assert len(placeholders) == len(ends) == len(TEXTS)
        assert torch.equal(placeholders, ends) == (number in (2, 3)), number
    assert torch.equal(given[0][roles == Role.PLACEHOLDER], module.placeholder.expand(len(TEXTS), -1))


def test_the_text_sees_its_end_only_where_the_placeholder_is_overwritten(deep):
    """Two texts that differ at their end: with k, tokens behind the placeholder differ; those before it never do."""
    for k, sees in ((0, False), (2, True)):
        torch.manual_seed(0)
        module = build("token_prepending", deep, k=k)
        features = module.preprocess(["Short text x", "Short text y"])
        with torch.no_grad():
            states = module.states(features)
        gap = (states[0] - states[1]).abs().amax(dim=-1)
        roles = features["roles"][0].tolist()
        first = roles.index(Role.TEXT)
        assert (gap[first] > 1e-6) == sees
        assert gap[: roles.index(Role.PLACEHOLDER) if k else first].max() < 1e-6


@pytest.mark.parametrize("settings", [{"k": 0}, {"k": 3}, {"k": 3, "layer": 4}, {"k": 2, "layer": 2}])
def test_neighbours_padding_packing_and_prefixes_change_nothing(settings, deep, monkeypatch):
    module = build("token_prepending", deep, sees_instruction=True, add_bos=True, **settings)
    long = "Instruct: find the text that says the same as this one does, in other words\nQuery: "
    alone = torch.cat([vectors(module, [text], long) for text in TEXTS])
    torch.testing.assert_close(vectors(module, TEXTS, long), alone, rtol=1e-4, atol=1e-5)
    once: list[int] = []
    read = DecoderEmbedder._prefix
    monkeypatch.setattr(DecoderEmbedder, "_prefix", lambda *given: once.append(given[-1]) or read(*given))
    model = SentenceTransformer(modules=[module], device="cpu").eval()
    found = encode(model, TEXTS * 3, prompt=long)
    assert once, "the beginning is read once"
    np.testing.assert_allclose(found, torch.cat([alone] * 3).numpy(), rtol=1e-3, atol=1e-4)
    monkeypatch.setenv(packing.PLAIN, "1")
    torch.testing.assert_close(vectors(module, TEXTS, long), alone, rtol=1e-4, atol=1e-5)


def test_it_is_saved_with_its_placeholder(deep, tmp_path):
    module = build("token_prepending", deep, k=3, layer=4)
    manifest = {"method": "token_prepending", "base": "deep", "seed": 0, "trained": False}
    save_model(module, tmp_path / "model", manifest=manifest, records={})
    opened = load_model(str(tmp_path / "model"), "cpu", "float32")
    assert (opened[0].k, opened[0].layer) == (3, 4) and torch.equal(opened[0].placeholder, module.placeholder)
    np.testing.assert_allclose(opened.encode(TEXTS), vectors(module).numpy(), rtol=1e-4, atol=1e-5)


def test_gradients_flow_through_what_is_overwritten(deep):
    module = build("token_prepending", deep, k=3, layer=4)
    module(module.preprocess(TEXTS))["sentence_embedding"].sum().backward()
    moved = [layer.self_attn.q_proj.weight.grad is not None for layer in module.llm.layers]
    assert moved == [True] * 4 + [False]


@pytest.mark.parametrize("layer", [None, 2])
def test_leaving_early_is_in_the_flops(layer, deep):
    """As predicted, by the law and as torch counts them."""
    model = SentenceTransformer(modules=[build("token_prepending", deep, layer=layer)], device="cpu").eval()
    text = " ".join(TEXTS)[:200]
    counted = count(model, [text] * 6, "", None)
    words = len(model[0].tokenizer(text, add_special_tokens=False)["input_ids"])
    found = cost(law_of(model[0]), shape_of(model[0]), Lengths(words))
    assert counted.predicted_flops == pytest.approx(counted.counted_flops, rel=0.03)
    assert found.flops == pytest.approx(counted.counted_flops, rel=0.03)
    assert shape_of(model[0]).llm.layers == (layer or 5)


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("prompt_eol", {"layer": 6}, "layer is 6, but this LLM has 5 layers"),
        ("prompt_eol", {"chat": ["a", "b"]}, "remove chat: true"),
        ("token_prepending", {"k": 1}, "k is 1, but must be 0 or from 2 to 5"),
        ("token_prepending", {"k": 5, "layer": 4}, "k is 5, but must be 0 or from 2 to 4"),
        ("token_prepending", {"layer": 0}, "layer is 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(method, settings, words, deep):
    path, defaults = METHODS[method]
    with pytest.raises(UserError, match=words):
        build_embedder(path, deep, {**defaults, **settings})
