"""Embedding at the size of the paper: this suite beside sentence-transformers' ``encode``, on the same weights."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from causal2vec.bench.comparison import useful_work
from causal2vec.bench.encoding import our_encode, slices
from causal2vec.bench.gpu import shapes
from causal2vec.bench.gpu.profile import tell_costs
from causal2vec.bench.gpu.stage import Rate, Share, Side, Stage, compare, take_turns
from causal2vec.efficiency.architecture import forward_flops
from causal2vec.efficiency.counting import tokens_left_out
from causal2vec.efficiency.machine import architecture, linear_layers, matmul_rate, peak_mb, reset_peak, timed
from causal2vec.encoding import encode, tokens_per_batch
from causal2vec.plan.memory import Load, encoding_memory
from causal2vec.runtime.machine import attention_backend
from causal2vec.speed.last_layer import weights_left_out

DRAWN = 10_000
"""Texts of which stretches are measured."""

TRIED = 64
"""Queries behind examples on which the rival's batch sizes are tried."""

AGREEMENT = 0.99
"""The least cosine between our vectors and the rival's, both in bfloat16."""

FORESEEN = 0.25
"""By how much the plan's peak of memory may miss the measured one."""


class Bench:
    """The LLM, ours and the rival on it, and the rate at which its matrices are multiplied."""

    def __init__(self, stage: Stage) -> None:
        size = self.size = stage.size
        self.stage = stage
        self.llm = shapes.random_model("mistral", size.llm, size.device, size.dtype)
        self.ours = shapes.method("last_token", self.llm, None)
        self.attention = attention_backend("auto", size.device, size.dtype)
        with tempfile.TemporaryDirectory() as folder:
            self.rival = shapes.library_model(self.llm, Path(folder), 4096, self.attention)
        budget = tokens_per_batch(size.device, size.dtype)
        self.layers, self.tokens = linear_layers(self.llm), budget if size.cuda else 64
        self.ours_name = f"encode, {size.dtype}"

    def rate(self) -> float:
        """FLOP/s of the model's own matrices, at a batch's tokens."""
        return 1e9 * matmul_rate(self.layers, self.tokens, self.size.dtype, self.size.device, seconds=0.05)

    def rival_encode(self, batch_size: int, prompt: str = "") -> Callable[[list[str]], np.ndarray]:
        """The library's, with EOS behind each text as ours has it."""

        def run(texts: list[str]) -> np.ndarray:
            framed = [f"{prompt}{text} </s>" for text in texts]
            return np.asarray(self.rival.encode(framed, batch_size=batch_size, show_progress_bar=False))

        return run

    def best(self, texts: list[str], prompt: str = "") -> tuple[int, str]:
        """The rival's fastest batch size on some texts, each tried once after a warm-up, and what was tried."""
        seconds: dict[int, float] = {}
        self.rival_encode(self.size.batches[0], prompt)(texts[: self.size.batches[0]])
        for batch in self.size.batches:
            if seconds and batch > len(texts):
                break  # nothing else than the one before
            try:
                seconds[batch] = timed(lambda: self.rival_encode(batch, prompt)(texts), self.size.device)  # noqa: B023
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
        chosen = min(seconds, key=lambda batch: seconds[batch])
        return chosen, "; ".join(f"batch {batch}: {spent:.2f} s" for batch, spent in seconds.items())

    def flops(self, texts: list[str], prompt_tokens: int = 0) -> float:
        """What some texts need, a prompt that all share read once."""
        if not prompt_tokens:
            return useful_work(self.ours[0], texts).flops
        shape, module = architecture(self.llm), self.ours[0]
        features = module.preprocess(texts)  # BOS stands for the prompt's
        lengths = features["attention_mask"].sum(dim=1).double() - 1
        context = float((lengths * (lengths + prompt_tokens)).sum() / lengths.sum())
        flops = forward_flops(shape, float(lengths.sum()), context)
        flops += forward_flops(shape, prompt_tokens, prompt_tokens)
        left = tokens_left_out(module, features, int(lengths.sum()))
        return flops - 2 * left * weights_left_out(module.llm)


def encode_drawn(stage: Stage) -> None:
    """Texts of 8 to 400 tokens."""
    bench, size = Bench(stage), stage.size
    texts = shapes.drawn_texts(DRAWN if size.cuda else 200)
    length = max(size.batches)
    start = int(0.4 * len(texts))
    best, tried = bench.best(texts[start : start + length])
    parts = slices(texts, size.repetitions, size.stretches, length)
    work = "encode texts of 8 to 400 tokens"
    _measure(bench, work, parts, best, tried, goals=(1.3, 0.55), kind="encoding")


