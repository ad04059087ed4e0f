"""How cost grows: with the number of texts, with their length, with the batch of a training.

Every point of memory is measured in a process of its own, which starts afresh.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from causal2vec.bench.materials import Effort, Materials, draw_pairs, draw_texts, say
from causal2vec.bench.planning import dry_run
from causal2vec.config import Config
from causal2vec.runtime.files import write_text
from causal2vec.runtime.machine import keep_few_programs, keep_freed_memory, process_context
from causal2vec.runtime.manifest import ROOT

SHORT_TOKENS = 4
"""Texts of the curve over their number are cut to so many tokens, and the base to its first block: a hundred thousand
whole ones on all of it take the better part of an hour on two cores."""

TOKENS_PER_LENGTH = 4096
"""Tokens that are embedded at each length."""

REPETITIONS = 3
MINI_BATCH = 32
TRAINED_LENGTH = 32
"""Tokens per text at which the memory of training is measured: short, as only the number of texts is to count."""


class Point(NamedTuple):
    """One measurement of a curve: ``y`` with its range over ``x``."""

    curve: str
    """``texts``, ``lengths``, ``batches`` or ``jobs``."""
    quantity: str
    series: str
    x: float
    x_unit: str
    y: float
    y_min: float
    y_max: float
    unit: str


def measure_scaling(materials: Materials, effort: Effort) -> list[Point]:
    """All curves."""
    return [
        *over_counts(materials, effort.counts),
        *over_lengths(materials, effort.lengths),
        *over_batches(materials, effort.cached, effort.plain),
        *over_jobs(materials.config, effort.plans),
    ]


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work`` returns, in a process of its own."""
    context = process_context(["sentence_transformers", "causal2vec.training.contrastive"])
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def over_counts(materials: Materials, counts: tuple[int, ...]) -> list[Point]:
    """Texts per second, peak memory, and the share of it that is the vectors themselves, by number of texts."""
    points = []
    for count in counts:
        say(f"scaling: {count:,} texts")
        seconds, peak, vectors = apart(_embed_many, materials, count, 1 if count == max(counts) else REPETITIONS)
        points += [
            _point("texts", "speed", "last_token, 1 block", count, [count / s for s in seconds], "texts/s"),
            _point("texts", "memory", "peak beyond the model", count, [peak], "MB"),
            _point("texts", "memory", "of which vectors", count, [vectors], "MB"),
        ]
    return points


