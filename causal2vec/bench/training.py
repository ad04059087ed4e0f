"""Contrastive training: this suite beside sentence-transformers' trainer, on the same pairs, to the same losses.

Each contender lives in a process of its own (`causal2vec.bench.epochs`), so that each has its own peak of memory.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from causal2vec.bench.epochs import Outcome, Settings, Task, contender, our_module
from causal2vec.bench.materials import Materials, draw_pairs, say
from causal2vec.bench.timing import Row, Timing, row, take_turns
from causal2vec.errors import UserError

LONGEST = 128
"""Tokens of a text at most, unless told otherwise."""

SPARE = 4
"""Texts are cut so much shorter: both sides add BOS and EOS, and a cut word may be read as more tokens than before."""

DEFAULT_MINI_BATCH = 32
LARGER_MINI_BATCH = 64
"""Tried beside the library's default, which is 32 pairs."""

TRIED = 64
"""Pairs of the step by which the library's best settings are found."""

GOALS = {False: 2.0, True: 1.3}
"""Pairs per second, ours over the library's at its defaults: without and with gradient caching."""

AGREEMENT = {"float32": 5e-3, "bfloat16": 1e-1}
"""Losses of the same step, and relatively norms of the gradient, may part by so much: rounding, which training
multiplies from step to step."""


def compare_training(
    materials: Materials,
    *,
    pairs_count: int,
    batch_size: int,
    mini_batch_size: int | None,
    repetitions: int,
    matmul_gflops: float,
    max_length: int = LONGEST,
) -> list[Row]:
    """One epoch with LoRA by both, the library at its defaults and at its best settings that learn the same.

    Args:
        materials: The LLM, the training pairs, threads of each contender (one of them works at a time), and what ours
            computes in.
        pairs_count: Pairs of an epoch; what does not fill a batch is left out.
        batch_size: Pairs of a step.
        mini_batch_size: Pairs at a time under gradient caching; None: no caching.
        repetitions: Epochs of each contender, each from the same first values.
        matmul_gflops: The machine's matrix-multiply rate, for the limit.
        max_length: Tokens of a text at most, BOS and EOS included.

    Raises:
        UserError: There are too few pairs.
    """
    if pairs_count < batch_size:
        raise UserError(f"{pairs_count} pairs do not fill a batch of {batch_size}; raise pairs_count")
    base, threads = materials.base, materials.threads
    queries, positives = (cut(texts, base, max_length) for texts in draw_pairs(materials.pairs, pairs_count))
    task = Task(base, queries, positives, batch_size, mini_batch_size, threads, max_length, materials.dtype)
    best, tried = best_settings(task)
    plain = Settings(mini_batch_size=mini_batch_size and DEFAULT_MINI_BATCH)
    ours, *rivals = _compete(task, list(dict.fromkeys([plain, best])), repetitions)
    rivals = [rivals[0], rivals[-1]]  # the same where no other settings are faster
    names = [f"trainer, defaults ({plain})", f"trainer, best settings ({best})"]
    goals = [GOALS[mini_batch_size is not None], float("nan")]
    flops = step_flops(task) * task.budget.steps
    return [
        row(
            _work(task), ours, rival._replace(name=name), amount=task.budget.steps * batch_size, unit="pairs",
            goal=goal, limit=rival.median / (flops / matmul_gflops / 1e9),
            note=_note(task, settings, ours.result, rival.result) + ("" if name == names[0] else f"; tried: {tried}"),
        )
        for name, settings, rival, goal in zip(names, (plain, best), rivals, goals, strict=True)
    ]  # fmt: skip


def cut(texts: list[str], base: Path, max_length: int) -> list[str]:
    """Texts that both sides read whole: the library would cut EOS off with the rest, and pool another token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    limit = max_length - SPARE
    offsets = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return [t if len(own) <= limit else t[: own[limit - 1][1]] for t, own in zip(texts, offsets, strict=True)]


def best_settings(task: Task) -> tuple[Settings, str]:
    """The library's fastest settings that leave batch, loss and result as they are, by one step of each, warm.

    Returns:
        The settings, and in words what was tried, in seconds.
    """
    plain = Settings(mini_batch_size=task.mini_batch_size and DEFAULT_MINI_BATCH)
    trials = [plain, plain._replace(dtype="bfloat16")]
    if task.mini_batch_size is not None:
        trials.append(plain._replace(mini_batch_size=LARGER_MINI_BATCH))
    few = min(task.batch_size, TRIED)
    small = task._replace(queries=task.queries[:few], positives=task.positives[:few], batch_size=few)
    say(f"training: looking for the library's best settings among {', '.join(map(str, trials))}")
    with ExitStack() as stack:
        sides = [contender(stack, small, settings, str(settings)) for settings in trials]
        found = take_turns(sides, 1)
    seconds = {settings: found[str(settings)].median for settings in trials}
    return min(trials, key=lambda s: seconds[s]), "; ".join(f"{s}: {value:.2f} s" for s, value in seconds.items())


def step_flops(task: Task) -> float:
    """FLOPs of a mean step of one epoch, padding left out; a second forward pass of gradient caching counts."""
    from causal2vec.efficiency.architecture import lora_parameters, training_flops
    from causal2vec.efficiency.machine import architecture

    module = our_module(task)
    shape = architecture(module.llm)
    adapters, total = lora_parameters(shape, task.budget.lora), 0.0
    for texts in (task.queries, task.positives):
        lengths = module.preprocess(texts)["attention_mask"].sum(dim=1)
        tokens, context = float(lengths.sum()), float((lengths * lengths).sum() / lengths.sum())
        caching = task.mini_batch_size is not None
        total += training_flops(shape, tokens, context, adapters=adapters, caching=caching)
    return total * task.batch_size / len(task.queries)


def _compete(task: Task, rivals: list[Settings], repetitions: int) -> list[Timing]:
    with ExitStack() as stack:
        sides = [contender(stack, task, None, f"last_token, {task.dtype}")]
        sides += [contender(stack, task, settings, f"rival {settings}") for settings in rivals]
        return list(take_turns(sides, repetitions).values())


def _work(task: Task) -> str:
    caching = "" if task.mini_batch_size is None else f", gradient caching in mini-batches of {task.mini_batch_size}"
    return f"train with LoRA, batch {task.batch_size}{caching}"


def _note(task: Task, settings: Settings, ours: Outcome, rival: Outcome) -> str:
    parted = max(abs(a - b) for a, b in zip(ours.losses, rival.losses, strict=True))
    strayed = max(abs(a / b - 1) for a, b in zip(ours.norms, rival.norms, strict=True))
    allowed = max(AGREEMENT[task.dtype], AGREEMENT[settings.dtype])
    agree = "the same curve" if max(parted, strayed) <= allowed else f"MORE THAN {allowed} APART"
    return (
        f"{task.budget.steps} steps an epoch, texts of up to {task.max_length} tokens; losses {ours.losses[0]:.4f} to "
        f"{ours.losses[-1]:.4f}, at most {parted:.1e} apart, gradients' norms {strayed:.1e} of themselves ({agree}); "
        f"peak memory {ours.peak_mb:,.0f} MB, rival {rival.peak_mb:,.0f} MB"
    )
