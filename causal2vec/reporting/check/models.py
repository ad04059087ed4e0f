"""The models of a results folder against their own revisions, and the manifest against itself and against them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.models.trust import content_revision
from causal2vec.reporting.check.cells import first_difference
from causal2vec.reporting.check.findings import AGAIN, Findings
from causal2vec.reporting.read.scores import collect_training
from causal2vec.runtime.files import read_json, sha256_file, sha256_json

_IDENTITY = ("config", "order", "versions", "dtype", "pairs", "sources", "models", "scores_sha256")
"""What a manifest's ``id`` covers, see `causal2vec.runtime.manifest.write_manifest`."""


def check_manifest(results: Path, findings: Findings) -> dict[str, Any]:
    """Read the manifest and hold its id against its content, and its hash of the scores against ``scores.csv``.

    Returns:
        The manifest; empty where it cannot be read.
    """
    try:
        manifest: dict[str, Any] = read_json(results / "manifest.json")
        identity = {name: manifest[name] for name in _IDENTITY}
    except UserError as error:
        if not findings.failed("manifest.json"):
            findings.add_error("manifest.json", error, results)
        return {}
    except (KeyError, TypeError) as error:
        findings.add("manifest.json", f"says nothing of {error}")
        return {}
    if sha256_json(identity)[:12] != manifest.get("id"):
        findings.add(
            "manifest.json", f"its id is {manifest.get('id')!r}, but its content gives {sha256_json(identity)[:12]!r}"
        )
    scores = results / "scores.csv"
    if not findings.failed("scores.csv", "manifest.json") and sha256_file(scores) != manifest["scores_sha256"]:
        findings.add("scores.csv", "is not the file whose SHA-256 manifest.json holds")
    return manifest


def check_models(results: Path, findings: Findings, manifest: dict[str, Any]) -> None:
    """Hold every model's files against the revision in its manifest, and that against the study's and mteb's."""
    folders = sorted(path.parent for path in (results / "models").glob("*/*/*/manifest.json"))
    for folder in folders:
        name = folder.relative_to(results).as_posix()
        if findings.failed(name):
            continue
        revision = _revision(folder)
        found = content_revision(folder)
        expected = manifest.get("models", {}).get("/".join(folder.parts[-3:]))
        if found != revision:
            findings.add(
                name, f"its files give revision {found[:12]}…, but its manifest.json says {str(revision)[:12]}…"
            )
        elif manifest and not findings.failed("manifest.json") and found != expected:
            findings.add(name, f"has revision {found[:12]}…, but the study's manifest.json says {str(expected)[:12]}…")
    _check_listed(results, findings, manifest)
    _check_training(results, findings, folders)
    findings.count(len(folders), "model")


def check_filed(results: Path, findings: Findings, manifest: dict[str, Any]) -> None:
    """Hold the revisions of the folders in the mteb tree against the study's manifest."""
    known = set(manifest.get("models", {}).values())
    for folder in sorted((results / "mteb" / "results").glob("*/*")):
        name = folder.relative_to(results).as_posix()
        if known and folder.is_dir() and folder.name not in known and not findings.failed("manifest.json", name):
            findings.add(name, "holds scores of a revision that manifest.json does not list")


def _check_listed(results: Path, findings: Findings, manifest: dict[str, Any]) -> None:
    for path in manifest.get("models", {}):
        name = f"models/{path}"
        if not (results / name / "manifest.json").is_file() and not findings.failed(name, "manifest.json"):
            findings.add(name, "is missing, but manifest.json lists it")


def _check_training(results: Path, findings: Findings, folders: list[Path]) -> None:
    """``training.json`` is the trained models' own records, one after another."""
    trained = [folder for folder in folders if _trained(folder)]
    bad = findings.failed("models")
    if bad:
        findings.notes.append(f"training.json was not held against the models' own records, as {bad} failed")
        return
    try:
        stored = (results / "training.json").read_bytes()
        with tempfile.TemporaryDirectory() as made:
            collect_training(trained, Path(made) / "training.json")
            place = first_difference("training.json", stored, (Path(made) / "training.json").read_bytes())
    except UserError as error:
        findings.add_error("training.json", error, results)
        return
    except OSError:
        return  # that it is missing has been said
    if place:
        findings.add("training.json", f"{place}, by the models' own training.json", AGAIN)


def _trained(folder: Path) -> bool:
    return bool(_manifest(folder).get("trained"))


def _revision(folder: Path) -> Any:
    return _manifest(folder).get("revision")


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / "manifest.json")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}
