"""Hierarchical Token Prepending: sentences, their placeholders, and what these let earlier sentences see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import METHODS, TEXTS, build
from sentence_transformers import SentenceTransformer
from test_between import deep, inputs, vectors

from baselines.hierarchical_prepending import SENTENCE
from causal2vec.efficiency.counting import count
from causal2vec.efficiency.law import Lengths, append_cost, cost, law_of, shape_of
from causal2vec.embedder import DecoderEmbedder, Role
from causal2vec.encoding import encode
from causal2vec.errors import UserError
from causal2vec.models.build import build_embedder
from causal2vec.models.folder import load_model, save_model
from causal2vec.speed import packing

__all__ = ["deep"]  # a fixture

PROMPT = "Instruct: find\nQuery: "
METHOD = "hierarchical_prepending"
STORY = ["The quick brown fox jumps.", " It is over the lazy dog!", " Why?", " Nobody knows"]
MANY = ["".join(STORY), *TEXTS, "Short. Text.", ""]


def states_of(module, texts, prompt=None):
    features = module.preprocess(texts, prompt)
    with torch.no_grad():
        return module.states(features), features["roles"]


@torch.no_grad()
def by_hand(module, sentences, *, copies, last):
    """transformers' layers one after another over one row, laid out and overwritten here."""
    ids, places, copied, ends, text = [1], [], [], [], []
    if copies:
        copied = list(range(1, 1 + len(sentences)))
        ids += [2] * len(sentences)
    for sentence in sentences:
        places.append(len(ids))
        own = module.tokenizer(sentence, add_special_tokens=False)["input_ids"]
        text += range(len(ids) + 1, len(ids) + 1 + len(own))
        ids += [2, *own]
        ends.append(len(ids) - 1)
    body = module.llm
    states = body.get_input_embeddings()(torch.tensor([ids]))
    states[:, places + copied] = body.get_input_embeddings().weight.mean(dim=0)
    positions = torch.arange(len(ids))[None]
    for number, layer in enumerate(body.layers[:last], start=1):
        if 2 <= number <= module.k:
            states[:, places] = states[:, ends]
            if copies:
                states[:, copied] = states[:, ends]
        states = layer(states, position_ids=positions, position_embeddings=body.rotary_emb(states, positions))
    if last == len(body.layers):
        states = body.norm(states)
    return states[0, text].mean(dim=0)


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("sentences", [STORY[:1], STORY], ids=["one block", "four"])
@pytest.mark.parametrize(("k", "layer"), [(2, None), (3, 4), (5, None)])
def test_the_vector_is_that_by_hand(k, layer, sentences, copies, deep):
    module = build(METHOD, deep, k=k, layer=layer, copies=copies)
    module.llm.set_attn_implementation("sdpa")
    expected = by_hand(module, sentences, copies=copies, last=layer or 5)
    for others in ([], MANY):  # alone, and padded or packed beside others
        torch.testing.assert_close(vectors(module, ["".join(sentences), *others])[0], expected, rtol=1e-4, atol=1e-5)
        module.llm.set_attn_implementation(packing.PACKED)


@pytest.mark.parametrize("room", [128, 24])
def test_without_placeholders_it_is_the_mean_of_a_causal_llm(room, deep):
    """To the bit, of short texts and of those that are cut in the middle of a sentence."""
    plain = vectors(build("mean_causal", deep, max_seq_length=room), MANY, PROMPT)
    assert torch.equal(vectors(build(METHOD, deep, k=0, max_seq_length=room), MANY, PROMPT), plain)
    changed = vectors(build(METHOD, deep, k=3, max_seq_length=room), MANY, PROMPT)
    assert (changed - plain).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize(
    ("settings", "sees"), [({"k": 0}, [0, 0]), ({"k": 3, "copies": False}, [0, 1]), ({"k": 3}, [1, 1])]
)
def test_a_later_sentence_reaches_an_earlier_one_only_by_the_copies(settings, sees, deep):
    """Two texts that differ in their last word; what stands before it differs where placeholders tell of it."""
    module = build(METHOD, deep, **settings)
    first, second = "The fox is short.", " The dog is x"
    states, roles = states_of(module, [first + second, first + second[:-1] + "y"], PROMPT)
    gap = (states[0] - states[1]).abs().amax(dim=-1)
    text = (roles[0] == Role.TEXT).nonzero().flatten()
    words = len(module.tokenizer(first, add_special_tokens=False)["input_ids"])
    for tokens, saw in zip((text[:words], text[words:-1]), sees, strict=True):
        assert (gap[tokens] > 1e-4).all() if saw else (gap[tokens] < 1e-6).all()
    placed = (roles[0] != Role.NONE).nonzero()[0].item()
    assert placed > 1 and (gap[:placed] < 1e-6).all(), "BOS and instruction see nothing"


