"""LLM2Vec's two stages without labels (arXiv 2404.05961): masked-next-token prediction, then unsupervised SimCSE.

Each trains adapters on plain text and merges them into a new base, which the next stage, and the contrastive training
that all methods share, start from like from any other. (LLM2Vec keeps a stage's adapters and goes on with them.)

* Masked-next-token prediction (2.2) teaches a causal LLM to use tokens on its right. A masked token is predicted from
  the state *before* it, as in next-token prediction, but with bidirectional attention. transformers' causal-LM loss
  shifts by one already, so labels at the masked positions alone make exactly this objective.
* SimCSE (2.3; Gao et al., arXiv 2104.08821): a text is embedded twice with different dropout; the two vectors are each
  other's positive, those of the other texts in the batch the negatives (InfoNCE). As in LLM2Vec: bidirectional
  attention, mean pooling, dropout in attention only. Texts come without an instruction (assumed).

A stage reads texts of its own (``mntp.texts``, ``simcse.texts``; LLM2Vec: WikiText-103 and sentences of Wikipedia), or
else the positives of the training pairs, which keeps the data equal for all methods.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

from baselines.bidirectional import Bidirectional
from causal2vec.config import Alignment, Lora, Mntp, Simcse
from causal2vec.data.pairs.texts import read_texts
from causal2vec.embedder import Embedder
from causal2vec.errors import UserError
from causal2vec.models.check_llm import check_backbone, check_llm
from causal2vec.runtime.files import atomic_folder, read_json, settle, sha256_json, take_up, write_json
from causal2vec.runtime.fingerprint import fingerprint
from causal2vec.runtime.machine import attention_backend, keep_few_programs
from causal2vec.runtime.seals import content
from causal2vec.training.checkpoints import last_checkpoint, step_of, train
from causal2vec.training.lora import adapted, attach_lora, compute_twice, merge_lora
from causal2vec.training.trainer import EqualTermsTrainer, common_arguments

LARGE = 1e9
"""Weights from which on a GPU computes activations twice instead of keeping them (gradient checkpointing)."""

MASKS = "masks.pt"


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

    @property
    def opening(self) -> dict[str, Any]:
        """How a stage opens its base: keyword arguments of ``from_pretrained``.

        The frozen weights are float32 on a CPU. On a GPU they have the format of the computation: 7e9 weights take 14
        GB in bfloat16, and merging rounds to it in the end. The adapters are float32 always.
        """
        backend = attention_backend(self.attention, self.device, self.dtype)
        # sdpa is transformers' own choice, where the architecture has it; Gemma 2 has not.
        chosen = {} if backend == "sdpa" else {"attn_implementation": backend}
        half = self.device == "cuda" and self.dtype == "bfloat16"
        return {"dtype": torch.bfloat16 if half else torch.float32, **chosen}

    def computes_twice(self, llm: Any) -> bool:
        """Whether activations are computed twice to save memory: on a GPU, from `LARGE` weights on."""
        return self.device == "cuda" and sum(p.numel() for p in llm.parameters()) > LARGE


ALONE = Computing()
"""On a processor, with nothing said."""


class StageTrainer(EqualTermsTrainer):
    """The suite's trainer, whose message at a NaN names a stage's settings."""

    def __init__(self, *args: Any, stage: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stage = stage

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One step, refused if its loss is not finite."""
        loss = super(EqualTermsTrainer, self).training_step(*args, **kwargs)
        check_loss(float(loss), self.state.global_step + 1, self.stage, self._get_learning_rate())
        return loss


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


