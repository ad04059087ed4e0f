"""One optimiser step of a 7B LLM: this suite's trainer beside sentence-transformers', on the same weights."""

from __future__ import annotations

import gc
import random
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from causal2vec.bench.gpu import shapes
from causal2vec.bench.gpu.encoding import tell_foreseen
from causal2vec.bench.gpu.profile import tell_costs
from causal2vec.bench.gpu.stage import RESERVE, Rate, Share, Side, Stage, compare, take_turns
from causal2vec.config.settings import Budget, Lora
from causal2vec.efficiency.architecture import lora_parameters, training_flops
from causal2vec.efficiency.machine import architecture, linear_layers, matmul_rate, timed
from causal2vec.plan.memory import Load, training_memory
from causal2vec.runtime.machine import attention_backend

RATE, TEMPERATURE, SEED = 2e-4, 0.02, 0
AGREEMENT = 0.1
"""Losses of the same step, both in bfloat16, may part by so much."""


AFTER = 8
"""What follows a trial of a mini-batch's size takes up to so many times as long."""


class Outcome(NamedTuple):
    """Losses and norms of the gradient by step."""

    losses: list[float]
    norms: list[float]


def budget(size: shapes.Size, mini: int, *, steps: int = 1, **others: Any) -> Budget:
    """What a run gets: adapters of rank 16 on all linear layers, gradient caching and checkpointing."""
    return Budget(
        steps=steps, batch_size=size.pairs, max_length=4 * size.trained, temperature=TEMPERATURE,
        mini_batch_size=mini, gradient_checkpointing=True, lora=Lora(rank=16, alpha=32), **others,
    )  # fmt: skip


def our_trainer(
    model: Any, texts: dict[str, list[str]], spent: Budget, state: Path, size: shapes.Size, *, keeps: bool = True
) -> Any:
    """This suite's, on a model with adapters; ``keeps``: it writes checkpoints."""
    from datasets import Dataset
    from transformers import PrinterCallback

    from causal2vec.training.trainer import EqualTermsTrainer, make_loss, training_arguments

    arguments = training_arguments(model[0], spent, {}, SEED, state, device=size.device, dtype=size.dtype)
    arguments.disable_tqdm = True
    if not keeps:
        arguments.save_strategy = "no"
    data = Dataset.from_dict(texts)
    trainer = EqualTermsTrainer(model=model, args=arguments, train_dataset=data, loss=make_loss(model, spent))
    trainer.remove_callback(PrinterCallback)
    return trainer


def adapted(llm: Any, encoder: Any, spent: Budget, method: str = "last_token") -> Any:
    """A method with adapters, as `causal2vec.training.contrastive` makes it."""
    from causal2vec.training.lora import attach_lora

    model = shapes.method(method, llm, encoder, max_seq_length=spent.max_length)
    torch.manual_seed(SEED)
    attach_lora(model[0], spent.lora, gradient_checkpointing=spent.gradient_checkpointing)
    return model


def outcome(trainer: Any) -> Outcome:
    """What a trainer has logged."""
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    return Outcome([entry["loss"] for entry in steps], [float(entry["grad_norm"]) for entry in steps])


def _library_trainer(model: Any, texts: dict[str, list[str]], mini: int, state: Path, size: shapes.Size) -> Any:
    """sentence-transformers' own trainer and loss; batch, order and rate are ours."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers
    from sentence_transformers.sentence_transformer import losses
    from transformers import PrinterCallback

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(state),
        max_steps=1,
        per_device_train_batch_size=size.pairs,
        learning_rate=RATE,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        bf16=size.dtype == "bfloat16",
        use_cpu=not size.cuda,
        seed=SEED,
        data_seed=SEED,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        dataloader_drop_last=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    loss = losses.CachedMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE, mini_batch_size=mini)
    framed = {column: [f"{text} </s>" for text in own] for column, own in texts.items()}  # ours adds EOS by itself

    class Trainer(SentenceTransformerTrainer):
        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """None, as ours writes none while it trains: it would count as time."""

    trainer = Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict(framed), loss=loss)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _library_model(llm: Any, folder: Path, spent: Budget, attention: str) -> Any:
    """The library's modules, and its own way to add adapters."""
    from peft import LoraConfig

    model = shapes.library_model(llm, folder, spent.max_length, attention)
    # Not by the trainer's argument: versions of transformers and sentence-transformers disagree on what it passes.
    model[0].model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.manual_seed(SEED)
    lora = spent.lora
    model.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets))
    return model


def texts_of(size: shapes.Size, pairs: int, seed: int = 0) -> dict[str, list[str]]:
    """Pairs of texts of exactly `trained` tokens, BOS and EOS counted."""
    draw = random.Random(seed)
    return {column: [shapes.text(size.trained - 2, draw) for _ in range(pairs)] for column in ("query", "positive")}