def test_another_order_of_sentences_is_another_vector(deep):
    for k in (0, 3):
        one, other = vectors(build(METHOD, deep, k=k), ["Foxes jump. Dogs sleep.", "Dogs sleep. Foxes jump."])
        assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("packed", [True, False])
def test_placeholders_go_as_their_blocks_ends_into_layers_two_to_k(packed, deep):
    module = build(METHOD, deep, k=3, layer=4)
    module.llm.set_attn_implementation(packing.PACKED if packed else "sdpa")
    module.reuses_prefix = False
    texts = sorted(MANY, key=lambda text: len(module.preprocess([text])["roles"][0]))  # as packing orders them
    features = module.preprocess(texts)
    blocks = [len(SENTENCE.findall(text) or [""]) for text in texts]
    assert (features["roles"] == Role.PLACEHOLDER).sum(dim=1).tolist() == [2 * number for number in blocks]
    roles = features["roles"]
    if packed:
        roles = packing.Layout(features["attention_mask"], causal=True).pack(roles)
    flat = [*roles.flatten().tolist(), int(Role.NONE)]
    for number, given in enumerate(inputs(module, texts), start=1):
        states = given.flatten(0, 1)
        places = [place for place, role in enumerate(flat) if role == Role.PLACEHOLDER]
        for several in blocks:
            copies, before, places = places[:several], places[several : 2 * several], places[2 * several :]
            for copy, place in zip(copies, before, strict=True):
                end = next(i for i in range(place + 1, len(flat)) if flat[i] != Role.TEXT) - 1
                same = [torch.equal(states[mark], states[end]) for mark in (copy, place)]
                assert end > place and same == [number in (2, 3)] * 2, number


def test_placeholders_start_as_the_mean_of_all_tokens(deep):
    module = build(METHOD, deep, k=2)
    torch.testing.assert_close(module.placeholder, module.llm.get_input_embeddings().weight.mean(dim=0))
    features = module.preprocess(MANY)
    here = features["roles"] == Role.PLACEHOLDER
    assert torch.equal(module.embed(features)[here], module.placeholder.expand(int(here.sum()), -1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("One", ["One"]),
        ("One. ", ["One. "]),
        ("One. Two", ["One.", " Two"]),
        ('He said "no!" And (so.) left?\n\nYes', ['He said "no!"', " And (so.)", " left?", "\n\nYes"]),
        ("Version 1.5 of a.b", ["Version 1.5 of a.b"]),
        ("Wait... what", ["Wait...", " what"]),
    ],
)
def test_sentences(text, expected):
    assert SENTENCE.findall(text) == expected


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("room", [*range(8, 40), 128])
def test_a_long_text_is_cut_at_its_end_as_one_text(room, copies, deep):
    """Whole sentences go with their placeholders; what is left is the beginning, and fills the room."""
    module = build(METHOD, deep, max_seq_length=room, k=2, copies=copies)
    text = "".join(STORY) + ". Yes. No one. " + "word " * 9
    ids, roles = (module.preprocess([text])[name][0] for name in ("input_ids", "roles"))
    kept, marks = ids[roles == Role.TEXT].tolist(), int((roles == Role.PLACEHOLDER).sum())
    whole = module.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert kept == whole[: len(kept)] and kept
    each = 1 + copies
    starts = int(((roles[:-1] == Role.PLACEHOLDER) & (roles[1:] == Role.TEXT)).sum())
    assert marks == each * starts and roles[-1] == Role.TEXT
    assert len(ids) == room or len(kept) == len(whole) or room - each <= len(ids) < room
    assert len(vectors(module, [text])) == 1


