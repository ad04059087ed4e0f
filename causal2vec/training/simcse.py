"""Unsupervised SimCSE (Gao et al., arXiv 2104.08821), LLM2Vec's last stage without labels (arXiv 2404.05961, 2.3).

A text is embedded twice with different dropout; the two vectors are each other's positive, those of the other texts
in the batch the negatives (InfoNCE). As in LLM2Vec: bidirectional attention, mean pooling, dropout in attention only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor
from transformers import AutoConfig, set_seed

from baselines.bidirectional import Bidirectional
from causal2vec.config import Lora, Simcse
from causal2vec.data.pairs.texts import read_texts
from causal2vec.embedder import Embedder
from causal2vec.errors import UserError
from causal2vec.models.check_llm import check_backbone
from causal2vec.runtime.files import settle
from causal2vec.runtime.machine import keep_few_programs
from causal2vec.training.lora import attach_lora, merge_lora
from causal2vec.training.stages import (
    Computing,
    check_loss,
    opening,
    run_trainer,
    stage_arguments,
    wants_checkpointing,
    work_of,
    write_base,
)
from causal2vec.training.trainer import EqualTermsTrainer


class SimcseTrainer(EqualTermsTrainer):
    """The suite's trainer, whose message at a NaN names this stage's settings."""

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One step, refused if its loss is not finite."""
        loss = super(EqualTermsTrainer, self).training_step(*args, **kwargs)
        check_loss(float(loss), self.state.global_step + 1, "simcse", self._get_learning_rate())
        return loss


def pretrain_simcse(
    base: Path,
    pairs: Path,
    simcse: Simcse,
    lora: Lora,
    seed: int,
    output: Path,
    state: Path,
    computing: Computing = Computing(),  # noqa: B008 (it does not change)
) -> None:
    """Train adapters, merge them, and write the LLM as a new base to ``output``, with ``simcse.json``, the record.

    The result has no language-model head: nothing after this stage needs one. Texts come without an instruction
    (assumed). LLM2Vec reads sentences of Wikipedia (``simcse.texts``); without such a source the stage reads the
    positives of the training pairs.

    Args:
        base: The LLM's folder, usually what masked-next-token pre-training wrote.
        pairs: ``train.parquet`` of the training pairs, for a stage without texts of its own.
        simcse: The stage.
        lora: The adapters' shape.
        seed: Of adapters, dropout and order.
        output: Appears whole or not at all.
        state: Folder for checkpoints; a stage that was stopped goes on from there, if it has the same settings and
            inputs. Removed at the end.
        computing: Where and how it computes.

    Raises:
        UserError: The base cannot be made bidirectional or has no attention dropout, the texts do not fill a batch,
            the loss is not finite, or the stage was stopped by a signal.
    """
    inputs = computing.inputs or {}
    keep_few_programs()
    set_seed(seed)
    needed = simcse.steps * simcse.batch_size
    texts = read_texts(simcse.texts, pairs, needed, seed=seed, where="simcse.texts", fetched=computing.fetched)
    module = with_dropout(base, simcse, inputs, computing.device, **opening(**computing.how))
    attach_lora(module, lora, gradient_checkpointing=wants_checkpointing(module.llm, computing.device))
    model = SentenceTransformer(modules=[module], device=computing.device)
    arguments = stage_arguments(simcse, seed, state, device=computing.device, dtype=computing.dtype)
    trainer = SimcseTrainer(
        model=model,
        # An incomplete batch would have fewer negatives.
        args=SentenceTransformerTrainingArguments(**arguments, dataloader_drop_last=True),
        train_dataset=_views(texts, simcse.batch_size),
        loss=MultipleNegativesRankingLoss(model, scale=1 / simcse.temperature),
    )
    done = run_trainer(trainer, state, work_of(simcse, lora, seed, base, texts, **computing.how, inputs=inputs))
    merge_lora(module)
    record = {**simcse.model_dump(), "seed": seed, "base": base.name, "texts_read": len(texts), **done}
    write_base(module.llm, base, output, "simcse", {**record, "inputs": inputs})
    settle(state, output, keep=computing.keep_state)


def with_dropout(base: Path, simcse: Simcse, inputs: dict[str, Any], device: str = "cpu", **kwargs: Any) -> Embedder:
    """The bidirectional method on a base, with dropout in its attention (in training mode only).

    Args:
        base, simcse, inputs, device: As in `pretrain_simcse`.
        kwargs: For ``from_pretrained``.

    Raises:
        UserError: The architecture has no such dropout, or does not apply it.
    """
    config = AutoConfig.from_pretrained(base)
    lacking = f"{type(config).__name__.removesuffix('Config')} ({base}) has no dropout in its attention"
    advice = "which makes SimCSE's two views of a text; set simcse: false for the methods on this base"
    if not hasattr(config, "attention_dropout"):
        raise UserError(f"{lacking} (no attention_dropout in its config.json), {advice}")
    settings = {"max_seq_length": simcse.max_length, **{k: inputs.get(k) for k in ("add_bos", "chat")}}
    module = Bidirectional.build({"llm": str(base)}, settings, attention_dropout=simcse.dropout, **kwargs).to(device)
    check_backbone(module)
    module.train()
    features = module.preprocess(["two views of one text, which dropout makes", "another"])
    on_device = {key: value.to(device) for key, value in features.items()}
    with torch.no_grad(), torch.random.fork_rng():
        first, second = (module(dict(on_device))["sentence_embedding"] for _ in range(2))
    if torch.equal(first, second):
        raise UserError(f"{lacking} that is at work, {advice}")
    return module


def _views(texts: list[str], batch_size: int) -> Dataset:
    """Every text beside itself, once: its copy in a batch would be a wrong negative."""
    once = list(dict.fromkeys(texts))
    if batch_size == 1:
        raise UserError(
            "simcse.batch_size is 1: with no other text to tell it from, the loss is always zero; set it to 2 or more"
        )
    if len(once) < batch_size:
        raise UserError(
            f"simcse has {len(once)} different texts and so no whole batch; lower simcse.batch_size or add texts"
        )
    return Dataset.from_dict({"anchor": once, "positive": once})
