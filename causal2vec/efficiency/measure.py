"""Measure all methods side by side: same texts, interleaved, repeated; medians with their range.

Every model lives in a process of its own, so that its peak memory is its own, and waits there for its turn. The
methods on one base take turns within each repetition, so that a machine that slows down does so for all of them.
Bases follow one another: a GPU may hold all methods on one large LLM, but not on three.

A method that is added later costs only its own time: it takes turns with a method of before, and its times are divided
by how much slower that one was this time. What does not depend on the machine's mood (tokens, FLOPs, memory, energy)
stays as measured.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.config.settings import Efficiency
from causal2vec.efficiency.counting import Counts
from causal2vec.efficiency.names import READ_AGAIN, READ_ONCE
from causal2vec.efficiency.worker import Answer, Model, Question, Timing, serve
from causal2vec.efficiency.workloads import Workload, make_workloads, side_by_side
from causal2vec.encoding import tokens_per_batch
from causal2vec.errors import UserError, hint
from causal2vec.runtime.files import atomic_file, read_record, sha256_json, write_record, yaml_value
from causal2vec.runtime.machine import device_name, process_context
from causal2vec.runtime.seals import content

logger = logging.getLogger(__name__)

TIMES, RATE = ("seconds_per_1000_texts", "latency_ms"), "texts_per_second"

Rows = list[dict[str, Any] | None]
"""One per workload; None where there was nothing to measure."""

Measured = dict[tuple[Model, int], tuple[Counts, list[Timing]]]
"""By model and number of the workload; absent where there was nothing to measure."""


class Machine(NamedTuple):
    """Where, in which format and with how many processor threads everything computes."""

    dtype: str
    device: str
    threads: int


def measure_efficiency(
    models: list[Model],
    pairs: Path,
    tokenizer: Path,
    settings: Efficiency,
    output: Path,
    machine: Machine,
    *,
    task_texts: Path | None = None,
    kept: Path | None = None,
) -> pd.DataFrame:
    """Write ``efficiency.csv``: one row per method, base, setting, reuse and text length; see docs/efficiency.md.

    Args:
        models: The trained models (an untrained twin costs what its method costs, and is not measured again).
        pairs: A parquet file of pairs, whose positives are the texts.
        tokenizer: The folder of the base whose tokens the nominal lengths count.
        settings: Lengths, prompts, number of texts, repetitions.
        output: The CSV file.
        machine: As for the evaluation.
        task_texts: The texts of evaluation tasks, for ``efficiency.tasks``.
        kept: The folder of what was measured before with the same code: only what is new is measured.

    Returns:
        The table.

    Raises:
        UserError: Too little text, an unknown task or variant, or a model that cannot be measured.
    """
    workloads = make_workloads(pairs, tokenizer, settings, task_texts)
    models = with_variants(models, settings.variants)
    made: dict[str, Any] = {**machine._asdict(), "repeats": settings.repeats}
    made["batch_tokens"] = settings.batch_tokens or tokens_per_batch(machine.device, machine.dtype)
    store = Kept(kept, {**made, "machine": device_name(machine.device)}, workloads)
    known = {model: rows for model in models if (rows := store.read(model)) is not None}
    for group in side_by_side(models):
        if not (new := [model for model in group if model not in known]):
            continue
        before = next((model for model in group if model in known), None)
        found = _in_turns([*([before] if before else []), *new], workloads, settings, made)
        drift = drift_of(known[before], found[before]) if before else 1.0
        if before:
            logger.info("took turns with %s, which was %.3f times as slow as before", before.method, drift)
        # At the shapes of one base there is one rate.
        rates = {row["base"]: row["matmul_gflops"] for rows in known.values() for row in rows if row}
        for model in new:
            rows = [row and {**as_then(row, drift), "matmul_gflops": rates.get(model.base, row["matmul_gflops"])}
                    for row in found[model]]  # fmt: skip
            store.write(model, rows, before and before.method, drift)
            known[model] = rows
    table = pd.DataFrame([row for model in models for row in known[model] if row])
    with atomic_file(output) as draft:
        table.to_csv(draft, index=False)
    return table


def _in_turns(
    models: list[Model], workloads: list[Workload], settings: Efficiency, made: dict[str, Any]
) -> dict[Model, Rows]:
    """The rows of models that take turns; a rate is the machine's at the shapes of one base."""
    measured: Measured = {}
    first = {model.base: model for model in reversed(models)}
    rates: dict[str, list[float]] = {base: [] for base in first}
    with ExitStack() as stack:
        workers = {
            model: stack.enter_context(_worker(model, made["device"], made["dtype"], made["threads"]))
            for model in models
        }
        for place, workload in enumerate(workloads):
            measured |= _side_by_side(workers, place, workload, settings)
            question = Question("rate", workload, settings.batch_tokens)
            for base, model in first.items():
                rates[base].append(_ask(workers[model], model, question))
    return {
        model: [
            row_of(model, workload, *measured[model, place]) | {"matmul_gflops": _figure(rates[model.base])} | made
            if (model, place) in measured
            else None
            for place, workload in enumerate(workloads)
        ]
        for model in models
    }


def with_variants(models: list[Model], variants: list[str]) -> list[Model]:
    """The models, and behind each its variants: the same weights with a setting (``METHOD+KEY=VALUE``) set otherwise.

    What a method computes does not depend on what its weights have learnt, so no variant is trained for this.

    Raises:
        UserError: A variant of a method that is not measured.
    """
    methods = [model.method for model in models]
    for name in variants:
        if (method := name.partition("+")[0]) not in methods:
            raise UserError(
                f"efficiency.variants: {method} of '{name}' is not measured{hint(method, methods)}; drop it"
            )
    found = []
    for model in models:
        found.append(model)
        for name in variants:
            method, _, change = name.partition("+")
            if method == model.method:
                key, _, value = change.partition("=")
                found.append(model._replace(method=name, overrides=((key, _setting(name, value)),)))
    return found


