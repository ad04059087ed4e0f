"""How cost grows: with the number of texts, with their length, with the batch of a training.

Every point of memory is measured in a process of its own, which starts afresh.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import ExitStack
from textwrap import fill
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from causal2vec.bench.comparison import Pages, helper, middle
from causal2vec.bench.encoding import our_encode, our_model
from causal2vec.bench.materials import Effort, Epoch, Materials, draw_texts, say
from causal2vec.bench.training import our_side, task_of
from causal2vec.reporting.show.figures.style import LINES, MARKERS, OKABE_ITO, WIDTH, styled
from causal2vec.reporting.show.figures.svg import save
from causal2vec.runtime.machine import keep_few_programs, keep_freed_memory

SHORT_TOKENS = 4
"""Texts of the curve over their number are cut to so many tokens, and the base to its first block: a hundred thousand
whole ones on all of it take the better part of an hour on two cores."""

TOKENS_PER_LENGTH = 4096
"""Tokens that are embedded at each length."""

REPETITIONS = 3
MINI_BATCH = 32
TRAINED_LENGTH = 32
"""Tokens per text at which the memory of training is measured: short, as only the number of texts is to count."""


Point = dict[str, Any]


class Drawing(NamedTuple):
    """One figure: its title, the quantities in its panels with what the axes say, and what to look for."""

    title: str
    panels: dict[str, str]
    x: str
    caption: str


DRAWINGS = {
    "texts": Drawing(
        "Embedding more and more texts",
        {"speed": "texts per second", "memory": "MB at the peak"},
        "texts",
        "The speed should stay, and peak memory beyond the model grow by no more than the vectors.",
    ),
    "lengths": Drawing(
        "Embedding longer and longer texts",
        {"tokens": "tokens per second", "memory": "MB at the peak"},
        "tokens per text",
        "A level line means that cost is linear in the length; where it falls, attention shows.",
    ),
    "batches": Drawing(
        "Training on larger and larger batches",
        {"memory": "MB at the peak"},
        "pairs per batch",
        "Peak memory of a training step beyond the model. With gradient caching it should stay.",
    ),
}


def measure_scaling(materials: Materials, effort: Effort, pages: Pages) -> None:
    """Measure all curves and write them."""
    points = [
        *over_counts(materials, effort.counts),
        *over_lengths(materials, effort.lengths),
        *over_batches(materials, effort.cached, effort.plain),
    ]
    write_curves(points, pages)


def over_counts(materials: Materials, counts: tuple[int, ...]) -> list[Point]:
    """Texts per second, peak memory, and the share of it that is the vectors themselves, by number of texts."""
    points = []
    for count in counts:
        say(f"scaling: {count:,} texts")
        repetitions = 1 if count == max(counts) else REPETITIONS
        seconds, peak, vectors = _apart(_embed, materials, count, SHORT_TOKENS, repetitions, 1)
        points += [
            point("texts", "speed", "last_token, 1 block", count, [count / s for s in seconds], "texts/s"),
            point("texts", "memory", "peak beyond the model", count, [peak], "MB"),
            point("texts", "memory", "of which vectors", count, [vectors], "MB"),
        ]
    return points


def over_lengths(materials: Materials, lengths: tuple[int, ...]) -> list[Point]:
    """Tokens per second and peak memory by length of the texts in tokens."""
    points = []
    for length in lengths:
        say(f"scaling: texts of {length} tokens")
        count = max(1, TOKENS_PER_LENGTH // length)
        seconds, peak, _ = _apart(_embed, materials, count, length - 2, REPETITIONS)  # BOS and EOS are of a length
        rates = [count / s for s in seconds]
        points += [
            point("lengths", "speed", "last_token", length, rates, "texts/s"),
            point("lengths", "tokens", "last_token", length, [rate * length for rate in rates], "tokens/s"),
            point("lengths", "memory", "last_token", length, [peak], "MB"),
        ]
    return points


def over_batches(materials: Materials, cached: tuple[int, ...], plain: tuple[int, ...]) -> list[Point]:
    """Peak memory of a training by batch size, with gradient caching in mini-batches and without.

    Every training reads the same pairs, in fewer or more steps: a process needs somewhat more the more it has read,
    whatever its batches, as torch makes programs for every shape that it meets (`keep_few_programs`).
    """
    points = []
    with_caching = f"gradient caching, mini-batches of {MINI_BATCH}"
    for series, mini, sizes in ((with_caching, MINI_BATCH, cached), ("no gradient caching", None, plain)):
        for size in sizes:
            say(f"scaling: training, batch {size}, {series}")
            peak = _apart(_train, materials, Epoch(max(cached + plain), size, mini, TRAINED_LENGTH))
            points.append(point("batches", "memory", series, size, [peak], "MB"))
    return points


def point(curve: str, quantity: str, series: str, x: float, values: list[float], unit: str) -> Point:
    """One measurement of a curve, a row of ``scaling.csv``: ``y`` with its range over ``x``."""
    y, low, high = middle(values)
    return {
        "curve": curve, "quantity": quantity, "series": series, "x": x, "x_unit": DRAWINGS[curve].x,
        "y": y, "y_min": low, "y_max": high, "unit": unit,
    }  # fmt: skip


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    with ExitStack() as stack:
        return helper(stack, "causal2vec.training.contrastive")(work, *arguments)


def _embed(
    materials: Materials, count: int, tokens: int, repetitions: int, layers: int | None = None
) -> tuple[list[float], float, float]:
    """Seconds of each repetition, MB at the peak beyond the model, MB of the vectors, of texts of so many tokens.

    A decoded stretch may be read as some tokens more or less.
    """
    import torch

    from causal2vec.models.prepare import keep_layers

    torch.set_num_threads(materials.threads)
    keep_freed_memory()  # as every job does
    model = our_model(materials.base, materials.dtype, 4 * tokens + 16)
    if layers:
        keep_layers(model[0].llm, layers)
    gc.freeze()  # the same
    drawn = draw_texts(materials.pairs, model.tokenizer, 1 + TOKENS_PER_LENGTH // 8)
    ids = [i for own in model.tokenizer(drawn, add_special_tokens=False)["input_ids"] for i in own]
    distinct = min(count, len(ids) // tokens)
    texts = model.tokenizer.batch_decode([ids[k * tokens : (k + 1) * tokens] for k in range(distinct)])
    encode, texts = our_encode(model), [texts[k % distinct] for k in range(count)]
    encode(texts[: max(1, min(64, count // 4))])
    runs = [_watched(lambda: encode(texts)) for _ in range(repetitions)]
    return [seconds for seconds, _, _ in runs], max(peak for _, peak, _ in runs), runs[0][2].nbytes / 1e6


def _train(materials: Materials, epoch: Epoch) -> float:
    """MB at the peak of a training beyond the model."""
    import torch

    torch.set_num_threads(materials.threads)
    keep_few_programs()
    return _watched(our_side(task_of(materials, epoch)))[1]


def _watched(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, MB at the peak beyond what is held before, and the result."""
    from causal2vec.efficiency.machine import peak_mb, process_mb, reset_peak

    reset_peak("cpu")
    idle = process_mb("VmRSS")
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    return seconds, peak_mb("cpu", idle), result


