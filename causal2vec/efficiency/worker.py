"""The process that one model is measured in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from causal2vec.efficiency.counting import Counts, count, prompt_tokens, reads_once
from causal2vec.efficiency.machine import (
    Meter,
    linear_layers,
    matmul_rate,
    open_meter,
    peak_mb,
    process_mb,
    reset_peak,
    timed,
)
from causal2vec.efficiency.names import EXAMPLES
from causal2vec.efficiency.workloads import LATENCY_TEXTS, Workload
from causal2vec.encoding import encode, tokens_per_batch
from causal2vec.runtime.machine import keep_freed_memory
from causal2vec.speed.cpu_layers import fast_layers


class Model(NamedTuple):
    """A model folder, and what the table calls it.

    ``overrides`` are settings of the method to set otherwise; ``trusted`` is that of
    `causal2vec.models.folder.load_model`.
    """

    method: str
    base: str
    path: str
    trainable_parameters: int
    overrides: tuple[tuple[str, Any], ...] = ()
    trusted: bool = False


class Question(NamedTuple):
    """What to do: ``count`` (which also warms up), ``time``, or measure the machine's ``rate``."""

    task: str
    workload: Workload
    batch_tokens: int | None


class Timing(NamedTuple):
    """One repetition: seconds for all texts, for a single one, joules for all (None: no counter), peak memory."""

    seconds: float
    latency: float
    joules: float | None
    peak_memory_mb: float


Answer = Counts | Timing | float | None
"""None: no beginning can be read once, so there is nothing to measure."""


def serve(pipe: Any, model: Model, device: str, dtype: str, threads: int) -> None:
    """Load a model and answer questions until the pipe is closed; a failure is answered in words."""
    import torch

    from causal2vec.models.folder import load_model

    torch.set_num_threads(threads)
    keep_freed_memory()
    idle = process_mb("VmRSS")
    try:
        loaded = load_model(model.path, device, dtype, trusted=model.trusted)
        for name, value in model.overrides:
            override(loaded[0], name, value)
        meter = open_meter(device)
        with fast_layers(loaded):  # as in the evaluation
            while True:
                pipe.send(answer(loaded, pipe.recv(), device, dtype, idle, meter))
    except EOFError:
        return
    except Exception as error:  # whatever it is, the parent must hear of it
        pipe.send(f"{type(error).__name__}: {error}")


def override(module: Any, name: str, value: Any) -> None:
    """Set a setting of a built method.

    Raises:
        ValueError: The method has no such setting.
    """
    if name not in module.config_keys:
        raise ValueError(f"{type(module).__name__} has no setting '{name}' (it has {', '.join(module.config_keys)})")
    setattr(module, name, value)


def answer(
    model: Any, question: Question, device: str, dtype: str, idle_mb: float = 0.0, meter: Meter | None = None
) -> Answer:
    """Do what is asked with a loaded model."""
    if question.task == "rate":
        part = getattr(model[0], model[0].parts[0])
        budget = question.batch_tokens or tokens_per_batch(device, dtype)
        return matmul_rate(linear_layers(part), budget, dtype, device)
    case, _, prompt = question.workload
    with _as_asked(model, question.workload) as texts:
        if question.task == "count":
            if case.reuse and not reads_once(model, texts[0], prompt):
                return None
            counts = count(model, texts, prompt, question.batch_tokens)
            return None if case.reuse and counts.computed_tokens >= counts.llm_tokens else counts
        return _time(model, texts, prompt, question.batch_tokens, device, idle_mb, meter)


@contextmanager
def _as_asked(model: Any, workload: Workload) -> Iterator[list[str]]:
    """The model with the limit and the reuse of a workload; gives the texts.

    Texts of one length are never cut. Others are cut as in the evaluation, with room beside that for examples: there
    the text is cut beforehand, as the limit is for prompt and text together.
    """
    case, texts, prompt = workload
    module, own = model[0], model.max_seq_length
    before = prompt_tokens(model, prompt)
    if isinstance(case.length, int):
        model.max_seq_length = 4 * case.length + 2 * before + 64
    elif case.setting == EXAMPLES and before:
        texts = [_shortened(module.tokenizer, text, own) for text in texts]
        model.max_seq_length = own + before
    reused = getattr(module, "reuses_prefix", None)
    if reused is not None:
        module.reuses_prefix = case.reuse
    try:
        yield texts
    finally:
        model.max_seq_length = own
        if reused is not None:
            module.reuses_prefix = reused


def _shortened(tokenizer: Any, text: str, tokens: int) -> str:
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return text if len(ids) <= tokens else tokenizer.decode(ids[:tokens])


def _time(
    model: Any,
    texts: list[str],
    prompt: str,
    batch_tokens: int | None,
    device: str,
    idle_mb: float,
    meter: Meter | None,
) -> Timing:
    reset_peak(device)
    before = meter.read() if meter else ()
    seconds = timed(lambda: encode(model, texts, prompt=prompt or None, batch_tokens=batch_tokens), device)
    joules = meter.since(before) if meter else None
    peak = peak_mb(device, idle_mb)
    return Timing(seconds, _latency(model, texts[:LATENCY_TEXTS], prompt, device), joules, peak)


def _latency(model: Any, texts: list[str], prompt: str, device: str) -> float:
    """Mean seconds from a single text to its vector; a beginning that all share was read before."""
    import torch

    module = model[0]

    def embed(text: str) -> None:
        features = model.preprocess([text], prompt=prompt or None)
        model({name: value.to(model.device) for name, value in features.items()})["sentence_embedding"].float().cpu()

    with torch.inference_mode():
        if hasattr(module, "prefixes_read"):
            module.prefixes_read = {}  # as a service would: kept from query to query
        try:
            if getattr(module, "reuses_prefix", False):
                embed(texts[0])
            return sum(timed(lambda: embed(text), device) for text in texts) / len(texts)  # noqa: B023
        finally:
            if hasattr(module, "prefixes_read"):
                module.prefixes_read = None
