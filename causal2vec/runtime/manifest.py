"""How everything was made: code, environment, hardware, data, weights, settings, time."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from causal2vec.runtime.files import CHECKOUT, read_json, sha256_file, sha256_json, write_json
from causal2vec.runtime.secrets import mask_values

ROOT = CHECKOUT
LOCK = CHECKOUT / "requirements.lock"

IDENTITY = ("config", "order", "versions", "dtype", "pairs", "sources", "models", "scores_sha256")
"""What decides the scores: a manifest's ``id`` covers it, but not times, so that two equal runs have equal ids."""


def identity_hash(identity: dict[str, Any]) -> str:
    """A manifest's ``id``, from its values of `IDENTITY`."""
    return sha256_json(identity)[:12]


def write_manifest(
    output: Path,
    *,
    config: dict[str, Any],
    models: list[Path],
    sources: list[Path],
    pairs: Path,
    scores: Path,
    hardware: Path,
    benchmarks: Path,
) -> dict[str, Any]:
    """Write the manifest of a finished experiment.

    Args:
        output: ``manifest.json``.
        config: The checked configuration, defaults filled in.
        models: The experiment's model folders.
        sources: The pre-trained models' folders.
        pairs: The folder of training pairs.
        scores: The score table.
        hardware: What `causal2vec.runtime.machine.probe` wrote.
        benchmarks: Snakemake's benchmark files; their wall times are listed by stage.

    Returns:
        The manifest.
    """
    machine = read_json(hardware)
    identity = mask_values(
        {
            "config": {key: value for key, value in config.items() if key != "study"},
            "order": list(config["methods"]),  # JSON keeps lists in order, keys it sorts
            "versions": installed_versions(),
            "dtype": machine["dtype"],
            "pairs": {name: sha256_file(pairs / name) for name in ("train.parquet", "validation.parquet")},
            "sources": {folder.name: read_json(folder / "source.json") for folder in sources},
            "models": {
                "/".join(folder.parts[-3:]): read_json(folder / "manifest.json")["revision"] for folder in models
            },
            "scores_sha256": sha256_file(scores),
        }
    )
    manifest = {
        "id": identity_hash(identity),
        "created": today(),
        "study": config.get("study"),
        **identity,
        "git": git_state(),
        "lock_sha256": sha256_file(LOCK) if LOCK.is_file() else None,
        "hardware": mask_values(machine),
        "python": platform.python_version(),
        "seconds": stage_seconds(benchmarks),
    }
    write_json(output, manifest)
    return manifest


def today() -> str:
    """The date in UTC; ``SOURCE_DATE_EPOCH`` overrides it, for builds that must be the same on any day."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.fromtimestamp(int(given), datetime.UTC) if given else datetime.datetime.now(datetime.UTC)
    return now.date().isoformat()


def installed_versions() -> dict[str, str]:
    """Every installed distribution with its version, in alphabetical order."""
    return dict(sorted((d.metadata["Name"].lower(), d.version) for d in distributions() if d.metadata["Name"]))


def git_state() -> dict[str, Any]:
    """Commit and whether tracked files differ from it; nulls outside a repository."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def stage_seconds(benchmarks: Path) -> dict[str, float]:
    """Wall seconds of every job, by rule and wildcards, from Snakemake's benchmark files."""
    found = {}
    for path in sorted(benchmarks.rglob("*.jsonl")):
        lines = path.read_text().splitlines()
        if lines:
            found[path.relative_to(benchmarks).with_suffix("").as_posix()] = round(float(json.loads(lines[-1])["s"]), 1)
    return found
