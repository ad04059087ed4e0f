"""Contrastive training: the same pairs, order, loss and adapters for every method.

InfoNCE over in-batch and hard negatives (van den Oord et al., arXiv 1807.03748), by sentence-transformers'
trainer. What is ours: the equal terms, the checkpoint of trainable weights only, and the stop at a NaN.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.compute import peak_memory_mb
from causal2vec.config import Budget
from causal2vec.errors import UserError
from causal2vec.evaluation.prompts import Prompts
from causal2vec.export import build_embedder, save_model
from causal2vec.files import sha256_file
from causal2vec.runs import Run
from causal2vec.training.lora import attach_lora, merge_lora, trainable_count
from causal2vec.training.pairs import read_pairs

if TYPE_CHECKING:
    from datasets import DatasetDict
    from sentence_transformers import SentenceTransformer

    from causal2vec.embedder import Embedder


def make_model(
    run: Run,
    folders: dict[str, Path],
    pairs: Path,
    prompts: Prompts,
    output: Path,
    state: Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    validate: bool = False,
) -> str:
    """Train one run, or just build it if it is an untrained twin, and save it.

    Args:
        run: Method, base, seed, and the budget that every trained method gets.
        folders: Model folder per part (``llm``, ``encoder``).
        pairs: Folder with ``train.parquet`` and ``validation.parquet``.
        output: The model's folder; appears whole or not at all.
        state: Folder for checkpoints; a training that was stopped goes on from there. Removed at the end.
        device, dtype: Where and in which format to compute; the weights that learn are float32.
        validate: Also measure retrieval within the validation pairs (for choosing settings).

    Returns:
        The model's revision.

    Raises:
        UserError: Settings or data do not fit, or the loss is not finite.
    """
    from transformers import set_seed

    set_seed(run.seed)
    if own := {"max_seq_length", *run.inputs} & set(run.settings):
        raise UserError(
            f"methods.{run.method}.settings has {sorted(own)[0]}, which is the same for every method; set "
            "budget.max_length, evaluation.max_length or models.*.add_bos, chat or prefixes instead"
        )
    settings = {"max_seq_length": run.budget.max_length, **run.inputs, **run.settings}
    module = build_embedder(run.spec.module, folders, settings)
    manifest = {
        **run.model_dump(exclude={"spec", "settings", "budget", "encoder"}),
        "settings": run.settings,
        "module": run.spec.module,
    }
    manifest["assumed"] = run.spec.assumed
    manifest["parts"] = {part: str(folders[part].name) for part in module.parts}
    records: dict[str, Any] = {}
    if run.trained:
        manifest["budget"] = run.budget.model_dump()
        manifest["dtype"] = dtype
        manifest["pairs_sha256"] = sha256_file(pairs / "train.parquet")
        records["training.json"] = train(module, run, pairs, prompts, state, device=device, dtype=dtype)
    module.max_seq_length = run.max_length
    module = module.to("cpu")
    if validate:
        from causal2vec.training.validation import validation_mrr

        records["validation.json"] = validation_mrr(module, pairs / "validation.parquet", prompts, device=device)
    revision = save_model(module, output, manifest=manifest, records=records)
    shutil.rmtree(state, ignore_errors=True)
    return revision


def train(
    module: Embedder,
    run: Run,
    pairs: Path,
    prompts: Prompts,
    state: Path,
    *,
    device: str,
    dtype: str,
) -> dict[str, Any]:
    """Train a module in place, adapters merged at the end.

    Returns:
        The record: loss per step, seconds, counts, and ``order_sha256``, the digest of which pairs were seen in
        which order, which must be the same for every method with this seed.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.trainer_utils import get_last_checkpoint

    from causal2vec.training.trainer import EqualTermsTrainer

    budget = run.budget
    attach_lora(module, budget.lora, gradient_checkpointing=budget.gradient_checkpointing)
    model = SentenceTransformer(modules=[module], device=device)
    data = load_training_data(pairs / "train.parquet")
    _check_room(module, prompts, list(data))
    arguments = training_arguments(
        module, budget, column_prompts(prompts, data), run.seed, state, device=device, dtype=dtype
    )
    trainer = EqualTermsTrainer(model=model, args=arguments, train_dataset=data, loss=make_loss(model, budget))
    order = order_digest(trainer, budget.steps)
    counts = {"trainable_parameters": trainable_count(module)}
    checkpoint = get_last_checkpoint(str(state)) if state.is_dir() else None
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.perf_counter() - start
    merge_lora(module)
    module.eval()
    losses = [{"step": e["step"], "loss": round(e["loss"], 6)} for e in trainer.state.log_history if "loss" in e]
    return {
        "method": run.method,
        "base": run.base,
        "seed": run.seed,
        "steps": budget.steps,
        "pairs": budget.steps * budget.batch_size,
        "seconds": round(seconds, 1),
        "resumed": checkpoint is not None,
        "loss": losses,
        "order_sha256": order,
        "dtype": dtype,
        "peak_memory_mb": peak_memory_mb(device),
        **counts,
    }


