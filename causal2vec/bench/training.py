"""Contrastive training: this suite beside sentence-transformers' trainer, on the same pairs, to the same losses.

Each contender lives in a process of its own, so that each has its own peak of memory. What differs is only how a step
is computed: model, adapters and their first values, pairs and their order, loss, optimiser and rate are alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.bench.comparison import (
    NO_GOAL,
    Contender,
    Row,
    ceiling,
    helper,
    least_seconds,
    row,
    take_turns,
    training_work,
)
from causal2vec.bench.encoding import library_model
from causal2vec.bench.materials import Effort, Epoch, Materials, draw_pairs, say
from causal2vec.config.runs import Run
from causal2vec.config.settings import Budget, LearningRates, Lora
from causal2vec.efficiency.machine import linear_layers
from causal2vec.runtime.machine import keep_few_programs, keep_freed_memory, peak_memory_mb

RATE = 2e-4
TEMPERATURE = 0.05
"""The library's own (a scale of 20)."""

SEED = 0

WARMING = 16
"""Pairs of the step that warms a contender up."""

DEFAULT_MINI_BATCH = 32
LARGER_MINI_BATCH = 64
"""Tried beside the library's default, which is 32 pairs."""

TRIED = 64
"""Pairs of the step by which the library's best settings are found."""

RATE_TOKENS = 2048
"""Tokens at a time at which the matrix-multiply rate is measured."""

GOALS = {False: 2.0, True: 1.3}
"""Pairs per second, ours over the library's at its defaults: without and with gradient caching."""

AGREEMENT = {"float32": 5e-3, "bfloat16": 1e-1}
"""Losses of the same step, and relatively norms of the gradient, may part by so much: rounding, which training
multiplies from step to step."""


class Task(NamedTuple):
    """What every contender gets."""

    module: str
    folders: dict[str, Path]
    settings: dict[str, Any]
    queries: list[str]
    positives: list[str]
    epoch: Epoch
    threads: int
    dtype: str
    """Of ours."""

    def first(self, count: int) -> Task:
        """One step of no more than so many pairs."""
        few = min(self.epoch.batch, count)
        epoch = self.epoch._replace(batch=few)
        return self._replace(queries=self.queries[:few], positives=self.positives[:few], epoch=epoch)

    @property
    def budget(self) -> Budget:
        """The same in the suite's words: one epoch of whole batches."""
        return Budget(
            steps=len(self.queries) // self.epoch.batch,
            batch_size=self.epoch.batch,
            max_length=self.epoch.length,
            temperature=TEMPERATURE,
            learning_rates=LearningRates(lora=RATE),
            lora=Lora(),
            mini_batch_size=self.epoch.mini,
            save_steps=1000,
        )


class Settings(NamedTuple):
    """What a user of the library may choose."""

    dtype: str = "float32"
    mini_batch_size: int | None = None

    def __str__(self) -> str:
        return self.dtype + (f", mini-batch {self.mini_batch_size}" if self.mini_batch_size else "")


class Outcome(NamedTuple):
    """What an epoch came to: losses and norms of the gradient by step, and the most memory its process has held."""

    losses: list[float]
    norms: list[float]
    peak_mb: float


def compare_training(materials: Materials, effort: Effort) -> list[Row]:
    """Epochs with LoRA by both, the library at its defaults and at its best settings that learn the same."""
    return [row for epoch in effort.epochs for row in compare_epoch(materials, epoch, effort.repetitions)]


def task_of(materials: Materials, epoch: Epoch, run: Run | None = None) -> Task:
    """A method's, or that of last-token pooling, which the library can learn as well."""
    from causal2vec.training.contrastive import module_settings

    module, folders, settings = "baselines.last_token.LastToken", {"llm": materials.base}, {"add_bos": True}
    if run:
        module, folders, settings = run.spec.module, materials.folders(run), module_settings(run)
    pairs = draw_pairs(materials.pairs, epoch.pairs)
    return Task(module, folders, settings, *pairs, epoch, materials.threads, materials.dtype)


def compare_epoch(materials: Materials, epoch: Epoch, repetitions: int) -> list[Row]:
    """One epoch, ``repetitions`` times by each contender, each time from the same first values."""
    say(f"training: batch {epoch.batch}, {repetitions} repetitions of {epoch.pairs} pairs")
    dtype, caching = materials.dtype, epoch.mini is not None
    task = task_of(materials, epoch)
    plain = Settings(mini_batch_size=DEFAULT_MINI_BATCH if caching else None)
    best, tried = best_settings(task, plain)
    module, budget = our_module(task), task.budget
    flops = training_work(module, (task.queries, task.positives), budget.lora, caching=caching).flops
    flops *= budget.steps * epoch.batch / epoch.pairs  # what does not fill a batch is left out
    with ExitStack() as stack, ceiling(linear_layers(module), dtype, RATE_TOKENS) as rates:
        sides: dict[Settings | None, str] = {None: f"last_token, {dtype}", plain: "", best: ""}
        ours, *rivals = take_turns([_contender(stack, task, *side) for side in sides.items()], repetitions)
    work = f"train with LoRA, batch {epoch.batch}"
    if caching:
        work += f", gradient caching in mini-batches of {epoch.mini}"
    found = []
    for name, settings, rival in (("defaults", plain, rivals[0]), ("best settings", best, rivals[-1])):
        allowed = max(AGREEMENT[dtype], AGREEMENT[settings.dtype])
        note = (
            f"{budget.steps} steps an epoch, texts of up to {epoch.length} tokens; "
            f"{_agreement(ours.results[-1], rival.results[-1], allowed)}"
        )
        rival = rival._replace(name=f"trainer, {name} ({settings})")
        done, least = (budget.steps * epoch.batch, "pairs"), least_seconds(flops, rates)
        found.append(row(work, ours, rival, done, goal=GOALS[caching], least=least, note=note))
    found[1] = found[1]._replace(goal=NO_GOAL, note=f"{found[1].note}; tried: {tried}")
    return found


