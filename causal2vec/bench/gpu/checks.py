"""Whether a GPU gives what a processor gives: vectors of every method on small models of three architectures."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import torch

from causal2vec.bench.gpu import shapes
from causal2vec.bench.gpu.encoding import least_cosine
from causal2vec.bench.gpu.stage import Stage
from causal2vec.encoding import encode
from causal2vec.speed.packing import FLASH, PACKED

EXACT, ROUNDED, HALF = 0.99999, 0.999, 0.99
"""Least cosines: of the same in float32; of the same in bfloat16 by another way; of bfloat16 to float32."""

ALONE = (0, 4, 9)
"""Texts that are also embedded alone."""

Vectors = dict[str, np.ndarray]


def vectors(stage: Stage) -> None:
    """Every method on every architecture."""
    with stage.attempt("kernels"):
        _kernels(stage)
    for kind in stage.size.architectures:
        with stage.attempt(kind):
            _architecture(stage, kind)


def _architecture(stage: Stage, kind: str) -> None:
    size = stage.size
    llm = shapes.random_model(kind, size.small, "cpu", "float32")
    encoder = shapes.random_model("bert", shapes.SMALL_BERT, "cpu", "float32")
    draw = random.Random(0)
    texts = [shapes.text(n, draw) for n in (1, 2, 3, 5, 8, 13, 21, 34, 55, 90, 40, 41, 42, 17, 17, 17)]
    prompt = f"{shapes.INSTRUCTION} {shapes.text(60, draw)} "
    every = list(shapes.METHODS)

    def read(device: str, dtype: str, how: str = "") -> Vectors:
        parts = [copy.deepcopy(part).to(device, getattr(torch, dtype)) for part in (llm, encoder)]
        return {name: _read(shapes.method(name, *parts), texts, prompt, how) for name in every}

    on_cpu = read("cpu", "float32")
    here = size.device

    def compare(what: str, ours: Vectors, theirs: Vectors, least: float) -> None:
        found = {name: least_cosine(ours[name], theirs[name]) for name in ours}
        worst = min(found, key=lambda name: found[name] if np.isfinite(found[name]) else -1.0)
        stage.close(f"{kind}: {what}", found[worst], least, f" ({worst})")

    exact = read(here, "float32")
    compare(f"{here} in float32 beside the processor, all methods", exact, on_cpu, EXACT)
    half = read(here, "bfloat16")
    compare("bfloat16 beside float32", half, on_cpu, HALF)
    compare("packed beside padded, float32", read(here, "float32", "padded"), exact, EXACT)
    compare("packed beside padded, bfloat16", read(here, "bfloat16", "padded"), half, ROUNDED)
    compare("a shared beginning read once beside every time, float32", read(here, "float32", "again"), exact, EXACT)
    compare("a shared beginning read once beside every time, bfloat16", read(here, "bfloat16", "again"), half, ROUNDED)
    some = [row for row in range(2 * len(texts)) if row % len(texts) in ALONE]
    for dtype, all_at_once, least in (("float32", exact, EXACT), ("bfloat16", half, ROUNDED)):
        chosen = {name: rows[some] for name, rows in all_at_once.items()}
        compare(f"one text at a time beside all at once, {dtype}", read(here, dtype, "alone"), chosen, least)
    _flash(stage, kind, read, half)


def _kernels(stage: Stage) -> None:
    """Whether the kernels of `causal2vec.speed.gpu_layers` can be used: without them all works, slower."""
    from causal2vec.speed.gpu_layers import has_norm, has_triton

    subject = "kernels of norms, activations and rotations"
    if not stage.size.cuda:
        stage.check(subject, "torch has the one, Triton compiles the others", "there is no GPU", None)
        return
    found = {"norm": has_norm(), "Triton": has_triton()}
    words = ", ".join(f"{name}: {'yes' if there else 'no'}" for name, there in found.items())
    stage.check(subject, "torch has the one, Triton compiles the others", words, all(found.values()))


def _flash(stage: Stage, kind: str, read: Any, half: Vectors) -> None:
    from transformers.utils import is_flash_attn_2_available

    subject = f"{kind}: flash-attn beside sdpa, bfloat16"
    if not (stage.size.cuda and is_flash_attn_2_available()):
        stage.check(subject, f"cosine of {ROUNDED:g} at least", "the package flash-attn is not installed", None)
        return
    found = read(stage.size.device, "bfloat16", "flash")
    stage.close(subject, min(least_cosine(found[name], half[name]) for name in found), ROUNDED)


def _read(model: Any, texts: list[str], prompt: str, how: str) -> np.ndarray:
    """Vectors of texts with and without a prompt: as `encode` makes them, or otherwise.

    Args:
        model: A method.
        texts: Of many lengths.
        prompt: Worth reading once.
        how: ``padded``: by the model's own forward pass, with transformers' attention; ``again``: without reuse of a
            shared beginning; ``alone``: text by text; ``flash``: by flash-attn.
    """
    module = model[0]
    for part in module.parts if how in ("padded", "flash") else ():
        # An encoder that attends by sdpa is packed whenever it is called.
        padding = "eager" if part == "encoder" else "sdpa"
        getattr(module, part).config._attn_implementation = FLASH if how == "flash" else padding
    if how in ("padded", "again") and hasattr(module, "reuses_prefix"):
        module.reuses_prefix = False
    found = []
    for words in (None, prompt):
        if how == "padded":
            found.append(_padded(model, texts, words))
        elif how == "alone":
            found += [encode(model, [texts[row]], prompt=words) for row in ALONE]
        else:
            found.append(encode(model, texts, prompt=words, batch_tokens=700))
    if how == "" and "llm" in module.parts:
        assert module.llm.config._attn_implementation == PACKED
    return np.concatenate(found)


def _padded(model: Any, texts: list[str], prompt: str | None) -> np.ndarray:
    features = {name: value.to(model.device) for name, value in model.preprocess(texts, prompt=prompt).items()}
    with torch.no_grad():
        return model(features)["sentence_embedding"].float().cpu().numpy()