def encode_long(stage: Stage) -> None:
    """Texts of one length, which nobody pads."""
    bench, size = Bench(stage), stage.size
    draw = random.Random(0)
    parts = [[shapes.text(size.long - 2, draw) for _ in range(size.long_texts)] for _ in range(size.repetitions)]
    best, tried = bench.best(parts[0])
    _measure(bench, f"encode texts of {size.long} tokens", parts, best, tried, goals=(1.0, 0.65))


def encode_shared(stage: Stage) -> None:
    """Queries behind examples that all share."""
    bench, size = Bench(stage), stage.size
    draw = random.Random(0)
    prompt = shapes.text(size.shared, draw) + " "
    parts = [[shapes.text(draw.randint(8, 48), draw) for _ in range(size.queries)] for _ in range(size.repetitions)]
    best, tried = bench.best(parts[0][:TRIED], prompt)
    work = f"encode queries behind {size.shared:,} tokens of shared examples"
    _measure(bench, work, parts, best, tried, goals=(8.0, float("nan")), prompt=prompt)


def _measure(
    bench: Bench,
    work: str,
    parts: list[list[str]],
    best: int,
    tried: str,
    *,
    goals: tuple[float, float],
    prompt: str = "",
    kind: str = "",
) -> None:
    """Ours beside the rival on one part in each repetition."""
    stage, size = bench.stage, bench.size
    theirs = bench.rival_encode(best, prompt)
    sides = [
        Side(bench.ours_name, lambda n: encode(bench.ours, parts[n], prompt=prompt or None)),
        Side(f"SentenceTransformer.encode, {size.dtype}, batch {best}, {bench.attention}", lambda n: theirs(parts[n])),
    ]
    for side in sides:
        side.run(0)
    before = bench.rate()
    turns = take_turns(stage, sides)
    rate = (before + bench.rate()) / 2
    pairs = zip(*(turn.results for turn in turns), strict=True)
    cosine = min(least_cosine(a, b) for a, b in pairs)
    agree = "as demanded" if cosine >= AGREEMENT else f"BELOW {AGREEMENT}"
    flops = [bench.flops(part, size.shared if prompt else 0) for part in parts]
    amounts = [float(len(part)) for part in parts]
    found = compare(
        work, sides, turns, amounts, unit="texts", goal=goals[0], share=Share(flops, goals[1], rate),
        note=f"{len(parts[0])} texts in each repetition; lowest cosine between both sides' vectors {cosine:.4f} "
        f"({agree}); tried for the rival: {tried}",
    )  # fmt: skip
    stage.tell(found)
    if kind:
        shape = architecture(bench.llm)
        spent = sum(turns[0].seconds)
        tokens = [_planned(bench, shape, part) for part in parts[: len(turns[0].seconds)]]
        stage.tell(Rate(kind, sum(tokens) / spent, work))
        _foreseen(bench, parts[0])
    missed = found.ratio < found.goal or found.share < found.share_goal
    if missed:
        tell_costs(stage, work, lambda: sides[0].run(0))


def _planned(bench: Bench, shape: Any, texts: list[str]) -> float:
    """FLOPs as the plan counts them: every text of the mean's length."""
    mask = bench.ours[0].preprocess(texts)["attention_mask"]
    return forward_flops(shape, float(mask.sum()), float(mask.sum()) / len(texts))


def _foreseen(bench: Bench, texts: list[str]) -> None:
    """The plan's peak of memory beside the measured one, of one batch."""
    size = bench.size
    if not size.cuda:
        bench.stage.check("memory of encoding, as planned", "within 25 %", "no GPU's memory to measure", None)
        return
    reset_peak(size.device)
    our_encode(bench.ours)(texts)
    load = Load(architecture(bench.llm), bench.tokens, 1, frozen=True, decoder=True)
    planned = encoding_memory([load], size.dtype, "cuda").total
    tell_foreseen(bench.stage, "memory of encoding, as planned", planned, peak_mb(size.device, 0.0))


def tell_foreseen(stage: Stage, subject: str, planned: float, measured_mb: float) -> None:
    """A plan's peak in bytes beside what was allocated at most."""
    from causal2vec.plan.memory import CONTEXT

    measured = 1e6 * measured_mb + CONTEXT  # torch does not count its context
    found = f"planned {planned / 1e9:.1f} GB, measured {measured / 1e9:.1f} GB"
    stage.check(subject, f"within {FORESEEN:.0%}", found, abs(planned / measured - 1) <= FORESEEN)


def least_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of all pairs of rows; NaN counts as the least."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (ours, theirs))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(cosines.min()) if np.isfinite(cosines).all() else float("nan")
