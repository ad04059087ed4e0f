"""The files of a model that a base or an encoder is made from, and nothing else of its repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causal2vec.config.settings import ModelSource
from causal2vec.errors import UserError
from causal2vec.fetch.client import as_transient, bounded_client, reason
from causal2vec.fetch.hub import download, obtain
from causal2vec.fetch.retry import Patience
from causal2vec.runtime.files import read_json, write_json

SAFETENSORS = "model*.safetensors"
BIN = "pytorch_model*.bin"
_OTHERS = ["*.json", "*.model", "*.txt", "*.jinja", "LICENSE*", "LICENCE*", "NOTICE*"]
_FOLDERS = ["*/*"]
"""Left out: other formats (onnx/, openvino/, original/) lie in folders of their own."""


def fetch_model(name: str, source: ModelSource, output: Path) -> None:
    """Download a hub model into the hub's cache and write what came: commit, files, sizes, SHA-256.

    Weights are taken as safetensors; as ``pytorch_model*.bin`` only where the repository has no safetensors.

    Raises:
        UserError: The model cannot be had, or its repository has no weights that transformers reads.
    """
    write_json(output, {"name": name, **obtain_model(name, source)[1]})


def study_model(name: str, revision: str | None) -> Path | None:
    """The folder of a model on the hub that a study of this suite has made; ``None`` of any other model.

    ``None`` also where that cannot be told without a network: whoever opens the model looks again.

    Raises:
        UserError: The hub does not have the model, or breaks off.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        with bounded_client(Patience.from_environment()):
            path = hf_hub_download(name, "manifest.json", revision=revision)
    except (EntryNotFoundError, HFValidationError):  # also if told to be offline, and it is not in the cache
        return None
    except Exception as error:  # the hub's client raises a dozen unrelated types
        if as_transient(error) is None:
            raise UserError(f"--model: {name} {reason(error, 'model')}") from error
        cached = try_to_load_from_cache(name, "manifest.json", revision=revision)
        if not isinstance(cached, str):
            return None
        path = cached
    manifest = read_json(Path(path))
    if not isinstance(manifest, dict) or "study" not in manifest:
        return None
    return download(name, revision or "main", kind="model", where="--model")


def obtain_model(name: str, source: ModelSource) -> tuple[Path, dict[str, Any]]:
    """The folder with a hub model's files, and what they are; see `fetch_model`."""
    repository, revision, where = source.repository or "", source.revision or "", f"models.{name}"
    for weights in (SAFETENSORS, BIN):
        allow = [weights, *_OTHERS]
        folder, facts = obtain(repository, revision, kind="model", where=where, allow=allow, ignore=_FOLDERS)
        if any(folder.glob(weights)):
            return folder, facts
    raise UserError(
        f"{where}: {repository}@{revision} has neither {SAFETENSORS} nor {BIN}; name a repository with the weights "
        "in transformers' format, or use source: local"
    )
