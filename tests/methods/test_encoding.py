"""Encoding by tokens gives the library's vectors, in order, whatever the batches."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import METHODS, TEXTS, build
from sentence_transformers import SentenceTransformer

from causal2vec import encoding
from causal2vec.encoding import encode, encodes, select, token_batches

PROMPT = "Instruct: find\nQuery: "
MANY = [text[:k] for text in TEXTS for k in range(1, 90, 7)] * 2


def model_of(tiny, method, **settings) -> SentenceTransformer:
    return SentenceTransformer(modules=[build(method, tiny, **settings)], device="cpu")


@pytest.mark.parametrize("prompt", [None, PROMPT])
@pytest.mark.parametrize("method", METHODS)
def test_vectors_are_those_of_the_library(tiny, method, prompt, monkeypatch):
    model = model_of(tiny, method)
    expected = model.encode(MANY, prompt=prompt)
    monkeypatch.setattr(encoding, "WINDOW", 17)  # several windows, the last one not full
    for budget in (1, 100, 100_000):
        found = encode(model, MANY, prompt=prompt, batch_tokens=budget)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("device", "elsewhere"), [("cpu", False), ("cuda", True)])
def test_a_thread_reads_ahead_only_where_a_gpu_computes(device, elsewhere, monkeypatch):
    monkeypatch.setattr(encoding, "WINDOW", 2)
    threads = []

    def preprocess(texts, prompt):
        threads.append(threading.current_thread() is not threading.main_thread())
        return {"texts": texts}

    model = SimpleNamespace(device=torch.device(device), preprocess=preprocess)
    found = list(encoding._tokenised(model, list("abcde"), np.array([4, 3, 2, 1, 0]), None))
    assert [features["texts"] for _, features in found] == [["e", "d"], ["c", "b"], ["a"]]
    assert threads == [elsewhere] * 3


def test_a_gpu_gets_few_texts_first_and_every_text_once(monkeypatch):
    monkeypatch.setattr(encoding, "WINDOW", 20)
    monkeypatch.setattr(encoding, "FIRST", 3)
    for amount, sizes in ((0, []), (2, [2]), (3, [3]), (30, [3, 20, 7])):
        model = SimpleNamespace(device=torch.device("cuda"), preprocess=lambda texts, prompt: {"texts": texts})
        found = list(encoding._tokenised(model, [str(i) for i in range(amount)], np.arange(amount), None))
        assert [len(places) for places, _ in found] == sizes
        assert [text for _, features in found for text in features["texts"]] == [str(i) for i in range(amount)]


def test_no_texts_give_no_vectors(tiny):
    assert encode(model_of(tiny, "last_token"), []).shape == (0, 32)


def test_same_bytes_twice(tiny):
    model = model_of(tiny, "causal2vec")
    assert encode(model, MANY, prompt=PROMPT).tobytes() == encode(model, MANY, prompt=PROMPT).tobytes()


def test_prefixes_do_not_outlive_a_call(tiny):
    """A weight may change before the next."""
    model = model_of(tiny, "last_token")
    before = encode(model, MANY, prompt=PROMPT * 4)
    assert model[0].prefixes_read is None
    with torch.no_grad():
        model[0].llm.layers[0].mlp.up_proj.weight.mul_(2)
    after = encode(model, MANY, prompt=PROMPT * 4)
    np.testing.assert_allclose(after, model.encode(MANY, prompt=PROMPT * 4), rtol=1e-3, atol=1e-4)
    assert np.abs(after - before).max() > 1e-3


def test_what_is_no_text_is_refused(tiny):
    with pytest.raises(ValueError, match="only strings can be embedded"):
        encode(model_of(tiny, "last_token"), ["a", None])  # type: ignore[list-item]


def test_only_this_suites_models(tiny):
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    library = SentenceTransformer(modules=[Transformer(str(tiny["encoder"])), Pooling(24)], device="cpu")
    assert encodes(model_of(tiny, "encoder_only")) and not encodes(library)


def test_batches_keep_to_the_budget():
    lengths = np.random.default_rng(0).integers(1, 400, 500)
    batches = list(token_batches(lengths, 1000))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(lengths[batch].sum() <= 1000 for batch in batches)
    assert len(batches) <= np.ceil(lengths.sum() / 600)
    assert [batch.tolist() for batch in token_batches(np.array([5000, 3, 4]), 10)] == [[0], [2, 1]]


def test_selecting_rows_drops_their_padding_on_either_side():
    features = {
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
        "input_ids": torch.tensor([[9, 9, 1, 2], [3, 4, 5, 6]]),
        "pre_mask": torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1]]),
        "pre_ids": torch.tensor([[7, 9, 9, 9], [1, 2, 3, 4]]),
        "head": torch.tensor([1, 1]),
    }
    chosen = select(features, np.array([0]))
    assert chosen["input_ids"].tolist() == [[1, 2]]
    assert chosen["pre_ids"].tolist() == [[7]]
    assert chosen["head"].tolist() == [1]
    assert select(features, np.array([1, 0]))["pre_ids"].shape == (2, 4)