def best_settings(task: Task, plain: Settings) -> tuple[Settings, str]:
    """The library's fastest settings that leave batch, loss and result as they are, by one step of each, warm.

    Returns:
        The settings, and in words what was tried, in seconds.
    """
    trials = [plain, plain._replace(dtype="bfloat16")]
    if plain.mini_batch_size:
        trials.append(plain._replace(mini_batch_size=LARGER_MINI_BATCH))
    say(f"training: looking for the library's best settings among {', '.join(map(str, trials))}")
    with ExitStack() as stack:
        contenders = [_contender(stack, task.first(TRIED), settings, "") for settings in trials]
        timings = take_turns(contenders, 1)
    seconds = {settings: timing.median for settings, timing in zip(trials, timings, strict=True)}
    return min(trials, key=lambda s: seconds[s]), "; ".join(f"{s}: {value:.2f} s" for s, value in seconds.items())


def _agreement(ours: Outcome, rival: Outcome, allowed: float) -> str:
    parted = max(abs(a - b) for a, b in zip(ours.losses, rival.losses, strict=True))
    strayed = max(abs(a / b - 1) for a, b in zip(ours.norms, rival.norms, strict=True))
    agree = "the same curve" if max(parted, strayed) <= allowed else f"MORE THAN {allowed} APART"
    return (
        f"losses {ours.losses[0]:.4f} to {ours.losses[-1]:.4f}, at most {parted:.1e} apart, gradients' norms "
        f"{strayed:.1e} of themselves ({agree}); peak memory {ours.peak_mb:,.0f} MB, rival {rival.peak_mb:,.0f} MB"
    )


def _contender(stack: ExitStack, task: Task, settings: Settings | None, name: str) -> Contender:
    """A side in a process of its own, which keeps its model; ``settings`` None: ours."""
    call = helper(stack)
    return Contender(name, lambda _: call(_learn), lambda: call(_open, task, settings))


_side: list[Callable[[], Outcome]] = []
"""What a contender's process runs, once it is opened."""


def _open(task: Task, settings: Settings | None) -> None:
    """Build a side's model and take one step, so that nothing is done for the first time later."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(task.threads)
    disable_progress_bar()
    if settings is None:  # as every job of ours does
        keep_freed_memory()
        keep_few_programs()
    model = _our_model(task) if settings is None else _library_model(task)
    first = _first(model)
    _epoch(model, first, task.first(WARMING), settings)
    _side[:] = [lambda: _epoch(model, first, task, settings)]


def _learn() -> Outcome:
    return _side[0]()


def our_side(task: Task) -> Callable[[], Outcome]:
    """Ours, in this process."""
    model = _our_model(task)
    first = _first(model)
    return lambda: _epoch(model, first, task, None)


def _first(model: Any) -> dict[str, Any]:
    """The first values of what learns."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def _epoch(model: Any, first: dict[str, Any], task: Task, settings: Settings | None) -> Outcome:
    """One epoch from the adapters' first values."""
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in first:
                parameter.copy_(first[name])
    with tempfile.TemporaryDirectory() as state:
        make, given = _trainer(model, task, settings, state)
        data = Dataset.from_dict({"query": task.queries, "positive": task.positives})
        trainer = make(model=model, train_dataset=data, **given)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    norms = [float(entry["grad_norm"]) for entry in steps]
    return Outcome([entry["loss"] for entry in steps], norms, peak_memory_mb("cpu"))


def our_module(task: Task) -> Any:
    """The method, untrained and without adapters."""
    from causal2vec.training.lora import build_to_train

    settings = {**task.settings, "max_seq_length": task.epoch.length}
    return build_to_train(task.module, task.folders, settings, task.dtype)


def _our_model(task: Task) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    from causal2vec.training.lora import attach_lora

    module = our_module(task)
    torch.manual_seed(SEED)
    attach_lora(module, task.budget.lora)
    return SentenceTransformer(modules=[module], device="cpu")


def _library_model(task: Task) -> Any:
    """The library's own modules, and its own way to add adapters."""
    import torch
    from peft import LoraConfig

    lora = task.budget.lora
    model = library_model(task.folders["llm"], "float32", task.epoch.length)
    torch.manual_seed(SEED)
    model.add_adapter(
        LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets)
    )
    return model


def _trainer(model: Any, task: Task, settings: Settings | None, state: str) -> tuple[Any, dict[str, Any]]:
    """The trainer of a side, and its arguments and loss.

    The library's are its defaults, but for what must be alike: batches and their order, optimiser, rate and its course.
    """
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers
    from sentence_transformers.sentence_transformer import losses

    from causal2vec.training.trainer import EqualTermsTrainer, make_loss, training_arguments

    budget = task.budget
    if settings is None:
        ours = training_arguments(model[0], budget, {}, SEED, Path(state), device="cpu", dtype=task.dtype)
        ours.disable_tqdm = True
        return EqualTermsTrainer, {"args": ours, "loss": make_loss(model, budget), "callbacks": []}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=state,
        max_steps=budget.steps,
        per_device_train_batch_size=budget.batch_size,
        learning_rate=RATE,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        bf16=settings.dtype == "bfloat16",
        use_cpu=True,
        seed=SEED,
        data_seed=SEED,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        dataloader_drop_last=True,
        dataloader_pin_memory=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    loss: Any = losses.MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    if mini := settings.mini_batch_size:
        loss = losses.CachedMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE, mini_batch_size=mini)
    return SentenceTransformerTrainer, {"args": arguments, "loss": loss}
