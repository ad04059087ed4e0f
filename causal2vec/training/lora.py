"""Low-rank adapters (Hu et al., arXiv 2106.09685) on the LLM: the same for every method that has one."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from causal2vec.config import Lora
from causal2vec.errors import UserError

if TYPE_CHECKING:
    from causal2vec.embedder import Embedder


def adapted(llm: Any, lora: Lora) -> Any:
    """The LLM with fresh adapters, everything else frozen.

    Raises:
        UserError: None of the named layers is in this LLM, or some are not while others of its layers are not named.
    """
    from peft import LoraConfig, get_peft_model
    from torch import nn

    from causal2vec.speed.packing import plain
    from causal2vec.training.adapter import Adapter

    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets)
    if not plain():
        config._register_custom_module({nn.Linear: Adapter})
    _check_targets(llm, lora.targets)
    with _quiet():
        return get_peft_model(llm, config)


def _check_targets(llm: Any, targets: list[str]) -> None:
    """Names that fit nothing are those of another family, and its layers would learn less than another LLM's.

    A list for LLMs of several families may hold them: what counts is that no layer is left out.
    """
    from torch import nn

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
