"""Masked-next-token prediction: teach a causal LLM to use tokens on its right (LLM2Vec, arXiv 2404.05961, 2.2).

A share of the tokens is masked; a masked token is predicted from the state *before* it, as in next-token
prediction, but with bidirectional attention. transformers' causal-LM loss shifts by one already, so labels at
the masked positions alone make exactly this objective.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from causal2vec.config import Lora, Mntp
from causal2vec.errors import UserError
from causal2vec.files import atomic_folder, write_json
from causal2vec.training.contrastive import check_finite
from causal2vec.training.lora import adapted
from causal2vec.training.pairs import read_pairs


def pretrain_mntp(
    base: Path,
    pairs: Path,
    mntp: Mntp,
    lora: Lora,
    seed: int,
    output: Path,
    state: Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
) -> None:
    """Train adapters on the positives' text, merge them, and write the LLM as a new base to ``output``.

    LLM2Vec reads Wikipedia; so do we, in the form of the training pairs' texts, which keeps the data equal for
    all methods (the extra steps are counted in the training-cost table).

    Raises:
        UserError: The mask token is not one token of the LLM, or the loss is not finite.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, set_seed
    from transformers.trainer_utils import get_last_checkpoint

    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    llm = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    llm.config.is_causal = False
    model = adapted(llm, lora)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(state),
            max_steps=mntp.steps,
            per_device_train_batch_size=mntp.batch_size,
            learning_rate=mntp.learning_rate,
            lr_scheduler_type="linear",
            bf16=dtype == "bfloat16",
            use_cpu=device == "cpu",
            seed=seed,
            data_seed=seed,
            logging_steps=1,
            save_steps=max(50, mntp.steps // 4),
            save_total_limit=1,
            report_to="none",
            dataloader_pin_memory=device == "cuda",
        ),
        train_dataset=_texts(pairs, tokenizer, mntp),
        data_collator=_collator(tokenizer, mntp, seed),
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(state)) if state.is_dir() else None)
    losses = [{"step": e["step"], "loss": round(e["loss"], 6)} for e in trainer.state.log_history if "loss" in e]
    for entry in losses:
        check_finite(entry["loss"], int(entry["step"]))
    merged = model.merge_and_unload()
    with atomic_folder(output) as draft:
        merged.save_pretrained(draft)
        AutoTokenizer.from_pretrained(base).save_pretrained(draft)
        write_json(draft / "mntp.json", {**mntp.model_dump(), "seed": seed, "base": base.name, "loss": losses})
    shutil.rmtree(state, ignore_errors=True)


def _texts(pairs: Path, tokenizer: Any, mntp: Mntp) -> Any:
    from datasets import Dataset

    texts = read_pairs(pairs).to_pandas()["positive"].drop_duplicates()
    needed = mntp.steps * mntp.batch_size
    encoded = tokenizer(texts.tolist()[:needed], truncation=True, max_length=mntp.max_length)
    return Dataset.from_dict({"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]})


def _collator(tokenizer: Any, mntp: Mntp, seed: int) -> Any:
    """transformers' own masking, with a token of the LLM standing in for the mask token that it lacks."""
    from transformers import DataCollatorForLanguageModeling

    mask_id = tokenizer.convert_tokens_to_ids(mntp.mask_token)
    if mask_id is None or mask_id == tokenizer.unk_token_id:
        raise UserError(f"mntp.mask_token '{mntp.mask_token}' is not one token of the LLM; choose another, such as _")
    tokenizer.mask_token = mntp.mask_token
    share = (1.0, 0.0) if mntp.all_mask else (0.8, 0.1)
    return DataCollatorForLanguageModeling(
        tokenizer,
        mlm_probability=mntp.mask_probability,
        mask_replace_prob=share[0],
        random_replace_prob=share[1],
        seed=seed,
    )
