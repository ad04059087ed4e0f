"""What learns and in which number format: low-rank adapters (Hu et al., arXiv 2106.09685) on a frozen LLM.

What learns is float32; a frozen LLM is held in what it computes in. A 7B LLM takes 14 instead of 28 GB so, and what
passes between its layers half of what it would in float32.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from transformers import AutoModel

from causal2vec.config import Lora
from causal2vec.errors import UserError
from causal2vec.models.build import build_embedder
from causal2vec.speed.packing import plain

if TYPE_CHECKING:
    from causal2vec.embedder import Embedder


class Adapter(Linear):
    """peft's adapter of a linear layer with fewer passes over memory: scale and sum are part of a multiplication.

    peft computes ``W x``, ``B A x``, the latter scaled, and their sum: four results as wide as the layer, and as many
    gradients. Here there are two. What this class does not know is left to peft.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``(..., width in)`` to ``(..., width out)``."""
        if args or kwargs or self.disable_adapters or self.merged or self.lora_variant or len(self.active_adapters) > 1:
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        down, up = self.lora_A[name], self.lora_B[name]
        alike = x.dtype == self.base_layer.weight.dtype == up.weight.dtype
        if up.bias is not None or not (alike or torch.is_autocast_enabled(x.device.type)):
            return super().forward(x)
        if x.device.type == "cuda" and type(self.base_layer) is nn.Linear:
            return self.in_place(x, name)
        whole = self.base_layer(x)
        inner = down(self.lora_dropout[name](x))
        summed = torch.addmm(whole.flatten(0, -2), inner.flatten(0, -2), up.weight.T, alpha=self.scaling[name])
        return summed.view_as(whole)

    def in_place(self, x: Tensor, name: str) -> Tensor:
        """The same, the sum written over the frozen layer's result, of which a GPU would make a copy first.

        That result must be no view of another tensor, or its gradient is copied instead: hence the two dimensions.
        """
        rows = x.flatten(0, -2)
        whole, inner = self.base_layer(rows), self.lora_A[name](self.lora_dropout[name](rows))
        weight = self.lora_B[name].weight.to(whole.dtype)  # autocast does not see to what is written over
        return whole.addmm_(inner, weight.T, alpha=self.scaling[name]).unflatten(0, x.shape[:-1])


def adapted(llm: Any, lora: Lora) -> Any:
    """The LLM with fresh adapters, everything else frozen.

    Raises:
        UserError: None of the named layers is in this LLM, or some are not while others of its layers are not named.
    """
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets)
    if not plain():
        config._register_custom_module({nn.Linear: Adapter})
    _check_targets(llm, lora.targets)
    with _quiet():
        return get_peft_model(llm, config)


def _check_targets(llm: Any, targets: list[str]) -> None:
    """Refuse names that fit nothing while layers are left out: those would learn less than another LLM's.

    A list for LLMs of several families may name what one of them lacks, if that leaves out no layer.
    """
    head = llm.get_output_embeddings()
    names = [
        name
        for name, module in llm.named_modules()
        if module is not head and not isinstance(module, nn.Embedding)
        if any(weight.ndim > 1 for weight in module.parameters(recurse=False))
    ]
    found = {target: {name for name in names if f".{name}".endswith(f".{target}")} for target in targets}
    named = set().union(*found.values())
    idle = [target for target, layers in found.items() if not layers]
    left = list(dict.fromkeys(name.rpartition(".")[2] for name in names if name not in named))
    if not named or (idle and left):
        exist = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
        raise UserError(
            f"budget.lora.targets: {', '.join(idle)} fit no layer of {type(llm).__name__}, and its layers "
            f"{', '.join(left)} would get no adapters; name the layers that it has: {', '.join(exist)}"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' announcement of another name for checkpointing, which older versions do not know."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        yield


def compute_twice(llm: Any, *, on: bool = True) -> None:
    """Let an LLM compute activations twice instead of keeping them (gradient checkpointing), or no longer."""
    with _quiet():
        llm.gradient_checkpointing_enable({"use_reentrant": False}) if on else llm.gradient_checkpointing_disable()


def attach_lora(module: Embedder, lora: Lora, *, gradient_checkpointing: bool = False) -> None:
    """Put adapters on the module's LLM, if it has one, and set everything up to train."""
    from causal2vec.embedder import DecoderEmbedder

    if "llm" in module.parts:
        if gradient_checkpointing:
            compute_twice(module.llm)
        if isinstance(module, DecoderEmbedder):
            module.learns_prefix = learns_prefix(module.llm, lora, gradient_checkpointing=gradient_checkpointing)
        module.add_module("llm", adapted(module.llm, lora))
    module.train()


def learns_prefix(llm: Any, lora: Lora, *, gradient_checkpointing: bool) -> bool:
    """Whether a beginning that all texts share may be read once in training, with the same gradients.

    Not with dropout of adapters or of the LLM, which would be the same for all texts there instead of each one's own.
    Not with gradient checkpointing, whose second reading would make keys and values anew.
    """
    settings = llm.config.to_dict().items()
    rates = [lora.dropout, *(v for k, v in settings if "drop" in k and isinstance(v, int | float))]
    return not gradient_checkpointing and not any(rates)


def merge_lora(module: Embedder) -> None:
    """Add the adapters to the weights and drop them."""
    if "llm" in module.parts:
        compute_twice(module.llm, on=False)
        module.add_module("llm", module.llm.merge_and_unload())


def trainable_count(module: Any) -> int:
    """Number of weights that learn."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def build_to_train(
    path: str, folders: dict[str, Path], settings: dict[str, Any], dtype: str, attention: str | None = None
) -> Embedder:
    """An untrained method whose LLM is held in ``dtype`` and all else, which may learn, in float32.

    Args and errors are those of `causal2vec.models.build.build_embedder`.
    """
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
    """The method from its parts in float32, with what training has taught it (by name), adapters merged.

    Needed where the trained module holds only a part of each weight, or has frozen weights rounded.
    """
    module = build_embedder(path, folders, settings)
    attach_lora(module, lora)
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    merge_lora(module)
    return module