def stage_arguments(stage: Alignment | Mntp | Simcse, seed: int, state: Path, compute: Computing) -> dict[str, Any]:
    """A stage's settings in the words of transformers' ``TrainingArguments``; no warm-up, as in LLM2Vec's files."""
    return {
        **common_arguments(state, seed, device=compute.device, dtype=compute.dtype),
        "max_steps": stage.steps,
        "per_device_train_batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
        "save_steps": max(50, stage.steps // 4),
    }


def run_trainer(trainer: Any, state: Path, work: dict[str, Any]) -> dict[str, Any]:
    """Train, from the last whole checkpoint in ``state`` where there is one of the same ``work``.

    Args:
        trainer: Any of transformers'.
        state: The folder of checkpoints.
        work: The stage's settings and the content of its inputs.

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


def pretrain_mntp(
    base: Path, pairs: Path, mntp: Mntp, lora: Lora, seed: int, output: Path, state: Path, compute: Computing = ALONE
) -> None:
    """Train adapters by masked-next-token prediction and write the LLM as a new base, with ``mntp.json``, the record.

    Args:
        base: The LLM's folder.
        pairs: ``train.parquet`` of the training pairs, for a stage without texts of its own.
        mntp: The stage, as it runs on this base (`causal2vec.config.Mntp.on`).
        lora: The adapters' shape.
        seed: Of adapters, masks and order.
        output: Appears whole or not at all.
        state: Folder for checkpoints; a stage that was stopped goes on from there, if it has the same settings and
            inputs. Removed at the end.
        compute: Where and how it computes.

    Raises:
        UserError: The base cannot be made bidirectional, the mask token is not one token of it, there is no text,
            the loss is not finite, or the stage was stopped by a signal.
    """
    keep_few_programs()
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    llm: Any = AutoModelForCausalLM.from_pretrained(base, **compute.opening)
    llm.to(compute.device)
    llm.config.is_causal = False
    check_llm(llm.base_model)
    if compute.computes_twice(llm):
        compute_twice(llm)
    model = adapted(llm, lora)
    texts = read_stage_texts(mntp, pairs, seed, compute)
    encoded = tokenizer(texts, truncation=True, max_length=mntp.max_length)
    trainer = MntpTrainer(
        model=model,
        args=TrainingArguments(**stage_arguments(mntp, seed, state, compute)),
        train_dataset=Dataset.from_dict({name: encoded[name] for name in ("input_ids", "attention_mask")}),
        data_collator=_collator(tokenizer, mntp, seed),
    )
    work = {"lora": lora.model_dump(), "seed": seed, **compute.how}
    record = _trained(trainer, state, mntp, base, texts, work)
    _write_base(model.merge_and_unload(), base, output, "mntp", record)
    settle(state, output, keep=compute.keep_state)


def pretrain_simcse(
    base: Path, pairs: Path, simcse: Simcse, lora: Lora, seed: int, output: Path, state: Path,
    compute: Computing = ALONE,
) -> None:  # fmt: skip
    """Train adapters by SimCSE and write the LLM as a new base, with ``simcse.json``, the record.

    The result has no language-model head: nothing after this stage needs one. Arguments are those of `pretrain_mntp`.

    Raises:
        UserError: The base cannot be made bidirectional or has no attention dropout, the texts do not fill a batch,
            the loss is not finite, or the stage was stopped by a signal.
    """
    inputs = compute.inputs or {}
    keep_few_programs()
    set_seed(seed)
    texts = read_stage_texts(simcse, pairs, seed, compute)
    module = with_dropout(base, simcse, inputs, compute.device, **compute.opening)
    attach_lora(module, lora, gradient_checkpointing=compute.computes_twice(module.llm))
    model = SentenceTransformer(modules=[module], device=compute.device)
    trainer = StageTrainer(
        model=model,
        # An incomplete batch would have fewer negatives.
        args=SentenceTransformerTrainingArguments(
            **stage_arguments(simcse, seed, state, compute), dataloader_drop_last=True
        ),
        train_dataset=_views(texts, simcse.batch_size),
        loss=MultipleNegativesRankingLoss(model, scale=1 / simcse.temperature),
        stage="simcse",
    )
    work = {"lora": lora.model_dump(), "seed": seed, **compute.how, "inputs": inputs}
    record = _trained(trainer, state, simcse, base, texts, work)
    merge_lora(module)
    _write_base(module.llm, base, output, "simcse", {**record, "inputs": inputs})
    settle(state, output, keep=compute.keep_state)


def read_stage_texts(stage: Alignment | Mntp | Simcse, pairs: Path, seed: int, compute: Computing) -> list[str]:
    """What a stage reads, as many texts as it has room for in its batches; ``pairs`` is a ``train.parquet``."""
    needed, where = stage.steps * stage.batch_size, f"{type(stage).__name__.lower()}.texts"
    return read_texts(stage.texts, pairs, needed, seed=seed, where=where, fetched=compute.fetched)


def _trained(
    trainer: Any, state: Path, stage: Mntp | Simcse, base: Path, texts: list[str], work: dict[str, Any]
) -> dict[str, Any]:
    """Train, and the stage's record; ``work`` is what a checkpoint is held against beside stage, code and inputs."""
    read = {"base": content(base), "texts": sha256_json(texts)}
    done = run_trainer(trainer, state, {"stage": stage.model_dump(), "code": fingerprint(__name__), **read, **work})
    return {**stage.model_dump(), "seed": work["seed"], "base": base.name, "texts_read": len(texts), **done}


def _write_base(llm: Any, base: Path, output: Path, name: str, record: dict[str, Any]) -> None:
    """Write a trained LLM, adapters merged, as a new base with the settings and tokenizer of the old one.

    What a stage sets while it trains (no causal mask, dropout) is no property of its result. The record is written as
    ``NAME.json``, with that of an earlier stage beside it.
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


def with_dropout(base: Path, simcse: Simcse, inputs: dict[str, Any], device: str = "cpu", **kwargs: Any) -> Embedder:
    """The bidirectional method on a base, with dropout in its attention (in training mode only).

    Args:
        base: The LLM's folder.
        simcse, inputs, device: The stage, what the base asks of every method, and where to compute.
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
