"""Masked-next-token prediction: teach a causal LLM to use tokens on its right (LLM2Vec, arXiv 2404.05961, 2.2).

A share of the tokens is masked; a masked token is predicted from the state *before* it, as in next-token
prediction, but with bidirectional attention. transformers' causal-LM loss shifts by one already, so labels at
the masked positions alone make exactly this objective.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

from causal2vec.config import Lora, Mntp
from causal2vec.data.pairs.texts import read_texts
from causal2vec.errors import UserError
from causal2vec.models.check_llm import check_llm
from causal2vec.runtime.files import settle
from causal2vec.runtime.machine import keep_few_programs
from causal2vec.training.checkpoints import step_of
from causal2vec.training.lora import adapted, compute_twice
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

MASKS = "masks.pt"


class MaskingCollator(DataCollatorForLanguageModeling):
    """transformers' own masking, which can go on with the masks of a stage that was stopped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.drawn = 0
        self.states: dict[int, Tensor] = {}

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        """A batch; what the masks are drawn from is remembered, as the trainer draws batches ahead of its steps."""
        if self.generator is None:
            self.create_rng()
        self.states = {step: state for step, state in self.states.items() if step > self.drawn - 4}
        self.states[self.drawn] = self.generator.get_state()
        self.drawn += 1
        return super().torch_call(examples)

    def save(self, folder: Path, step: int) -> None:
        """Write what the masks of the batch after ``step`` are drawn from."""
        torch.save(self.states.get(step, self.generator.get_state()), folder / MASKS)

    def load(self, folder: Path, step: int) -> None:
        """Go on as after ``step``."""
        self.generator, self.drawn = torch.Generator(), step
        self.generator.set_state(torch.load(folder / MASKS, weights_only=True))


class MntpTrainer(Trainer):
    """transformers' trainer, but no step after a NaN, and the same masks after a stop."""

    data_collator: MaskingCollator

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        self.data_collator.save(Path(output_dir or str(self.args.output_dir)), self.state.global_step)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.data_collator.load(Path(resume_from_checkpoint), step_of(resume_from_checkpoint))

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One step, refused if its loss is not finite."""
        loss = super().training_step(*args, **kwargs)
        check_loss(float(loss), self.state.global_step + 1, "mntp", self._get_learning_rate())
        return loss


def pretrain_mntp(
    base: Path,
    pairs: Path,
    mntp: Mntp,
    lora: Lora,
    seed: int,
    output: Path,
    state: Path,
    computing: Computing = Computing(),  # noqa: B008 (it does not change)
) -> None:
    """Train adapters, merge them, and write the LLM as a new base to ``output``, with ``mntp.json``, the record.

    LLM2Vec reads WikiText-103 (``mntp.texts``). Without such a source the stage reads the positives of the training
    pairs, which keeps the data equal for all methods.

    Args:
        base: The LLM's folder.
        pairs: ``train.parquet`` of the training pairs, for a stage without texts of its own.
        mntp: The stage, as it runs on this base (`causal2vec.config.Mntp.on`).
        lora: The adapters' shape.
        seed: Of adapters, masks and order.
        output: Appears whole or not at all.
        state: Folder for checkpoints; a stage that was stopped goes on from there, if it has the same settings and
            inputs. Removed at the end.
        computing: Where and how it computes.

    Raises:
        UserError: The base cannot be made bidirectional, the mask token is not one token of it, there is no text,
            the loss is not finite, or the stage was stopped by a signal.
    """
    keep_few_programs()
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    llm: Any = AutoModelForCausalLM.from_pretrained(base, **opening(**computing.how))
    llm.to(computing.device)
    llm.config.is_causal = False
    check_llm(llm.base_model)
    if wants_checkpointing(llm, computing.device):
        compute_twice(llm)
    model = adapted(llm, lora)
    needed = mntp.steps * mntp.batch_size
    texts = read_texts(mntp.texts, pairs, needed, seed=seed, where="mntp.texts", fetched=computing.fetched)
    trainer = MntpTrainer(
        model=model,
        args=TrainingArguments(**stage_arguments(mntp, seed, state, device=computing.device, dtype=computing.dtype)),
        train_dataset=_encoded(texts, tokenizer, mntp.max_length),
        data_collator=_collator(tokenizer, mntp, seed),
    )
    done = run_trainer(trainer, state, work_of(mntp, lora, seed, base, texts, **computing.how))
    record = {**mntp.model_dump(), "seed": seed, "base": base.name, "texts_read": len(texts), **done}
    write_base(model.merge_and_unload(), base, output, "mntp", record)
    settle(state, output, keep=computing.keep_state)


def _encoded(texts: list[str], tokenizer: Any, max_length: int) -> Dataset:
    encoded = tokenizer(texts, truncation=True, max_length=max_length)
    return Dataset.from_dict({"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]})


def _collator(tokenizer: Any, mntp: Mntp, seed: int) -> MaskingCollator:
    """The masking, with a token of the LLM standing in for the mask token that it lacks."""
    mask_id = tokenizer.convert_tokens_to_ids(mntp.mask_token)
    if mask_id is None or mask_id == tokenizer.unk_token_id:
        raise UserError(f"mntp.mask_token '{mntp.mask_token}' is not one token of the LLM; choose another, such as _")
    tokenizer.mask_token = mntp.mask_token
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # Llama 2 and Mistral have none; neither is ever a label
    share = (1.0, 0.0) if mntp.all_mask else (0.8, 0.1)
    return MaskingCollator(
        tokenizer,
        mlm_probability=mntp.mask_probability,
        mask_replace_prob=share[0],
        random_replace_prob=share[1],
        seed=seed,
    )
