"""One epoch of contrastive training, by this suite or by sentence-transformers, in a process of its own.

What differs is only how a step is computed: model, adapters and their first values, pairs and their order, loss,
optimiser and rate are alike.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.bench.timing import Contender
from causal2vec.config.settings import Budget, LearningRates, Lora
from causal2vec.runtime.machine import keep_few_programs, keep_freed_memory, process_context

RATE = 2e-4
TEMPERATURE = 0.05
"""The library's own (a scale of 20)."""

SEED = 0

WARMING = 16
"""Pairs of the step that warms a contender up."""


class Task(NamedTuple):
    """What every contender gets."""

    base: Path
    queries: list[str]
    positives: list[str]
    batch_size: int
    mini_batch_size: int | None
    threads: int
    max_length: int
    dtype: str
    """Of ours."""

    @property
    def budget(self) -> Budget:
        """The same in the suite's words: one epoch of whole batches."""
        return Budget(
            steps=len(self.queries) // self.batch_size,
            batch_size=self.batch_size,
            max_length=self.max_length,
            temperature=TEMPERATURE,
            learning_rates=LearningRates(lora=RATE),
            lora=Lora(),
            mini_batch_size=self.mini_batch_size,
            save_steps=1000,
        )


class Settings(NamedTuple):
    """What a user of the library may choose."""

    dtype: str = "float32"
    mini_batch_size: int | None = None

    def __str__(self) -> str:
        mini = "" if self.mini_batch_size is None else f", mini-batch {self.mini_batch_size}"
        return f"{self.dtype}{mini}"


class Outcome(NamedTuple):
    """One epoch: losses and gradients' norms by step, and the most memory (MB) that its process has held so far."""

    losses: list[float]
    norms: list[float]
    peak_mb: float


def contender(stack: ExitStack, task: Task, settings: Settings | None, name: str) -> Contender:
    """A side in a process of its own, which keeps its model; None: ours."""
    context = process_context(["sentence_transformers"])
    pool = stack.enter_context(ProcessPoolExecutor(max_workers=1, mp_context=context))
    return Contender(
        name,
        run=lambda: pool.submit(_epoch).result(),
        warm=lambda: pool.submit(_open, task, settings).result(),
    )


class _Side(NamedTuple):
    task: Task
    settings: Settings | None
    model: Any
    first: dict[str, Any]
    """The adapters' first values."""


_side: list[_Side] = []
"""What a contender's process works on, once it is opened."""


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
    first = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    size = min(task.batch_size, WARMING)
    warm = task._replace(queries=task.queries[:size], positives=task.positives[:size], batch_size=size)
    _side[:] = [_Side(warm, settings, model, first)]
    _epoch()
    _side[:] = [_Side(task, settings, model, first)]


def _epoch() -> Outcome:
    """One epoch from the first values."""
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback

    from causal2vec.runtime.machine import peak_memory_mb

    side = _side[0]
    with torch.no_grad():
        for name, parameter in side.model.named_parameters():
            if name in side.first:
                parameter.copy_(side.first[name])
    ours = side.settings is None
    texts = {"query": side.task.queries, "positive": side.task.positives}
    if not ours:  # BOS and EOS, which ours adds by itself
        begin, end = _frame(side.model.tokenizer)
        texts = {column: [f"{begin}{text}{end}" for text in own] for column, own in texts.items()}
    with tempfile.TemporaryDirectory() as state:
        maker = _our_trainer if ours else _library_trainer
        trainer = maker(side, Dataset.from_dict(texts), Path(state))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    norms = [float(entry["grad_norm"]) for entry in steps]
    return Outcome([entry["loss"] for entry in steps], norms, peak_memory_mb("cpu"))


def _frame(tokenizer: Any) -> tuple[str, str]:
    """BOS and EOS as text, where the tokenizer does not add them by itself."""
    natural = tokenizer("")["input_ids"]
    begin = "" if tokenizer.bos_token_id in natural[:1] else tokenizer.bos_token or ""
    return begin, "" if tokenizer.eos_token_id in natural[-1:] else tokenizer.eos_token


def our_module(task: Task) -> Any:
    """Last-token pooling on the base, untrained and without adapters."""
    from causal2vec.training.lora import build_to_train

    settings = {"max_seq_length": task.max_length, "add_bos": True}
    return build_to_train("baselines.last_token.LastToken", {"llm": task.base}, settings, task.dtype)


def _our_model(task: Task) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    from causal2vec.training.lora import attach_lora

    module = our_module(task)
    torch.manual_seed(SEED)
    attach_lora(module, task.budget.lora)
    return SentenceTransformer(modules=[module], device="cpu")


def _our_trainer(side: _Side, data: Any, state: Path) -> Any:
    from causal2vec.training.trainer import EqualTermsTrainer, make_loss, training_arguments

    budget = side.task.budget
    dtype = side.task.dtype
    arguments = training_arguments(side.model[0], budget, {}, SEED, state, device="cpu", dtype=dtype)
    arguments.disable_tqdm = True
    return EqualTermsTrainer(
        model=side.model, args=arguments, train_dataset=data, loss=make_loss(side.model, budget), callbacks=[]
    )


def _library_model(task: Task) -> Any:
    """The library's own modules, and its own way to add adapters."""
    import torch
    from peft import LoraConfig

    from causal2vec.bench.encoding import library_model

    lora = task.budget.lora
    model = library_model(task.base, "float32")
    model.max_seq_length = task.max_length
    torch.manual_seed(SEED)
    model.add_adapter(
        LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets)
    )
    return model


def _library_trainer(side: _Side, data: Any, state: Path) -> Any:
    """Its defaults, but for what must be alike: batches and their order, optimiser, rate and its course."""
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers
    from sentence_transformers.sentence_transformer import losses

    assert side.settings is not None
    mini = side.settings.mini_batch_size
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(state),
        max_steps=side.task.budget.steps,
        per_device_train_batch_size=side.task.batch_size,
        learning_rate=RATE,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        bf16=side.settings.dtype == "bfloat16",
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
    if mini is None:
        loss: Any = losses.MultipleNegativesRankingLoss(side.model, scale=1 / TEMPERATURE)
    else:
        loss = losses.CachedMultipleNegativesRankingLoss(side.model, scale=1 / TEMPERATURE, mini_batch_size=mini)
    return SentenceTransformerTrainer(model=side.model, args=arguments, train_dataset=data, loss=loss)
