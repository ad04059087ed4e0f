"""Number formats in training: what learns is float32; a frozen LLM is held in what it computes in.

A 7B LLM takes 14 instead of 28 GB so, and what passes between its layers half of what it would in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.models.build import build_embedder
from causal2vec.training.lora import attach_lora, merge_lora

if TYPE_CHECKING:
    from torch import Tensor

    from causal2vec.config import Lora
    from causal2vec.embedder import Embedder


def build_to_train(
    path: str, folders: dict[str, Path], settings: dict[str, Any], dtype: str, attention: str | None = None
) -> Embedder:
    """An untrained method whose LLM is held in ``dtype`` and all else, which may learn, in float32.

    Args:
        path, folders, settings, attention: As `causal2vec.models.build.build_embedder` takes them.
        dtype: ``float32`` or ``bfloat16``.

    Raises:
        UserError: As `causal2vec.models.build.build_embedder`.
    """
    import torch
    from transformers import AutoModel

    module = build_embedder(path, folders, settings, dtype, attention=attention)
    if dtype == "float32":
        return module
    for name, child in module.named_children():
        if name != "llm":
            child.float()
        if name in module.parts and name != "llm":
            # Read again, as what was rounded stays rounded.
            exact = AutoModel.from_pretrained(folders[name], dtype=torch.float32)
            child.load_state_dict(exact.state_dict())
    module.initialise()
    return module


def rebuild_merged(
    path: str, folders: dict[str, Path], settings: dict[str, Any], lora: Lora, weights: dict[str, Tensor]
) -> Embedder:
    """The method from its parts in float32, with what training has taught it, adapters merged.

    Needed where the trained module holds only a part of each weight, or has frozen weights rounded.

    Args:
        weights: What has learnt, by name within the module.
    """
    import torch

    module = build_embedder(path, folders, settings)
    attach_lora(module, lora)
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    merge_lora(module)
    return module
