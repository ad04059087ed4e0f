"""One file that says what was downloaded for an experiment, from where, and with which checksums."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from causal2vec.runtime.files import read_json, write_json
from causal2vec.runtime.secrets import mask_values

_VERSIONS = ("huggingface_hub", "datasets", "mteb", "transformers")


def write_fetch_manifest(
    output: Path,
    *,
    models: list[Path],
    prepared: list[Path],
    packages: list[Path],
    tasks: list[Path],
    texts: list[Path],
    pairs: list[Path],
) -> None:
    """Gather the records of all downloads.

    Args:
        output: The manifest: ``models``, ``packages``, ``tasks``, ``texts``, ``pairs``, ``total`` (files and bytes
            in the hub's cache, each commit's file once), ``versions``.
        models: Records of hub models.
        prepared: Folders of models from elsewhere, with ``source.json``.
        packages: Folders of data packages, with ``package.json``.
        tasks: The record of the official tasks, if there is one.
        texts: Records of texts for pre-training.
        pairs: The record of a downloaded training mix, if there is one.
    """
    found = {
        "models": {path.stem: read_json(path) for path in models}
        | {path.name: read_json(path / "source.json") for path in prepared},
        "packages": {path.name: read_json(path / "package.json") for path in packages},
        "tasks": {name: facts for path in tasks for name, facts in read_json(path)["tasks"].items()},
        "texts": {path.stem: read_json(path) for path in texts},
        "pairs": {path.stem: read_json(path) for path in pairs},
    }
    sizes = dict(_sizes([found["models"], found["tasks"], found["texts"], found["pairs"]]))
    total = {"files": len(sizes), "bytes": sum(sizes.values())}
    write_json(output, {**mask_values(found), "total": total, "versions": {name: version(name) for name in _VERSIONS}})


def _sizes(value: Any) -> list[tuple[tuple[str, str, str], int]]:
    """((repository, commit, file), bytes) of every record inside nested mappings and lists."""
    if isinstance(value, list):
        return [size for entry in value for size in _sizes(entry)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("files"), dict) and "repository" in value:
        key = (str(value["repository"]), str(value.get("commit")))
        return [((*key, name), facts["size"]) for name, facts in value["files"].items() if isinstance(facts, dict)]
    return [size for entry in value.values() for size in _sizes(entry)]