def over_lengths(materials: Materials, lengths: tuple[int, ...]) -> list[Point]:
    """Tokens per second and peak memory by length of the texts in tokens."""
    points = []
    for length in lengths:
        say(f"scaling: texts of {length} tokens")
        seconds, peak = apart(_embed_long, materials, length)
        texts = max(1, TOKENS_PER_LENGTH // length)
        rates = [texts / s for s in seconds]
        points += [
            _point("lengths", "speed", "last_token", length, rates, "texts/s"),
            _point("lengths", "tokens", "last_token", length, [rate * length for rate in rates], "tokens/s"),
            _point("lengths", "memory", "last_token", length, [peak], "MB"),
        ]
    return points


def over_batches(materials: Materials, cached: tuple[int, ...], plain: tuple[int, ...]) -> list[Point]:
    """Peak memory of a training by batch size, with gradient caching in mini-batches and without.

    Every training reads the same pairs, in fewer or more steps: a process needs somewhat more the more it has read,
    whatever its batches, as torch makes programs for every shape that it meets (`keep_few_programs`).
    """
    points = []
    for series, mini, sizes in (
        (f"gradient caching, mini-batches of {MINI_BATCH}", MINI_BATCH, cached),
        ("no gradient caching", None, plain),
    ):
        for size in sizes:
            say(f"scaling: training, batch {size}, {series}")
            peak = apart(_train, materials, size, mini, max(cached + plain))
            points.append(_point("batches", "memory", series, size, [peak], "MB"))
    return points


def over_jobs(config: Config, sizes: tuple[tuple[int, int, int], ...]) -> list[Point]:
    """Seconds that ``snakemake -n`` takes by number of jobs, for studies of so many methods, seeds and shards."""
    points = []
    for methods, seeds, shards in sizes:
        say(f"scaling: a plan for {methods} methods, {seeds} seeds, {shards} shards")
        jobs, seconds = _plan(config, methods, seeds, shards)
        points.append(_point("jobs", "seconds", "snakemake -n", jobs, [seconds], "s"))
    return points


_UNITS = {"texts": "texts", "lengths": "tokens per text", "batches": "pairs per batch", "jobs": "jobs"}


def _point(curve: str, quantity: str, series: str, x: float, values: list[float], unit: str) -> Point:
    middle = statistics.median(values)
    return Point(curve, quantity, series, x, _UNITS[curve], middle, min(values), max(values), unit)


def _plan(config: Config, methods: int, seeds: int, shards: int) -> tuple[int, float]:
    """Jobs and seconds of a dry run of a study of copies of the first trained method, in an empty folder."""
    plain = config.model_dump(mode="json")
    original = next(method for method in plain["methods"].values() if method["trained"])
    plain["methods"] = {f"method{number}": original for number in range(methods)}
    plain |= {"seeds": list(range(seeds)), "ablations": {}, "efficiency": {}}  # these may name other methods
    plain["evaluation"] |= {"tasks": ["MTEB(eng, v1)"], "shards": shards}
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as folder:
        write_text(Path(folder) / "study.yaml", yaml.safe_dump(plain, sort_keys=False))
        return dry_run(Path(folder), ROOT / "workflow" / "Snakefile", "study.yaml")


def _opened(materials: Materials) -> Any:
    """The base as last-token pooling, in a process that is set up as every job's."""
    import torch

    from causal2vec.bench.encoding import our_model

    torch.set_num_threads(materials.threads)
    keep_freed_memory()
    model = our_model(materials.base, materials.dtype)
    gc.freeze()
    return model


def _embed_many(materials: Materials, count: int, repetitions: int) -> tuple[list[float], float, float]:
    """Seconds of each repetition, MB at the peak beyond the model, MB of the vectors; of short texts, on one block."""
    from causal2vec.encoding import encode
    from causal2vec.models.prepare import keep_layers

    model = _opened(materials)
    keep_layers(model[0].llm, 1)
    drawn = draw_texts(materials.pairs, model.tokenizer, min(count, 1000))
    ids = model.tokenizer(drawn, add_special_tokens=False)["input_ids"]
    cut = model.tokenizer.batch_decode([own[:SHORT_TOKENS] for own in ids])
    texts = [cut[k % len(cut)] for k in range(count)]
    encode(model, texts[:64])
    runs = [_watched(lambda: encode(model, texts)) for _ in range(repetitions)]
    return [seconds for seconds, _, _ in runs], runs[0][1], runs[0][2].nbytes / 1e6


def _embed_long(materials: Materials, length: int) -> tuple[list[float], float]:
    """Seconds of each repetition and MB at the peak beyond the model, of texts of one length."""
    from causal2vec.encoding import encode

    model = _opened(materials)
    model.max_seq_length = 4 * length + 16
    drawn = draw_texts(materials.pairs, model.tokenizer, 1 + TOKENS_PER_LENGTH // 8)
    ids = [i for own in model.tokenizer(drawn, add_special_tokens=False)["input_ids"] for i in own]
    count = max(1, TOKENS_PER_LENGTH // length)
    body = length - 2  # BOS and EOS are of a text's length
    # A decoded stretch may be read as some tokens more or less.
    texts = model.tokenizer.batch_decode([ids[k * body : (k + 1) * body] for k in range(count)])
    encode(model, texts[: max(1, count // 4)])
    runs = [_watched(lambda: encode(model, texts)) for _ in range(REPETITIONS)]
    return [seconds for seconds, _, _ in runs], max(peak for _, peak, _ in runs)


def _train(materials: Materials, batch: int, mini: int | None, pairs: int) -> float:
    """MB at the peak of a training on so many pairs beyond the model."""
    import torch

    from causal2vec.bench.limits import training_job

    torch.set_num_threads(materials.threads)
    keep_few_programs()
    drawn = draw_pairs(materials.pairs, pairs)
    job = training_job(materials, "last_token", drawn, batch=batch, mini=mini, length=TRAINED_LENGTH)
    return _watched(job.run)[1]


def _watched(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, MB at the peak beyond what is held before, and the result."""
    from causal2vec.efficiency.machine import peak_mb, process_mb, reset_peak

    reset_peak("cpu")
    idle = process_mb("VmRSS")
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    return seconds, peak_mb("cpu", idle), result
