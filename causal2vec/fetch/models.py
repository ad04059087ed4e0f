"""The files of a model that a base or an encoder is made from, and nothing else of its repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.fetch.hub import obtain
from causal2vec.files import write_json
from causal2vec.settings import ModelSource

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
