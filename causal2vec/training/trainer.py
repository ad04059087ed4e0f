"""The common budget as sentence-transformers' trainer runs it: loss, arguments, order of pairs, and the trainer itself.

What is ours: small and whole checkpoints, no step after a NaN, weights split over processes, and a digest of the order.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers, MultiDatasetBatchSamplers
from sentence_transformers.sentence_transformer import losses
from torch import Tensor, nn

from causal2vec.config import Budget
from causal2vec.errors import UserError
from causal2vec.runtime.files import write_json
from causal2vec.speed.cpu_layers import fast_layers_in_training
from causal2vec.training import ranks
from causal2vec.training.checkpoints import KEEP
from causal2vec.training.steps import CachedStepLoss, StepLoss

if TYPE_CHECKING:
    from causal2vec.embedder import Embedder

WEIGHTS = "trainable.safetensors"
OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"

DIVERGED = "diverged.json"
"""Beside the checkpoints: the pairs of the batch at which a training went wrong."""

NAMED = 3
"""Pairs that the sentence names; a batch may have hundreds."""


def make_loss(model: SentenceTransformer, budget: Budget) -> Any:
    """InfoNCE with cosine similarity; in chunks with cached gradients when ``mini_batch_size`` is set.

    Each process has its share of the batch, and compares its queries with the documents of all: the mean of the
    processes' losses, and of their gradients, is that of the whole batch on one. A method that gives several vectors of
    a text (``steps``) has a loss of each, which it combines.
    """
    common: dict[str, Any] = {"scale": 1 / budget.temperature, "gather_across_devices": ranks.world_size() > 1}
    share, several = budget.batch_size // ranks.world_size(), hasattr(model[0], "steps")
    if budget.mini_batch_size is None or budget.mini_batch_size >= share:
        return (StepLoss if several else losses.MultipleNegativesRankingLoss)(model, **common)
    cached: Any = CachedStepLoss if several else losses.CachedMultipleNegativesRankingLoss
    return cached(model, mini_batch_size=budget.mini_batch_size, **common)


def common_arguments(state: Path, seed: int, *, device: str, dtype: str) -> dict[str, Any]:
    """What all trainings, those of the stages too, tell transformers' trainer alike."""
    return {
        "output_dir": str(state),
        "lr_scheduler_type": "linear",
        "bf16": dtype == "bfloat16",
        "use_cpu": device == "cpu",
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "save_total_limit": KEEP,
        "report_to": "none",
        "dataloader_pin_memory": device == "cuda",
    }


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
    rates = budget.learning_rates
    present = {name.split(".")[0] for name, p in module.named_parameters() if p.requires_grad}
    # Weights that no part holds are new, whatever a method calls them.
    mapping = {"encoder": rates.encoder, **dict.fromkeys(sorted(present - set(module.parts)), rates.projection)}
    arguments = SentenceTransformerTrainingArguments(
        **common_arguments(state, seed, device=device, dtype=dtype),
        max_steps=budget.steps,
        per_device_train_batch_size=budget.batch_size,
        learning_rate=rates.lora,
        learning_rate_mapping={rf"\.0\.{part}\.": rate for part, rate in mapping.items() if part in present},
        warmup_steps=budget.warmup_steps,
        weight_decay=0.0,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
        dataloader_drop_last=True,
        prompts=prompts,
        save_steps=budget.save_steps,
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


def drawn_batches(trainer: Any) -> Iterator[list[int]]:
    """The pairs' positions, whole batch by whole batch, as sentence-transformers' trainer draws them.

    Goes on from epoch to epoch; ends when an epoch has no whole batch.
    """
    while True:
        drawn = False
        sampler = trainer.get_train_dataloader().batch_sampler
        for batch in getattr(sampler, "batch_sampler", sampler):
            drawn = True
            yield list(batch)
        if not drawn:
            return


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


def pairs_of_step(trainer: Any, step: int, pairs: Path) -> list[str]:
    """``SOURCE:PAIR_ID`` of every pair in the batch of a step (from 1), in its order; ``pairs`` is their folder."""
    positions = next(batch for number, batch in enumerate(drawn_batches(trainer), 1) if number == step)
    found = []
    for position in positions:
        for source, rows in trainer.train_dataset.items():
            if position < len(rows):
                found.append((str(source), rows[position]["query"], rows[position]["positive"]))
                break
            position -= len(rows)
    columns, known = ["source", "query", "positive", "pair_id"], dict.fromkeys(found, "unknown")
    for part in pq.ParquetFile(pairs / "train.parquet").iter_batches(columns=columns):
        for *key, name in zip(*(part[column].to_pylist() for column in columns), strict=True):
            if tuple(key) in known:
                known[tuple(key)] = name
    return [f"{key[0]}:{known[key]}" for key in found]


def check_finite(loss: float, step: int) -> None:
    """Let nobody go on from a loss that is no number.

    Raises:
        FloatingPointError: The loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss of step {step} is {loss}")


def _part(name: str) -> str:
    """The key of ``budget.learning_rates`` that a weight learns by."""
    parts = {"llm": "lora", "encoder": "encoder"}  # what no part holds learns by the projection's rate
    return next((key for part, key in parts.items() if f".{part}." in f".{name}"), "projection")


class EqualTermsTrainer(SentenceTransformerTrainer):
    """Checkpoints hold only the weights that learn: the frozen LLM is on disk already.

    Args:
        pairs: The folder that the pairs came from, to name those of a batch that has gone wrong.
        sharded: The weights are split over the processes (`causal2vec.training.ranks.shard`). Checkpoints are
            whole all the same, so that they look alike however a training is spread.
    """

    optimizer: Any
    lr_scheduler: Any

    def __init__(self, *args: Any, pairs: Path | None = None, sharded: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pairs, self.sharded = pairs, sharded

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card from the trainer: ours is written with the model, from its manifest."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """All steps, with the layers as they are fastest on a GPU."""
        try:
            with fast_layers_in_training(self.model):
                return super().train(*args, **kwargs)
        finally:
            self._tell(1.0)

    def _tell(self, done: float) -> None:
        """Let a method that changes as it is trained know how far the training is: its ``on_step``."""
        method: Any = self.model[0]
        if hasattr(method, "on_step"):
            method.on_step(done)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Loss and gradients of one step, refused if they are not finite."""
        # A function of the step, so that a training that is gone on with needs no state of the method.
        self._tell(self.state.global_step / self.state.max_steps)
        loss, step = super().training_step(*args, **kwargs), self.state.global_step + 1
        try:
            check_finite(float(loss), step)
        except FloatingPointError:
            self._refuse(float(loss), "loss", step)
        if not self.sharded:
            gradients = [p.grad for p in self._trainable().values() if p.grad is not None]
            norm = float(nn.utils.get_total_norm(gradients))
            if not math.isfinite(norm):
                self._refuse(norm, "gradient's norm", step)
        return loss

    def _refuse(self, value: float, what: str, step: int) -> NoReturn:
        names = {id(parameter): name for name, parameter in self._trainable().items()}
        rates = {
            _part(names[id(group["params"][0])]): group["lr"]
            for group in self.optimizer.param_groups
            if group["params"]
        }
        known = pairs_of_step(self, step, self.pairs) if self.pairs else []
        path = Path(str(self.args.output_dir)) / DIVERGED
        write_json(path, {"step": step, what: str(value), "learning_rates": rates, "pairs": known})
        shown = ", ".join(known[:NAMED]) + (f" and {len(known) - NAMED} more" if len(known) > NAMED else "")
        where = f"; the batch's pairs are {shown} (all in {path})" if known else ""
        listed = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
        raise UserError(
            f"the training {what} is {value} at step {step}, at the learning rates {listed}{where}; look at these "
            "pairs, lower budget.learning_rates, raise budget.temperature, or set compute.dtype: float32"
        )

    def trainable(self) -> dict[str, Tensor]:
        """The weights that learn, by name; whole, on the CPU, and on every process."""
        return {name: ranks.whole(parameter) for name, parameter in self._trainable().items()}

    def _trainable(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        if not (self.sharded and training):
            return super()._wrap_model(model, training, dataloader)
        # The module averages its own gradients: accelerate adds autocast, but must not wrap it in DDP as well.
        wrapped: Any = self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        wrapped._is_accelerate_prepared = True
        return wrapped

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir or ".")
        weights = self.trainable()
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(weights, folder / WEIGHTS)

    def _load_from_checkpoint(self, checkpoint_path: str, *args: Any) -> None:
        stored = load_file(Path(checkpoint_path) / WEIGHTS)
        with torch.no_grad():
            for name, parameter in self._trainable().items():
                parameter.copy_(ranks.split_like(stored[name], parameter))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = ranks.whole(self.optimizer.state_dict())
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.sharded or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = torch.load(Path(checkpoint) / OPTIMIZER, map_location="cpu", weights_only=True)
        # torch numbers an optimizer's weights in the order of its groups.
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for number, entries in state["state"].items():
            for name, value in entries.items():
                entries[name] = ranks.split_like(value, weights[number])
        self.optimizer.load_state_dict(state)
        self.lr_scheduler.load_state_dict(
            torch.load(Path(checkpoint) / SCHEDULER, map_location="cpu", weights_only=True)
        )
