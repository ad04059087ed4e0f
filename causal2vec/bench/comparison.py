"""What all sections share: contenders that take turns, the machine's limit, rows of the table, and its pages."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.bench.materials import Effort, Materials
from causal2vec.config.settings import Lora
from causal2vec.efficiency.architecture import Architecture, forward_flops, lora_parameters, training_flops
from causal2vec.efficiency.counting import tokens_left_out
from causal2vec.efficiency.machine import Layers, architecture, matmul_rate
from causal2vec.encoding import tokens_per_batch
from causal2vec.reporting.show.tables.grid import GAP, format_number
from causal2vec.runtime.files import atomic_file, read_json, write_text
from causal2vec.runtime.machine import process_context
from causal2vec.runtime.manifest import git_state, today
from causal2vec.speed.last_layer import weights_left_out

VERSIONS = ("torch", "transformers", "sentence-transformers", "peft", "mteb", "snakemake")

NO_GOAL = float("nan")

RATE_SECONDS = 0.08
"""Seconds that one shape of matrix is multiplied for, each time."""

HEAD = (
    "Ours and rival: median (lowest to highest repetition) in the unit given; both took turns in one run. Ratio: "
    "of the medians. Limit: the ratio if ours did nothing but multiply matrices, at the rate measured beside this "
    "very work; of a plan, if ours were Snakemake alone. A dash: no goal, no rival, or not a matter of FLOPs."
)


class Contender(NamedTuple):
    """One side of a comparison.

    Attributes:
        name: What the table calls it.
        run: Does the work once, given the repetition's number; what it returns is there to be checked.
        warm: Makes ready for ``run``, untimed, once before everything.
    """

    name: str
    run: Callable[[int], Any]
    warm: Callable[[], Any] | None = None


class Timing(NamedTuple):
    """Seconds and results of every repetition of one contender."""

    name: str
    seconds: list[float]
    results: list[Any]

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


class Row(NamedTuple):
    """One comparison, as the tables show it. Rates and ratios are such that more is better."""

    work: str
    ours: str
    rival: str
    unit: str
    ours_median: float
    ours_min: float
    ours_max: float
    rival_median: float
    rival_min: float
    rival_max: float
    ratio: float
    goal: float
    limit: float | None
    """The ratio that this machine's matrix-multiply rate would allow at most; None: not a matter of FLOPs."""
    note: str
    """What was checked (how near vectors, losses, scores are) and what stands in the way of the goal."""

    @property
    def met(self) -> str:
        """Whether the goal is met, and if not, whether this machine would allow it at all."""
        if math.isnan(self.goal):
            return GAP
        if self.ratio >= self.goal:
            return "yes"
        return "no: beyond the limit" if self.limit is not None and self.limit < self.goal else "no"


def take_turns(contenders: list[Contender], repetitions: int) -> list[Timing]:
    """Run all contenders in turns, so that a machine that slows down does so for all of them."""
    found = [Timing(contender.name, [], []) for contender in contenders]
    for contender in contenders:
        if contender.warm:
            contender.warm()
    for number in range(repetitions):
        for contender, timing in zip(contenders, found, strict=True):
            start = time.perf_counter()
            timing.results.append(contender.run(number))
            timing.seconds.append(time.perf_counter() - start)
    return found


def helper(stack: ExitStack, *preload: str) -> Callable[..., Any]:
    """A process that imports ``preload`` and the library, then calls what it is given; it ends with the stack."""
    context = process_context(["sentence_transformers", *preload])
    pool = stack.enter_context(ProcessPoolExecutor(max_workers=1, mp_context=context))
    return lambda work, *arguments: pool.submit(work, *arguments).result()


def row(
    work: str, ours: Timing, rival: Timing, done: tuple[int, str], *, goal: float, least: float | None, note: str
) -> Row:
    """A comparison; the ratio is of medians.

    Args:
        work: What the table calls it.
        ours, rival: The timings.
        done: Units of work in each repetition of both, and what they are, for example texts.
        goal: Of the ratio, or `NO_GOAL`.
        least: Seconds that multiplying its matrices alone would take; None: not a matter of FLOPs.
        note: What was checked.
    """
    fast, slow = (middle([done[0] / s for s in timing.seconds]) for timing in (ours, rival))
    limit = rival.median / least if least else None
    return Row(work, ours.name, rival.name, f"{done[1]}/s", *fast, *slow, rival.median / ours.median, goal, limit, note)


def middle(values: list[float]) -> tuple[float, float, float]:
    """Median, lowest and highest."""
    return statistics.median(values), min(values), max(values)


class Work(NamedTuple):
    """What some texts need of a method: padding and a beginning that is read once are not counted."""

    flops: float
    tokens: dict[str, int]
    """By part."""


@contextmanager
def ceiling(layers: Layers, dtype: str, tokens: int | None = None) -> Iterator[list[float]]:
    """Around some work: the matrix-multiply rate of some layers right before and right after, in GFLOP/s."""
    tokens = tokens or tokens_per_batch("cpu", dtype)
    rates = [matmul_rate(layers, tokens, dtype, seconds=RATE_SECONDS)]
    yield rates
    rates.append(matmul_rate(layers, tokens, dtype, seconds=RATE_SECONDS))


