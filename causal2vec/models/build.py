"""An untrained method on pre-trained parts."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.errors import UserError
from causal2vec.models.check_llm import check_backbone

if TYPE_CHECKING:
    from causal2vec.embedder import Embedder


COMMON_INPUTS = frozenset(("add_bos", "chat", "prefixes"))
"""What a base or an encoder asks of every method; a method without the part ignores it."""


def method_class(path: str) -> type[Embedder]:
    """Import a method's class by its path.

    Raises:
        UserError: There is no such class, or it is not an `Embedder`.
    """
    from causal2vec.embedder import Embedder

    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"method class '{path}' cannot be imported ({error}); check methods.*.module") from error
    if not (isinstance(cls, type) and issubclass(cls, Embedder)):
        raise UserError(f"method class '{path}' is not a subclass of causal2vec.embedder.Embedder; derive it from that")
    return cls


def load_errors() -> tuple[type[Exception], ...]:
    """What the libraries raise where files are no model; a lack of memory is none of these."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    own = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError)
    return (*own, StrictDataclassError, SafetensorError)


def quiet_transformers() -> None:
    """No bars and reports for files that load in a moment: they bury the progress that matters."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def build_embedder(
    path: str,
    folders: dict[str, Path],
    settings: dict[str, Any],
    dtype: str = "float32",
    *,
    attention: str | None = None,
) -> Embedder:
    """An untrained method on pre-trained parts.

    Args:
        path: Import path of the method's class.
        folders: Model folder per part; only those that the class names are opened.
        settings: Keyword arguments of the class.
        dtype: Number format of the weights.
        attention: What `causal2vec.runtime.machine.attention_backend` gives; ``None`` is like ``sdpa``, transformers'
            own choice, which is eager attention for an architecture without sdpa.

    Raises:
        UserError: A setting the class does not know, or parts that do not fit.
    """
    import torch

    quiet_transformers()
    cls = method_class(path)
    allowed = [name for name in inspect.signature(cls).parameters if name != "loaded"]
    usable = {key: value for key, value in settings.items() if key in allowed}
    if unknown := sorted(set(settings) - set(allowed) - COMMON_INPUTS):
        raise UserError(
            f"{path} has no setting '{unknown[0]}' (it knows {', '.join(allowed)}); correct methods.*.settings"
        )
    if lacking := [part for part in cls.parts if part not in folders]:
        raise UserError(
            f"{path} needs the part '{lacking[0]}', but there is only {', '.join(folders)}; run it on a base of kind "
            f"{lacking[0]}"
        )
    try:
        for part in cls.parts:
            if not (Path(folders[part]) / "config.json").is_file():
                raise ValueError(f"there is no config.json of the part '{part}'; prepare the model first")
        module = cls.build(
            {part: str(folders[part]) for part in cls.parts}, usable, **model_kwargs(getattr(torch, dtype), attention)
        )
    except load_errors() as error:
        places = ", ".join(f"{part}={folders.get(part)}" for part in cls.parts)
        raise UserError(f"{path} cannot be built on {places}: {' '.join(str(error).split())}") from error
    check_backbone(module)
    check_length(module, module.max_seq_length, path)
    return module


def check_length(module: Any, length: int, what: str) -> None:
    """Find out now, and not at the first long text, that a model has no positions for so many tokens.

    An encoder that stands beside an LLM, or alone as the control, reads what its own positions allow.

    Raises:
        UserError: An LLM, or the transformer of a model that is none of this suite's, has fewer.
    """
    from causal2vec.embedder import positions_of

    reader = getattr(module, "llm", None) if hasattr(module, "parts") else _transformer(module)
    longest = positions_of(reader) if reader is not None else None
    extra = getattr(module, "examples_max_length", 0) if getattr(module, "shows_examples", False) else 0
    if longest is not None and length + extra > longest:
        raise UserError(
            f"{what}: texts of up to {length + extra} tokens are to be read, but {type(reader).__name__} has positions "
            f"for {longest}; lower --max-length (in a study budget.max_length, evaluation.max_length and "
            "examples_max_length)"
        )


def _transformer(model: Any) -> Any:
    """The transformers model in a module, if there is one."""
    from transformers import PreTrainedModel

    return next((part for part in model.modules() if isinstance(part, PreTrainedModel)), None)


def model_kwargs(dtype: Any, attention: str | None) -> dict[str, Any]:
    """What ``from_pretrained`` is told."""
    return {"dtype": dtype} if attention in (None, "sdpa") else {"dtype": dtype, "attn_implementation": attention}
