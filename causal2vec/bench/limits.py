"""How fast the machine multiplies matrices, and what share of that each method achieves (model FLOPs utilisation).

Not its data sheet's rate but the measured one, of the models' own linear layers at the number of tokens that the
work hands over at a time, right before and right after the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.bench.comparison import (
    RATE_SECONDS,
    Contender,
    Pages,
    Work,
    ceiling,
    least_seconds,
    number,
    span,
    table,
    take_turns,
    training_work,
    useful_work,
)
from causal2vec.bench.encoding import our_encode
from causal2vec.bench.materials import Effort, Epoch, Materials, draw_texts, say
from causal2vec.bench.training import our_module, our_side, task_of
from causal2vec.efficiency.architecture import load_architecture
from causal2vec.efficiency.machine import Layers, linear_layers, matmul_rate
from causal2vec.encoding import tokens_per_batch

GOAL = 0.6
"""Of the matrix-multiply rate, on a CPU."""

BATCH = 64
"""Pairs of a training step."""

METHODS = ("causal2vec", "last_token", "echo", "bidirectional", "encoder_only")
TRAINED = ("causal2vec", "last_token")
TEXTS = 96

HEAD = (
    "Share: FLOPs that the texts need (padding, and beginnings read once, not counted) over seconds, relative to the "
    "rate at which this machine multiplies the same layers' matrices, measured right before and after. Goal: "
    f"{GOAL:.0%} on a CPU."
)


class Job(NamedTuple):
    """Work of one method that can be repeated, and what it needs."""

    work: str
    method: str
    run: Callable[[], Any]
    useful: Work
    layers: Layers
    tokens_at_once: int


def encoding_job(materials: Materials, method: str, texts: list[str]) -> Job:
    """A method, untrained, that embeds some texts."""
    from sentence_transformers import SentenceTransformer

    from causal2vec.models.build import build_embedder
    from causal2vec.training.contrastive import module_settings

    run = materials.run(method)
    settings = {**module_settings(run), "max_seq_length": 1024}  # nothing is cut, whatever a method adds
    module = build_embedder(run.spec.module, materials.folders(run), settings, materials.dtype).eval()
    encode = our_encode(SentenceTransformer(modules=[module], device="cpu"))
    useful, tokens = useful_work(module, texts), tokens_per_batch("cpu", materials.dtype)
    return Job("encoding", method, lambda: encode(texts), useful, linear_layers(module), tokens)


def training_job(materials: Materials, method: str, pairs: int) -> Job:
    """A method that takes one step of the trainer, of all pairs; useful work counts no second forward pass."""
    run = materials.run(method)
    task = task_of(materials, Epoch(pairs, pairs, None, run.budget.max_length), run)
    module = our_module(task)
    useful = training_work(module, (task.queries, task.positives), task.budget.lora)
    learn = our_side(task)
    return Job("training", method, learn, useful, linear_layers(module), useful.tokens[module.parts[0]] // 2)


def measure_limits(materials: Materials, effort: Effort, pages: Pages) -> None:
    """Write every method's share of the matrix-multiply rate."""
    import torch
    from transformers import AutoTokenizer

    torch.set_num_threads(materials.threads)
    drawn = draw_texts(materials.pairs, AutoTokenizer.from_pretrained(materials.base), effort.texts)
    texts, found = drawn[:TEXTS], []
    for work, methods in (("encoding", METHODS), ("training", TRAINED)):
        for method in methods:
            say(f"share of the matrix-multiply rate: {work}, {method}")
            learning = work == "training"
            job = training_job(materials, method, BATCH) if learning else encoding_job(materials, method, texts)
            found.append(utilisation(job, materials.dtype, max(1, effort.repetitions // 2 + 1)))
    base = materials.base.name
    layers = linear_layers(load_architecture(base, materials.config.models[base], materials.work).model)
    rates = {
        d: matmul_rate(layers, tokens_per_batch("cpu", d), d, seconds=RATE_SECONDS) for d in ("float32", "bfloat16")
    }
    known = ", ".join(f"{rate:.0f} GFLOP/s in {dtype}" for dtype, rate in rates.items())
    pages.write_csv("limits", pd.DataFrame(found))
    title = "Share of the machine's matrix-multiply rate"
    pages.write("limits", title, f"The base's matrices: {known}. {HEAD}", table(map(_line, found)))


def utilisation(job: Job, dtype: str, repetitions: int) -> dict[str, Any]:
    """One job's achieved share of the machine's matrix-multiply rate: a row of ``limits.csv``."""
    with ceiling(job.layers, dtype, job.tokens_at_once) as rates:
        [timing] = take_turns([Contender(job.method, lambda _: job.run(), job.run)], repetitions)
    return {
        "work": job.work,
        "method": job.method,
        "dtype": dtype,
        "llm_tokens": job.useful.tokens.get("llm", 0),
        "encoder_tokens": job.useful.tokens.get("encoder", 0),
        "gflop": job.useful.flops / 1e9,
        "seconds": timing.median,
        "seconds_min": min(timing.seconds),
        "seconds_max": max(timing.seconds),
        "achieved_gflops": job.useful.flops / timing.median / 1e9,
        "rate_before": rates[0],
        "rate_after": rates[1],
        "share": least_seconds(job.useful.flops, rates) / timing.median,
    }


def _line(one: dict[str, Any]) -> dict[str, str]:
    return {
        "Work": one["work"],
        "Method": one["method"],
        "LLM tokens": f"{one['llm_tokens']:,}",
        "Encoder tokens": f"{one['encoder_tokens']:,}",
        "GFLOP": number(one["gflop"]),
        "Seconds": span(one["seconds"], one["seconds_min"], one["seconds_max"]),
        "GFLOP/s": number(one["achieved_gflops"]),
        "Matrices alone, before": number(one["rate_before"]),
        "After": number(one["rate_after"]),
        "Share": f"{one['share']:.0%}",
        "Goal met": "yes" if one["share"] >= GOAL else "no",
    }
