"""Measure all methods side by side: same texts, interleaved, repeated; medians with their range.

Every model lives in a process of its own, so that its peak memory is its own, and waits there for its turn. The
methods on one base take turns within each repetition, so that a machine that slows down does so for all of them.
Bases follow one another: a GPU may hold all methods on one large LLM, but not on three.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from causal2vec.config import Efficiency
from causal2vec.efficiency.order import side_by_side
from causal2vec.efficiency.worker import Answer, Model, Question, serve
from causal2vec.errors import UserError
from causal2vec.files import atomic_file
from causal2vec.training.pairs import read_pairs

MIXED = "mixed"
"""The row on real texts of mixed length, cut as in the evaluation; the other rows are never cut."""


class Workload(NamedTuple):
    """Texts of one nominal length in tokens of the base's tokenizer, or of mixed length."""

    length: int | str
    texts: list[str]


def measure_efficiency(
    models: list[Model],
    pairs: Path,
    tokenizer: Path,
    settings: Efficiency,
    output: Path,
    *,
    device: str,
    dtype: str,
    threads: int,
) -> pd.DataFrame:
    """Write ``efficiency.csv``: one row per method, base and text length.

    Args:
        models: The trained models (an untrained twin costs what its method costs, and is not measured again).
        pairs: A parquet file of pairs, whose positives are the texts.
        tokenizer: The folder of the base whose tokens the nominal lengths count.
        settings: Lengths, number of texts, repetitions.
        output: The CSV file.
        device, dtype, threads: As for the evaluation.

    Returns:
        The table: tokens per text into LLM and encoder; texts per second and seconds per 1,000 texts as median,
        minimum and maximum over the repetitions; peak memory in MB (weights and activations); parameters.
    """
    workloads = make_workloads(pairs, tokenizer, settings)
    answers: dict[tuple[Model, int], list[Answer]] = {}
    for group in side_by_side(models):
        with ExitStack() as stack:
            workers = [stack.enter_context(_worker(model, device, dtype, threads)) for model in group]
            for place, workload in enumerate(workloads):
                for repetition in range(settings.repeats + 1):
                    for model, worker in zip(group, workers, strict=True):
                        answer = _ask(worker, model, _question(workload, settings))
                        if repetition:  # the first round warms caches and allocators up
                            answers.setdefault((model, place), []).append(answer)
    rows = [
        _row(model, workload, answers[model, place], settings, device, dtype)
        for model in models
        for place, workload in enumerate(workloads)
    ]
    table = pd.DataFrame(rows)
    with atomic_file(output) as draft:
        table.to_csv(draft, index=False)
    return table


def make_workloads(pairs: Path, tokenizer: Path, settings: Efficiency) -> list[Workload]:
    """Real texts, cut to each nominal length, and as they are.

    Raises:
        UserError: There is too little text for the configured lengths.
    """
    from transformers import AutoTokenizer

    reader = AutoTokenizer.from_pretrained(tokenizer)
    texts = read_pairs(pairs).to_pandas()["positive"].tolist()
    ids = reader(" ".join(texts), add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) < max(settings.lengths) * settings.texts or len(texts) < settings.texts:
        raise UserError(
            f"{pairs} holds {len(ids)} tokens in {len(texts)} texts, too few for efficiency.texts={settings.texts} of "
            f"efficiency.lengths up to {max(settings.lengths)}; lower them or raise pairs.validation"
        )
    workloads = []
    for length in settings.lengths:
        stretches = [ids[i * length : (i + 1) * length] for i in range(settings.texts)]
        workloads.append(Workload(length, reader.batch_decode(stretches)))
    step = len(texts) // settings.texts
    return [*workloads, Workload(MIXED, texts[::step][: settings.texts])]


def _question(workload: Workload, settings: Efficiency) -> Question:
    uncut = None if workload.length == MIXED else 4 * int(workload.length) + 64
    return Question(workload.texts, settings.batch_size, uncut)


@contextmanager
def _worker(model: Model, device: str, dtype: str, threads: int) -> Iterator[Any]:
    import multiprocessing

    context: Any = multiprocessing.get_context("spawn" if device == "cuda" else "forkserver")
    if device != "cuda":
        # One server imports the libraries; every worker starts from it in no time.
        context.set_forkserver_preload(["causal2vec.efficiency.worker", "sentence_transformers"])
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


def _ask(worker: Any, model: Model, question: Question) -> Answer:
    try:
        worker.send(question)
        answer = worker.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise UserError(
            f"the process that measures {model.method} on {model.base} died, most likely for lack of memory; lower "
            "efficiency.batch_size or efficiency.lengths, or measure fewer methods at once"
        ) from error
    if isinstance(answer, str):
        raise UserError(f"measuring {model.method} on {model.base} failed: {answer}")
    return answer


def _row(
    model: Model, workload: Workload, answers: list[Answer], settings: Efficiency, device: str, dtype: str
) -> dict[str, Any]:
    count = len(workload.texts)
    seconds = [answer.seconds for answer in answers]
    rates, costs = [count / s for s in seconds], [1000 * s / count for s in seconds]
    return {
        "method": model.method,
        "base": model.base,
        "text_tokens": workload.length,
        "llm_tokens": round(answers[0].llm_tokens, 2),
        "encoder_tokens": round(answers[0].encoder_tokens, 2),
        "texts_per_second": round(statistics.median(rates), 3),
        "texts_per_second_min": round(min(rates), 3),
        "texts_per_second_max": round(max(rates), 3),
        "seconds_per_1000_texts": round(statistics.median(costs), 3),
        "seconds_per_1000_texts_min": round(min(costs), 3),
        "seconds_per_1000_texts_max": round(max(costs), 3),
        "peak_memory_mb": round(max(answer.peak_memory_mb for answer in answers), 1),
        "trainable_parameters": model.trainable_parameters,
        "total_parameters": answers[0].parameters,
        "dtype": dtype,
        "batch_size": settings.batch_size,
        "device": device,
        "repeats": settings.repeats,
    }
