"""``compute.fast: false``: nothing of causal2vec/speed is at work, and the vectors are the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import METHODS, TEXTS, build
from sentence_transformers import SentenceTransformer

from causal2vec.config import Compute
from causal2vec.encoding import encode
from causal2vec.runtime.machine import set_up
from causal2vec.speed import cpu_layers, packing
from causal2vec.speed.cpu_layers import fast_layers

PROMPT = "Instruct: find the passage that answers it, whatever it may be about and however long it is\nQuery: "


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """As every job has it whose configuration says so."""
    monkeypatch.setenv(packing.PLAIN, "")  # taken back at the end
    (tmp_path / "hardware.json").write_text(json.dumps({"device": "cpu", "dtype": "float32"}))
    set_up(tmp_path / "hardware.json", Compute(threads=1, fast=False))


def vectors(method, tiny):
    torch.manual_seed(0)
    module = build(method, tiny, max_seq_length=128, **({} if method == "encoder_only" else {"add_bos": True}))
    model = SentenceTransformer(modules=[module], device="cpu").eval()
    return encode(model, [*TEXTS, " ".join(TEXTS)] * 3, prompt=PROMPT)


@pytest.mark.parametrize("method", METHODS)
def test_plain_and_fast_vectors_are_the_same(method, tiny, request, monkeypatch):
    """And really two ways: each is watched at work."""
    packed: list[int] = []
    run = packing.Layout.__init__

    def counted(self, *args, **options):
        packed.append(1)
        return run(self, *args, **options)

    monkeypatch.setattr(packing.Layout, "__init__", counted)
    fast = vectors(method, tiny)
    assert packed, "the fast way packs"
    packed.clear()
    request.getfixturevalue("plain")
    slow = vectors(method, tiny)
    assert not packed, "the plain way does not"
    assert np.abs(fast - slow).max() < 2e-5


def test_layers_are_the_libraries_own(tiny, plain):
    model = build("last_token", tiny)
    with fast_layers(model):
        assert not any("forward" in vars(module) for module in model.modules())
    with cpu_layers.fast_layers_in_training(model):
        assert not any("forward" in vars(module) for module in model.modules())
    assert model.llm.config._attn_implementation == "sdpa" and packing.avoids(model.llm, "last_layer")


def test_adapters_are_the_librarys_own(tiny, plain):
    from causal2vec.config import Lora
    from causal2vec.training.lora import Adapter, attach_lora

    module = build("last_token", tiny)
    attach_lora(module, Lora(rank=2, alpha=4, targets=["q_proj"]))
    assert any("lora" in name for name, _ in module.named_parameters())
    assert not any(isinstance(part, Adapter) for part in module.modules())


def test_fast_is_what_is_done_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv(packing.PLAIN, raising=False)
    (tmp_path / "hardware.json").write_text(json.dumps({"device": "cpu", "dtype": "float32"}))
    set_up(tmp_path / "hardware.json", Compute(threads=1))
    assert not packing.plain()