def _check_room(module: Embedder, prompts: Prompts, sources: list[str]) -> None:
    """Every source's instruction must leave room for the text: found out now, not at step 900."""
    for source in sources:
        try:
            module.preprocess(["text"], prompts.for_training(source)["query"])
        except ValueError as error:
            raise UserError(f"the instruction of the pairs' source {source}: {error} (budget.max_length)") from error


def load_training_data(path: Path) -> DatasetDict:
    """Training pairs as one data set per source, so that a batch comes from one source only."""
    from datasets import Dataset, DatasetDict

    table = read_pairs(path).to_pandas()
    sources = {}
    for source, rows in table.groupby("source", sort=True):
        negatives = [c for c in rows.columns if c.startswith("negative") and rows[c].notna().all()]
        sources[str(source)] = Dataset.from_pandas(rows[["query", "positive", *negatives]], preserve_index=False)
    return DatasetDict(sources)


def column_prompts(prompts: Prompts, data: DatasetDict) -> dict[str, dict[str, str]]:
    """The prompt of every column of every source; a hard negative is read as a positive is."""
    result = {}
    for source, rows in data.items():
        own = prompts.for_training(str(source))
        result[str(source)] = {column: own.get(column, own["positive"]) for column in rows.column_names}
    return result


def make_loss(model: SentenceTransformer, budget: Budget) -> Any:
    """InfoNCE with cosine similarity; in chunks with cached gradients when ``mini_batch_size`` is set."""
    from sentence_transformers.sentence_transformer import losses

    scale = 1 / budget.temperature
    if budget.mini_batch_size is None or budget.mini_batch_size >= budget.batch_size:
        return losses.MultipleNegativesRankingLoss(model, scale=scale)
    return losses.CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=budget.mini_batch_size)


def training_arguments(
    module: Embedder,
    budget: Budget,
    prompts: dict[str, dict[str, str]],
    seed: int,
    state: Path,
    *,
    device: str,
    dtype: str,
) -> Any:
    """The budget in the trainer's words; ``prompts`` by source and column."""
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers, MultiDatasetBatchSamplers

    rates = budget.learning_rates
    mapping = {"encoder": rates.encoder, "projection": rates.projection}
    present = {name.split(".")[0] for name, p in module.named_parameters() if p.requires_grad}
    return SentenceTransformerTrainingArguments(
        output_dir=str(state),
        max_steps=budget.steps,
        per_device_train_batch_size=budget.batch_size,
        learning_rate=rates.lora,
        learning_rate_mapping={rf"\.0\.{part}\.": rate for part, rate in mapping.items() if part in present},
        warmup_steps=budget.warmup_steps,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        bf16=dtype == "bfloat16",
        use_cpu=device == "cpu",
        seed=seed,
        data_seed=seed,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
        dataloader_drop_last=True,
        dataloader_pin_memory=device == "cuda",
        prompts=prompts,
        logging_steps=1,
        save_steps=budget.save_steps,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=False,
    )


def order_digest(trainer: Any, steps: int) -> str:
    """SHA-256 over the pairs' positions, batch by batch, as the trainer will draw them."""
    digest, drawn = hashlib.sha256(), 0
    while drawn < steps:
        before = drawn
        for batch in trainer.get_train_dataloader().batch_sampler:
            digest.update(repr(list(batch)).encode())
            drawn += 1
            if drawn == steps:
                break
        if drawn == before:
            raise UserError("the training pairs do not fill one batch; lower budget.batch_size or add pairs")
    return digest.hexdigest()


def check_finite(loss: float, step: int) -> None:
    """Stop at the first loss that is not a number: everything after it would be worthless.

    Raises:
        UserError: The loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise UserError(
            f"the training loss is {loss} at step {step}; lower budget.learning_rates, raise budget.temperature, "
            "or set compute.dtype: float32"
        )