def test_an_instruction_that_fills_the_room_is_named(deep):
    module = build(METHOD, deep, max_seq_length=12)
    with pytest.raises(ValueError, match="max_seq_length=12"):
        module.preprocess(["text"], PROMPT * 3)


@pytest.mark.parametrize("settings", [{"k": 0}, {"k": 3}, {"k": 3, "layer": 4, "copies": False}])
def test_neighbours_padding_packing_and_prefixes_change_nothing(settings, deep, monkeypatch):
    module = build(METHOD, deep, **settings)
    long = "Instruct: find the text that says the same as this one does, in other words\nQuery: "
    alone = torch.cat([vectors(module, [text], long) for text in MANY])
    torch.testing.assert_close(vectors(module, MANY, long), alone, rtol=1e-4, atol=1e-5)
    once: list[int] = []
    read = DecoderEmbedder._prefix
    monkeypatch.setattr(DecoderEmbedder, "_prefix", lambda *given: once.append(given[-1]) or read(*given))
    model = SentenceTransformer(modules=[module], device="cpu").eval()
    found = encode(model, MANY * 3, prompt=long)
    assert once, "the beginning is read once"
    np.testing.assert_allclose(found, torch.cat([alone] * 3).numpy(), rtol=1e-3, atol=1e-4)
    monkeypatch.setenv(packing.PLAIN, "1")
    torch.testing.assert_close(vectors(module, MANY, long), alone, rtol=1e-4, atol=1e-5)


def test_it_is_saved_with_its_placeholder(deep, tmp_path):
    module = build(METHOD, deep, k=3, layer=4, copies=False)
    manifest = {"method": METHOD, "base": "deep", "seed": 0, "trained": False}
    save_model(module, tmp_path / "model", manifest=manifest, records={})
    opened = load_model(str(tmp_path / "model"), "cpu", "float32")
    assert (opened[0].k, opened[0].layer, opened[0].copies) == (3, 4, False)
    assert torch.equal(opened[0].placeholder, module.placeholder)
    np.testing.assert_allclose(opened.encode(MANY), vectors(module, MANY).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [None, 3])
def test_every_sentence_is_in_the_costs(layer, deep):
    model = SentenceTransformer(modules=[build(METHOD, deep, layer=layer)], device="cpu").eval()
    text = "".join(STORY)
    counted, words = count(model, [text] * 6, "", None), len(model[0].tokenizer(text)["input_ids"]) - 1
    law, shape = law_of(model[0]), shape_of(model[0])
    found = cost(law, shape, Lengths(words, sentences=len(STORY)))
    assert law.bare.llm.sentences == 2 and counted.llm_tokens == 1 + words + 2 * len(STORY)
    assert found.llm_tokens == counted.llm_tokens
    assert found.flops == pytest.approx(counted.counted_flops, rel=0.02)
    assert cost(law, shape, Lengths(200)).llm_tokens == 1 + 200 + 2 * 10, "a sentence on twenty tokens"


@pytest.mark.parametrize(
    ("method", "settings", "whole"),
    [
        (METHOD, {}, True), (METHOD, {"k": 0}, False),
        ("token_prepending", {}, True), ("token_prepending", {"k": 0}, False), ("mean_causal", {}, False),
    ],
)  # fmt: skip
def test_a_text_that_grows_is_read_anew_where_placeholders_tell_of_its_end(method, settings, whole, deep):
    module = build(method, deep, **settings)
    grown = append_cost(law_of(module), shape_of(module), Lengths(60), 10)
    assert (grown.computed_tokens >= 70) == whole


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 1}, "k is 1, but must be 0 or from 2 to 5"),
        ({"k": 5, "layer": 4}, "from 2 to 4"),
        ({"layer": 6}, "layer"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, words, deep):
    path, defaults = METHODS[METHOD]
    with pytest.raises(UserError, match=words):
        build_embedder(path, deep, {**defaults, **settings})