def least_seconds(flops: float, rates: list[float]) -> float:
    """What so many FLOPs would take if they were matrix multiplication and nothing else."""
    return flops / statistics.mean(rates) / 1e9


def useful_work(module: Any, texts: list[str], count: Callable[..., float] | None = None) -> Work:
    """FLOPs (`causal2vec.efficiency.architecture`) and tokens of what has to be computed of some texts: no padding, and
    without gradients no more of the last layer than `causal2vec.speed.last_layer` computes.

    Args:
        module: A method of this suite, without adapters.
        texts: One batch.
        count: FLOPs of a part, given its name, architecture, tokens and mean context; None: of a forward pass.
    """
    features = module.preprocess(texts)
    lengths = {module.parts[0]: features["attention_mask"].sum(dim=1)}
    if "pre_mask" in features:
        lengths["encoder"] = features["pre_mask"].sum(dim=1)
    flops, tokens = 0.0, {}
    for part, own in lengths.items():
        shape = architecture(getattr(module, part))
        tokens[part] = int(own.sum())
        context = float((own * own).sum()) / tokens[part]
        flops += count(part, shape, tokens[part], context) if count else forward_flops(shape, tokens[part], context)
    if not count and "llm" in tokens:  # without gradients
        flops -= 2 * tokens_left_out(module, features, tokens["llm"]) * weights_left_out(module.llm)
    return Work(flops, tokens)


def training_work(module: Any, columns: tuple[list[str], ...], lora: Lora, *, caching: bool = False) -> Work:
    """The same of a training; with ``caching``, the second forward pass of gradient caching counts."""

    def count(part: str, shape: Architecture, tokens: float, context: float) -> float:
        if part == "encoder" and not any(p.requires_grad for p in module.encoder.parameters()):
            return forward_flops(shape, tokens, context)
        adapters = lora_parameters(shape, lora) if part == "llm" else None
        return training_flops(shape, tokens, context, adapters=adapters, caching=caching)

    found = [useful_work(module, texts, count) for texts in columns]
    tokens = {part: sum(one.tokens[part] for one in found) for part in found[0].tokens}
    return Work(sum(one.flops for one in found), tokens)


def facts(materials: Materials, effort: Effort) -> dict[str, str]:
    """What the numbers depend on: machine, versions, date."""
    hardware, git = read_json(materials.hardware), git_state()
    rates = ", ".join(f"{dtype} {rate:g} GFLOP/s" for dtype, rate in hardware.get("gflops", {}).items())
    return {
        "Machine": f"{hardware.get('device_name')}, {hardware.get('cores')} cores, {hardware.get('memory_gib')} GiB, "
        f"{hardware.get('system')}",
        "Load before": f"{os.getloadavg()[0]:.2f}",  # what else the machine was doing
        "Threads": str(materials.threads),
        "Number format": f"{materials.dtype}, by {hardware.get('dtype_chosen_by')} ({rates})",
        "Versions": ", ".join(f"{name} {version(name)}" for name in VERSIONS),
        "Repetitions": str(effort.repetitions),
        "Date": today(),
        "Commit": f"{(git['commit'] or 'unknown')[:7]}{' with changes' if git['dirty'] else ''}",
    }


class Pages(NamedTuple):
    """The folder of tables and figures, and what all of them depend on."""

    about: dict[str, str]
    folder: Path

    def write(self, name: str, title: str, *parts: str) -> None:
        """A Markdown page."""
        known = "\n".join(f"- {key}: {value}" for key, value in self.about.items())
        write_text(self.folder / f"{name}.md", "\n\n".join([f"# {title}", known, *parts]) + "\n")

    def write_csv(self, name: str, table: pd.DataFrame) -> None:
        """A table for machines."""
        with atomic_file(self.folder / f"{name}.csv") as draft:
            table.to_csv(draft, index=False, float_format="%.6g")

    def write_rows(self, rows: list[Row]) -> None:
        """``bench.csv`` and ``bench.md``."""
        self.write_csv("bench", pd.DataFrame(rows, columns=Row._fields).assign(met=[row.met for row in rows]))
        lines = [
            {
                "": str(place),
                "Work": row.work,
                "Ours": f"{row.ours}: {span(*row[4:7])}",
                "Rival": GAP if math.isnan(row.rival_median) else f"{row.rival}: {span(*row[7:10])}",
                "Unit": row.unit,
                "Ratio": number(row.ratio),
                "Goal": GAP if math.isnan(row.goal) else f"{row.goal:g}",
                "Met": row.met,
                "Limit": number(row.limit),
            }
            for place, row in enumerate(rows, 1)
        ]
        notes = "\n".join(f"{place}. {row.note}" for place, row in enumerate(rows, 1))
        self.write("bench", "Bench", HEAD, table(lines), notes)


def table(lines: Iterable[dict[str, str]]) -> str:
    """A Markdown table."""
    plain = [{key: text.replace("|", "\\|") for key, text in line.items()} for line in lines]
    return str(pd.DataFrame(plain).to_markdown(index=False, disable_numparse=True))


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return GAP if value is None or not math.isfinite(value) else format_number(value, "sig3")


def span(middle: float, low: float, high: float) -> str:
    """A median with its range."""
    return f"{number(middle)} ({number(low)} to {number(high)})"
