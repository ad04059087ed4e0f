"""sentence-transformers' trainer with two changes: small checkpoints, and no step after a NaN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer
from torch import Tensor

from causal2vec.training.contrastive import check_finite

WEIGHTS = "trainable.safetensors"


class EqualTermsTrainer(SentenceTransformerTrainer):
    """Checkpoints hold only the weights that learn: the frozen LLM is on disk already."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card from the trainer: ours is written with the model, from its manifest."""

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One step, refused if its loss is not finite."""
        loss = super().training_step(*args, **kwargs)
        check_finite(float(loss), self.state.global_step + 1)
        return loss

    def _trainable(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: p.detach().contiguous() for name, p in self._trainable().items()}, folder / WEIGHTS)

    def _load_from_checkpoint(self, checkpoint_path: str, *args: Any) -> None:
        stored = load_file(Path(checkpoint_path) / WEIGHTS)
        for name, parameter in self._trainable().items():
            parameter.data.copy_(stored[name])
