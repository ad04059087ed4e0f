"""sentence-transformers' trainer with small and whole checkpoints, no step after a NaN, and split weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer
from torch import Tensor, nn

from causal2vec.speed.cpu_layers import fast_layers_in_training
from causal2vec.training import divergence, sharding

WEIGHTS = "trainable.safetensors"
OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"


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
        sharded: The weights are split over the processes (`causal2vec.training.sharding.shard`). Checkpoints are
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
        known = divergence.pairs_of_step(self, step, self.pairs) if self.pairs else []
        divergence.refuse(value, what, step, rates, known, Path(str(self.args.output_dir)))

    def trainable(self) -> dict[str, Tensor]:
        """The weights that learn, by name; whole, on the CPU, and on every process."""
        return {name: sharding.whole(parameter) for name, parameter in self._trainable().items()}

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
                parameter.copy_(sharding.split_like(stored[name], parameter))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = sharding.whole(self.optimizer.state_dict())
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
                entries[name] = sharding.split_like(value, weights[number])
        self.optimizer.load_state_dict(state)
        self.lr_scheduler.load_state_dict(
            torch.load(Path(checkpoint) / SCHEDULER, map_location="cpu", weights_only=True)
        )