def _setting(variant: str, value: str) -> Any:
    try:
        return yaml_value(value)
    except ValueError as error:
        raise UserError(
            f"efficiency.variants: '{variant}' has no value that can be read ({error}); correct it"
        ) from error


def _side_by_side(workers: dict[Model, Any], place: int, workload: Workload, settings: Efficiency) -> Measured:
    """All models on one workload: counted once, which also warms up, then timed in turns."""
    question = Question("count", workload, settings.batch_tokens)
    counted = {model: _ask(worker, model, question) for model, worker in workers.items()}
    # To a method that reads no prompt, further lengths of examples are all the same.
    further = workload.case.examples not in (0, settings.example_tokens[0])
    found: Measured = {
        (model, place): (counts, [])
        for model, counts in counted.items()
        if counts is not None and (counts.prompt_tokens or not further)
    }
    for _ in range(settings.repeats):
        for model, _place in found:
            timing = _ask(workers[model], model, question._replace(task="time"))
            found[model, place][1].append(timing)
    return found


@contextmanager
def _worker(model: Model, device: str, dtype: str, threads: int) -> Iterator[Any]:
    context = process_context(["causal2vec.efficiency.worker", "sentence_transformers"], device)
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, model, device, dtype, threads), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(timeout=10)
        process.kill()


def _ask(worker: Any, model: Model, question: Question) -> Any:
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # it failed before it was asked: it has said why
            worker.send(question)
        answer: Answer | str = worker.recv()
    except (EOFError, ConnectionResetError) as error:
        raise UserError(
            f"the process that measures {model.method} on {model.base} died, most likely for lack of memory; lower "
            "efficiency.batch_tokens or efficiency.lengths, or measure fewer methods at once"
        ) from error
    if isinstance(answer, str):
        raise UserError(f"measuring {model.method} on {model.base} failed: {answer}")
    return answer


def row_of(model: Model, workload: Workload, counts: Counts, timings: list[Timing]) -> dict[str, Any]:
    """What ``efficiency.csv`` says of a model on a workload, but for what is the same in all rows."""
    case, count = workload.case, len(workload.texts)
    seconds = [timing.seconds for timing in timings]
    joules = [timing.joules for timing in timings if timing.joules is not None]
    return {
        "method": model.method,
        "base": model.base,
        "text_tokens": case.length,
        "llm_tokens": round(counts.llm_tokens, 2),
        "encoder_tokens": round(counts.encoder_tokens, 2),
        **_spread("texts_per_second", [count / s for s in seconds]),
        **_spread("seconds_per_1000_texts", [1000 * s / count for s in seconds]),
        "peak_memory_mb": round(max(timing.peak_memory_mb for timing in timings), 1),
        "trainable_parameters": model.trainable_parameters,
        "total_parameters": counts.parameters,
        "batch_size": round(counts.batch_size, 1),
        "setting": case.setting,
        "reuse": READ_ONCE if case.reuse else READ_AGAIN,
        "prompt_tokens": counts.prompt_tokens,
        "computed_tokens": round(counts.computed_tokens, 2),
        "gflops_per_text": round(counts.predicted_flops / 1e9, 6),
        "measured_gflops_per_text": round(counts.counted_flops / 1e9, 6),
        **_spread("latency_ms", [1000 * timing.latency for timing in timings]),
        "joules_per_text": _figure(joules) / count if joules else None,
    }


def _spread(name: str, values: list[float]) -> dict[str, float]:
    return {name: _figure(values), f"{name}_min": round(min(values), 3), f"{name}_max": round(max(values), 3)}


def _figure(values: list[float]) -> float:
    return round(statistics.median(values), 3)


class Kept:
    """The rows of models, a file each, by all that decides them.

    Args:
        folder: Of code and settings that are the same; None keeps nothing.
        how: How it is measured: what else must be the same.
        workloads: What is measured.
    """

    def __init__(self, folder: Path | None, how: dict[str, Any], workloads: list[Workload]) -> None:
        self.folder, self.how = folder, [how, sha256_json(workloads)]

    def read(self, model: Model) -> Rows | None:
        """A model's rows, if it was measured in the same way."""
        record = read_record(self._file(self.folder, model)) if self.folder else None
        # As pairs, since a record's keys are sorted and columns are not.
        return None if record is None else [row and dict(row) for row in record["rows"]]

    def write(self, model: Model, rows: Rows, beside: str | None, drift: float) -> None:
        """Keep a model's rows, and which model it took turns with."""
        if self.folder:
            pairs = [row and list(row.items()) for row in rows]
            write_record(self._file(self.folder, model), {"rows": pairs, "beside": beside, "drift": drift})

    def _file(self, folder: Path, model: Model) -> Path:
        known = model._replace(path=content(Path(model.path)))
        return folder / f"{model.method}-{sha256_json([*self.how, known])[:16]}.json"


def drift_of(before: Rows, now: Rows) -> float:
    """How much slower the machine was now than before, by one model's seconds: the median over the workloads."""
    name = TIMES[0]
    ratios = [there[name] / here[name] for here, there in zip(before, now, strict=True) if here and there]
    return float(statistics.median(ratios))


def as_then(row: dict[str, Any], drift: float) -> dict[str, Any]:
    """A row with its times as they would have been on the machine as it was before."""
    factors = dict.fromkeys(TIMES, 1 / drift) | {RATE: drift}
    columns = {f"{name}{part}": factor for name, factor in factors.items() for part in ("", "_min", "_max")}
    return row | {column: round(row[column] * factor, 3) for column, factor in columns.items()}
