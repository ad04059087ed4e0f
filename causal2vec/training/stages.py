"""What the two pre-training stages share: each trains adapters on plain text and merges them into a new base.

LLM2Vec keeps a stage's adapters and goes on with them; merging them makes every stage's result an ordinary base,
which the next stage, and the contrastive training that all methods share, start from in the same way.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoTokenizer

from causal2vec.config import Alignment, Lora, Mntp, Simcse
from causal2vec.errors import UserError
from causal2vec.runtime.files import atomic_folder, read_json, sha256_json, take_up, write_json
from causal2vec.runtime.fingerprint import fingerprint
from causal2vec.runtime.machine import attention_backend
from causal2vec.runtime.seals import content
from causal2vec.training.checkpoints import KEEP, last_checkpoint
from causal2vec.training.lora import compute_twice
from causal2vec.training.signals import train


class Computing(NamedTuple):
    """Where and how a stage computes, reads and ends."""

    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "auto"
    """``compute.attention``."""
    fetched: Path | None = None
    """The record of the texts' download, where they come from the hub."""
    inputs: dict[str, Any] | None = None
    """What the base asks of every method (`causal2vec.config.runs.Run.inputs`): ``add_bos`` and ``chat`` count."""
    keep_state: bool = False
    """See `causal2vec.runtime.files.settle`."""

    @property
    def how(self) -> dict[str, str]:
        """What a checkpoint must have in common with the stage that goes on from it."""
        return {"device": self.device, "dtype": self.dtype, "attention": self.attention}


LARGE = 1e9
"""Weights from which on a GPU computes activations twice instead of keeping them (gradient checkpointing)."""


def opening(device: str, dtype: str, attention: str) -> dict[str, Any]:
    """How a stage opens its base: keyword arguments of ``from_pretrained``.

    The frozen weights are float32 on a CPU. On a GPU they have the format of the computation: 7e9 weights take 14 GB
    in bfloat16, and merging rounds to it in the end. The adapters are float32 always.

    Raises:
        UserError: ``attention`` (``compute.attention``) cannot be had here.
    """
    backend = attention_backend(attention, device, dtype)
    # sdpa is transformers' own choice, where the architecture has it; Gemma 2 has not.
    chosen = {} if backend == "sdpa" else {"attn_implementation": backend}
    return {"dtype": torch.bfloat16 if device == "cuda" and dtype == "bfloat16" else torch.float32, **chosen}


def wants_checkpointing(llm: Any, device: str) -> bool:
    """Whether activations are computed twice to save memory: on a GPU, from `LARGE` weights on."""
    return device == "cuda" and sum(p.numel() for p in llm.parameters()) > LARGE


def stage_arguments(
    stage: Alignment | Mntp | Simcse, seed: int, state: Path, *, device: str, dtype: str
) -> dict[str, Any]:
    """A stage's settings in the words of transformers' ``TrainingArguments``; no warm-up, as in LLM2Vec's files."""
    return {
        "output_dir": str(state),
        "max_steps": stage.steps,
        "per_device_train_batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": "linear",
        "bf16": dtype == "bfloat16",
        "use_cpu": device == "cpu",
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "save_steps": max(50, stage.steps // 4),
        "save_total_limit": KEEP,
        "report_to": "none",
        "dataloader_pin_memory": device == "cuda",
    }


def work_of(
    stage: Alignment | Mntp | Simcse, lora: Lora, seed: int, base: Path, texts: list[str], **how: Any
) -> dict[str, Any]:
    """A stage's settings, the content of what it reads, and how it computes."""
    code = fingerprint(f"causal2vec.training.{type(stage).__name__.lower()}")
    read = {"base": content(base), "texts": sha256_json(texts)}
    return {"stage": stage.model_dump(), "lora": lora.model_dump(), "seed": seed, "code": code, **read, **how}


def run_trainer(trainer: Any, state: Path, work: dict[str, Any]) -> dict[str, Any]:
    """Train, from the last whole checkpoint in ``state`` where there is one.

    Args:
        trainer: Any of transformers'.
        state: The folder of checkpoints.
        work: The stage's settings and the content of its inputs, without which no checkpoint is its own.

    Returns:
        For the stage's record: ``seconds`` of this run's steps (of the last one's, where a stage was stopped), and the
        ``loss`` of every step.
    """
    take_up(state, work)
    start = time.perf_counter()
    train(trainer, last_checkpoint(state))
    seconds = time.perf_counter() - start
    losses = [{"step": e["step"], "loss": round(e["loss"], 6)} for e in trainer.state.log_history if "loss" in e]
    return {"seconds": round(seconds, 1), "loss": losses}


def check_loss(loss: float, step: int, stage: str, rate: float) -> None:
    """Stop at the first loss that is not a number: transformers' own log would show it as zero.

    Raises:
        UserError: The loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise UserError(
            f"the loss of {stage} is {loss} at step {step}, at the learning rate {rate:.3g}; lower "
            f"{stage}.learning_rate, or set compute.dtype: float32"
        )


def write_base(llm: Any, base: Path, output: Path, name: str, record: dict[str, Any]) -> None:
    """Write a trained LLM, adapters merged, as a new base with the settings and tokenizer of the old one.

    What a stage sets while it trains (no causal mask, dropout) is no property of its result.

    Args:
        llm: The LLM; with its head, if it has one.
        base: The folder it came from.
        output: Appears whole or not at all.
        name: Of the stage; the record is written as ``NAME.json``, with the records of earlier stages beside it.
        record: How it was made.
    """
    compute_twice(llm, on=False)
    llm.config = AutoConfig.from_pretrained(base)
    with atomic_folder(output) as draft:
        llm.save_pretrained(draft)
        AutoTokenizer.from_pretrained(base).save_pretrained(draft)
        if name != "mntp" and (base / "mntp.json").is_file():
            earlier = read_json(base / "mntp.json")
            record = {**record, "base": earlier["base"]}
            write_json(draft / "mntp.json", earlier)
        write_json(draft / f"{name}.json", record)
