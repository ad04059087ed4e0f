"""What one contrastive training costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from causal2vec.efficiency.architecture import Architecture, lora_parameters
from causal2vec.efficiency.flops import forward_flops, training_flops
from causal2vec.efficiency.reading import Reader, Tokens
from causal2vec.plan.memory import Load, Memory, training_memory
from causal2vec.plan.texts import ASSUMED_SOURCE, batches

if TYPE_CHECKING:
    from causal2vec.config.runs import Run
    from causal2vec.plan.estimate import Estimator

BATCHES = 3
"""Batches of the training that are looked at, each of one source."""


class Training(NamedTuple):
    """A run's training in numbers: all steps together, and the memory of one process."""

    tokens: float
    flops: float
    trainable: int
    processes: int
    memory: Memory
    plain: Memory
    checkpointed: Memory


class _Setting(NamedTuple):
    """What the formulas take from a run."""

    parts: dict[str, Architecture]
    columns: list[Tokens]
    adapters: int | None
    learning: dict[str, int]
    """Weights that learn by part, adapters not counted."""
    learns_prefix: bool
    """Whether a beginning that all texts of a column share is read once."""


def contrastive(estimator: Estimator, run: Run, parts: dict[str, Architecture]) -> Training:
    """FLOPs and memory of a training: three batches are read as the method reads them, and stand for all steps.

    Models are packed where that is possible: padding costs nothing then, nor does reading a shared instruction more
    than once. Elsewhere a column is padded to its longest text; padding is computed on and so counted.

    Raises:
        UserError: The adapters' targets are in no layer.
    """
    from causal2vec.training.lora import learns_prefix

    budget, reader = run.budget, estimator.reader(run)
    adapters = lora_parameters(parts["llm"], budget.lora) if "llm" in parts else None
    once = "llm" in parts and learns_prefix(
        parts["llm"].model, budget.lora, gradient_checkpointing=budget.gradient_checkpointing
    )
    setting = _Setting(parts, _columns(estimator, run, reader), adapters, _learning(reader, parts), once)
    processes = run.distributed.total if estimator.device == "cuda" else 1
    mini = budget.mini_batch_size
    caching = mini is not None and mini < budget.batch_size
    steps = budget.steps / BATCHES
    rows = budget.batch_size
    trainable = (adapters or 0) + sum(setting.learning.values())

    def peak(checkpointing: bool, at_once: int | None) -> Memory:
        share = budget.batch_size / processes
        loads = _loads(setting, share, at_once if at_once is not None and at_once < share else None)
        return training_memory(
            loads,
            trainable,
            estimator.dtype,
            estimator.device,
            checkpointing=checkpointing,
            processes=processes,
            sharded=run.distributed.strategy == "fsdp" and processes > 1,
        )

    return Training(
        tokens=steps * sum(_llm_tokens(setting, batch, rows) or rows * batch.encoder_real for batch in setting.columns),
        flops=steps * sum(_flops(setting, run, batch, rows, caching) for batch in setting.columns),
        trainable=trainable,
        processes=processes,
        memory=peak(budget.gradient_checkpointing, mini if caching else None),
        plain=peak(False, None),
        checkpointed=peak(True, mini if caching else None),
    )


def _learning(reader: Reader, parts: dict[str, Architecture]) -> dict[str, int]:
    """Of a method that could not be read, an encoder is taken to learn as a whole."""
    if reader.understood:
        return reader.learning()
    return {part: model.parameters for part, model in parts.items() if part != "llm"}


def _columns(estimator: Estimator, run: Run, reader: Reader) -> list[Tokens]:
    """Each column of each sampled batch, as the method reads it."""
    found = []
    for source, columns in batches(estimator.sample, run.budget.batch_size, BATCHES):
        prompts = estimator.prompts_behind[run.spec.examples]
        own = prompts.for_training(estimator.middling if source == ASSUMED_SOURCE else source)
        for index, texts in enumerate(columns):
            prompt = own["query"] if index == 0 else own["positive"]
            found.append(reader.count(list(texts), prompt, run.budget.max_length))
    return found


def _flops(setting: _Setting, run: Run, batch: Tokens, rows: float, caching: bool) -> float:
    """One column of one batch through all parts, there and back; a part that does not learn only there."""
    total = 0.0
    for part, model in setting.parts.items():
        width = batch.llm_real if part == "llm" else batch.encoder_real
        tokens = _llm_tokens(setting, batch, rows) if part == "llm" else rows * width
        if part != "llm" and not setting.learning.get(part):
            total += (1 + int(caching)) * forward_flops(model, tokens, width)
            continue
        total += training_flops(
            model,
            tokens,
            width,
            adapters=setting.adapters if part == "llm" else None,
            checkpointing=run.budget.gradient_checkpointing and part == "llm",
            caching=caching,
        )
    return total


def _llm_tokens(setting: _Setting, batch: Tokens, rows: float) -> float:
    """Tokens of a column that the LLM computes, a beginning that is shared and worth it counted once."""
    from causal2vec.speed.packing import WORTHWHILE

    saved = batch.head * (rows - 1) if setting.learns_prefix else 0.0
    return rows * batch.llm_real - (saved if saved >= WORTHWHILE else 0.0)


def _loads(setting: _Setting, rows: float, at_once: int | None) -> list[Load]:
    """What is held at once: every column of a batch, or with gradient caching one mini-batch of the widest."""
    chosen, per_batch = setting.columns, len(setting.columns) // BATCHES
    if at_once is not None:
        chosen, per_batch, rows = [max(chosen, key=lambda b: b.llm_real + b.encoder_real)], 1, at_once
    loads = []
    for part, model in setting.parts.items():
        widths = [batch.llm_real if part == "llm" else batch.encoder_real for batch in chosen]
        widest, mean = max(*widths, 1.0), sum(widths) / len(widths)
        equal = rows * per_batch * mean / widest  # rows of the widest column that hold as many tokens
        if part != "llm" and not setting.learning.get(part):
            equal = 0.0  # nothing is kept for a backward pass
        loads.append(Load(model, equal, widest, frozen=part == "llm", decoder=part == "llm"))
    return loads