def step(stage: Stage) -> None:
    """LoRA with gradient caching and gradient checkpointing."""
    size = stage.size
    attention = attention_backend("auto", size.device, size.dtype)
    llm = shapes.random_model("mistral", size.llm, size.device, size.dtype)
    spent = budget(size, size.mini_batches[0])
    texts = texts_of(size, size.pairs)
    ours = adapted(llm, None, spent)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        theirs = _library_model(llm, folder / "model", spent, attention)

        first = {id(model): _learnt(model) for model in (ours, theirs)}

        def run_ours(mini: int, pairs: int) -> Outcome:
            _forget(ours, first[id(ours)])
            some = {column: own[:pairs] for column, own in texts.items()}
            own = spent.model_copy(update={"batch_size": pairs, "mini_batch_size": mini})
            return _trained(our_trainer(ours, some, own, folder / "ours", size, keeps=False))

        def run_theirs(mini: int, pairs: int) -> Outcome:
            _forget(theirs, first[id(theirs)])
            some = {column: own[:pairs] for column, own in texts.items()}
            fitting = size._replace(pairs=pairs)
            return _trained(_library_trainer(theirs, some, mini, folder / "theirs", fitting))

        few = min(size.pairs, max(size.mini_batches))
        rivals, own = (_tried(stage, run, few) for run in (run_theirs, run_ours))
        best = min(rivals, key=lambda mini: rivals[mini])
        # No larger than the rival's, as ours is not to take more memory.
        mine = min((mini for mini in own if mini <= best), key=lambda mini: own[mini], default=best)
        size = size._replace(pairs=_fits(stage, rivals[best] + own.get(mine, rivals[best]), few))
        spent = spent.model_copy(update={"batch_size": size.pairs, "mini_batch_size": mine})
        sides = [
            Side(f"trainer, {size.dtype}, mini-batch {mine}", lambda _: run_ours(mine, size.pairs)),
            Side(
                f"SentenceTransformerTrainer, {size.dtype}, mini-batch {best}, {attention}",
                lambda _: run_theirs(best, size.pairs),
            ),
        ]
        tokens_at_once = mine * size.trained
        layers = linear_layers(llm)
        rate = matmul_rate(layers, tokens_at_once, size.dtype, size.device, seconds=0.05)
        turns = take_turns(stage, sides)
        rate = 1e9 * (rate + matmul_rate(layers, tokens_at_once, size.dtype, size.device, seconds=0.05)) / 2
        flops = _flops(llm, spent, size)
        found = compare(
            f"a step of LoRA, rank {spent.lora.rank}, batch {size.pairs} of {size.trained}-token pairs", sides, turns,
            [float(size.pairs)] * len(turns[0].seconds), unit="pairs", goal=1.3,
            share=Share([flops] * len(turns[0].seconds), 0.5, rate),
            note=f"{_note(turns[0].results, turns[1].results)}; tried with {few} pairs: ours {_words(own)}; rival "
            f"{_words(rivals)}",
        )  # fmt: skip
        stage.tell(found)
        lean = found.ours_mb <= 1.001 * found.rival_mb
        stage.check(
            "memory of a training step, beside the rival's", "no more",
            f"{found.ours_mb / 1e3:.1f} GB, rival {found.rival_mb / 1e3:.1f} GB", lean if size.cuda else None,
        )  # fmt: skip
        stage.tell(Rate("training", flops * len(turns[0].seconds) / sum(turns[0].seconds), found.work))
        _foreseen(stage, llm, spent, found.ours_mb)
        if found.ratio < found.goal or found.share < found.share_goal:
            tell_costs(stage, found.work, lambda: run_ours(mine, few))


def _tried(stage: Stage, run: Any, pairs: int) -> dict[int, float]:
    """Seconds of a smaller step by size of the mini-batch, largest first, after a warm-up; as many as time allows."""
    first = min(stage.size.mini_batches)
    run(first, min(pairs, 2 * first))
    seconds: dict[int, float] = {}
    for mini in sorted(stage.size.mini_batches, reverse=True):
        if seconds and stage.left() < AFTER * max(seconds.values()):
            break
        seconds[mini] = timed(lambda: run(mini, pairs), stage.size.device)  # noqa: B023
    return seconds


def _fits(stage: Stage, seconds: float, pairs: int) -> int:
    """The batch that both sides' steps leave time for: the size's, or halved; ``seconds``: of both, at ``pairs``."""
    batch = stage.size.pairs
    while batch > pairs and 1.2 * seconds * batch / pairs + RESERVE > stage.left():
        batch //= 2
    return batch


def _words(seconds: dict[int, float]) -> str:
    return ", ".join(f"mini-batch {mini} {taken:.2f} s" for mini, taken in seconds.items())


def _learnt(model: Any) -> dict[str, torch.Tensor]:
    """The weights that learn, as they are."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def _forget(model: Any, first: dict[str, torch.Tensor]) -> None:
    """Take the weights back: every step is a first one."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in first:
                parameter.copy_(first[name])


def _trained(trainer: Any) -> Outcome:
    trainer.train()
    found = outcome(trainer)
    del trainer
    gc.collect()
    return found


def _flops(llm: Any, spent: Budget, size: shapes.Size) -> float:
    """Of one step; the passes that caching and checkpointing repeat count."""
    shape = architecture(llm)
    return training_flops(
        shape, 2 * size.pairs * size.trained, size.trained,
        adapters=lora_parameters(shape, spent.lora), checkpointing=True, caching=True,
    )  # fmt: skip


def _note(ours: list[Outcome], theirs: list[Outcome]) -> str:
    apart = abs(ours[0].losses[0] - theirs[0].losses[0])
    agree = "the same" if apart <= AGREEMENT else f"MORE THAN {AGREEMENT} APART"
    return (
        f"gradient caching and checkpointing on both sides; losses {ours[0].losses[0]:.4f} and "
        f"{theirs[0].losses[0]:.4f} ({agree})"
    )


def _foreseen(stage: Stage, llm: Any, spent: Budget, measured_mb: float) -> None:
    """The plan's peak of memory beside the measured one."""
    size, subject = stage.size, "memory of a training step, as planned"
    if not size.cuda:
        stage.check(subject, "within 25 %", "no GPU's memory to measure", None)
        return
    shape = architecture(llm)
    assert spent.mini_batch_size is not None
    load = Load(shape, spent.mini_batch_size, size.trained, frozen=True, decoder=True)
    planned = training_memory([load], lora_parameters(shape, spent.lora), size.dtype, size.device, checkpointing=True)
    tell_foreseen(stage, subject, planned.total, measured_mb)