def write_curves(points: list[Point], pages: Pages) -> None:
    """``scaling.csv``, and one figure (SVG and PNG) per curve that there are points of."""
    table = pd.DataFrame(points)
    pages.write_csv("scaling", table)
    stamp = "; ".join(pages.about[key] for key in ("Machine", "Date", "Commit"))
    with styled():
        for curve, own in table.groupby("curve", sort=False):
            drawing = DRAWINGS[str(curve)]
            save(_draw(own, drawing, stamp), pages.folder, f"scaling_{curve}", drawing.title, drawing.caption)


def _draw(points: pd.DataFrame, drawing: Drawing, stamp: str) -> Figure:
    """A figure of one curve that reads in black and white, a panel for each quantity."""
    figure = Figure(figsize=(WIDTH, 0.5 + 2.2 * len(drawing.panels)), layout="constrained")
    grid = figure.subplots(len(drawing.panels), 1, squeeze=False)[:, 0]
    for axes, (quantity, label) in zip(grid, drawing.panels.items(), strict=True):
        own = points[points["quantity"] == quantity].sort_values("x")
        looks = zip(OKABE_ITO, MARKERS, LINES, strict=False)
        for (series, line), (colour, marker, dashes) in zip(own.groupby("series", sort=False), looks, strict=False):
            bars = [line["y"] - line["y_min"], line["y_max"] - line["y"]]
            look = {"color": colour, "marker": marker, "linestyle": dashes, "capsize": 2, "label": series}
            axes.errorbar(line["x"], line["y"], yerr=bars, **look)
        axes.set_xscale("log")
        axes.set_xticks(own["x"].unique(), [f"{x:,.0f}" for x in own["x"].unique()])
        axes.set_xticks([], minor=True)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        axes.legend()
    grid[-1].set_xlabel(f"{drawing.x}\n{fill(stamp, 60)}")
    return figure
