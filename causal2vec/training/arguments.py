"""The common budget in the words of sentence-transformers' trainer: its loss, its arguments, its order of pairs."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.config import Budget
from causal2vec.errors import UserError
from causal2vec.training import ranks
from causal2vec.training.checkpoints import KEEP
from causal2vec.training.divergence import drawn_batches

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from causal2vec.embedder import Embedder


def make_loss(model: SentenceTransformer, budget: Budget) -> Any:
    """InfoNCE with cosine similarity; in chunks with cached gradients when ``mini_batch_size`` is set.

    Each process has its share of the batch, and compares its queries with the documents of all: the mean of the
    processes' losses, and of their gradients, is that of the whole batch on one. A method that gives several vectors of
    a text (``steps``) has a loss of each, which it combines.
    """
    from sentence_transformers.sentence_transformer import losses

    from causal2vec.training.steps import CachedStepLoss, StepLoss

    common: dict[str, Any] = {"scale": 1 / budget.temperature, "gather_across_devices": ranks.world_size() > 1}
    share, several = budget.batch_size // ranks.world_size(), hasattr(model[0], "steps")
    if budget.mini_batch_size is None or budget.mini_batch_size >= share:
        return (StepLoss if several else losses.MultipleNegativesRankingLoss)(model, **common)
    cached: Any = CachedStepLoss if several else losses.CachedMultipleNegativesRankingLoss
    return cached(model, mini_batch_size=budget.mini_batch_size, **common)


def check_batch(budget: Budget, processes: int) -> None:
    """The batch must fall into equal shares.

    Raises:
        UserError: It does not.
    """
    if budget.batch_size % processes:
        raise UserError(
            f"budget.batch_size is {budget.batch_size}, which {processes} processes (distributed.nodes times "
            "distributed.processes) cannot share equally; make it a multiple of their number"
        )


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
    present = {name.split(".")[0] for name, p in module.named_parameters() if p.requires_grad}
    # Weights that no part holds are new, whatever a method calls them.
    mapping = {"encoder": rates.encoder, **dict.fromkeys(sorted(present - set(module.parts)), rates.projection)}
    arguments = SentenceTransformerTrainingArguments(
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
        save_total_limit=KEEP,
        report_to="none",
        disable_tqdm=ranks.rank() > 0,
        **_distributed_arguments(),
    )
    if arguments.n_gpu > 1:
        # One process takes one GPU; transformers would put copies on all that it sees, and multiply the batch.
        arguments._n_gpu = 1
    return arguments


def _distributed_arguments() -> dict[str, Any]:
    if ranks.world_size() == 1:
        return {}
    return {
        # The batches are drawn as one process draws them, then cut into one piece per process.
        "accelerator_config": {"split_batches": True},
        # An encoder may have weights that no loss reaches, such as BERT's pooler.
        "ddp_find_unused_parameters": True,
        # The only buffers are rotary frequencies, which never change; sending them would break a second forward.
        "ddp_broadcast_buffers": False,
        "ddp_timeout": int(ranks.PATIENCE.total_seconds()),
    }


def order_digest(trainer: Any, steps: int) -> str:
    """SHA-256 over the pairs' positions, whole batch by whole batch, as the trainer will draw them.

    Raises:
        UserError: The pairs do not fill a batch.
    """
    digest, drawn = hashlib.sha256(), 0
    for batch in itertools.islice(drawn_batches(trainer), steps):
        digest.update(repr(batch).encode())
        drawn += 1
    if drawn < steps:
        raise UserError("the training pairs do not fill one batch; lower budget.batch_size or add pairs")
    return digest.hexdigest()
