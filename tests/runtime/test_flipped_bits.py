"""A bit flips, or the end is lost, in every kind of file that the suite keeps: never believed, wherever it happens."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import build

from causal2vec.data.corpora.indexes import download_archive
from causal2vec.errors import UserError
from causal2vec.evaluation.run import checksums, is_done, record_of
from causal2vec.evaluation.vectors import Vectors, keys_of
from causal2vec.fetch import hub
from causal2vec.models.folder import save_model
from causal2vec.models.trust import check_content
from causal2vec.runtime import seals
from causal2vec.runtime.files import write_json, write_record
from causal2vec.training.checkpoints import last_checkpoint, mark_whole

FLIPS, CUTS = 60, 20
"""Of each kind of file."""

Believed = Callable[[], bool]
"""Whether the file would be used as it is now."""


def sealed(path: Path) -> Believed:
    """Outputs of jobs: compared with their seal before the next job reads them."""
    artefact = path.parent if path.parent.name == "artefact" else path
    seals.seal(artefact)
    return lambda: seals.damage(artefact) is None


def holds(check: Callable[[], object]) -> Believed:
    def believed() -> bool:
        try:
            check()
        except UserError:
            return False
        return True

    return believed


def gguf(folder: Path, tiny) -> tuple[Path, Believed]:
    from gguf import GGUFWriter

    path = folder / "artefact" / "model.gguf"
    path.parent.mkdir()
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.arange(600, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, sealed(path)


def prepared_model(folder: Path, tiny) -> tuple[Path, Believed]:
    shutil.copytree(tiny["llm"], folder / "artefact")
    path = folder / "artefact" / "model.safetensors"
    return path, sealed(path)


def saved_model(folder: Path, tiny) -> tuple[Path, Believed]:
    manifest = {"method": "last_token", "base": "tiny", "seed": 0, "trained": False}
    save_model(build("last_token", tiny), folder / "model", manifest=manifest, records={})
    [path] = (folder / "model").rglob("*.safetensors")
    return path, holds(lambda: check_content(folder / "model"))


def pairs(folder: Path, tiny) -> tuple[Path, Believed]:
    path = folder / "artefact" / "train.parquet"
    path.parent.mkdir()
    pd.DataFrame({"query": ["a b"] * 50, "positive": [f"c {n}" for n in range(50)]}).to_parquet(path)
    return path, sealed(path)


def result(folder: Path, tiny) -> tuple[Path, Believed]:
    path = folder / "artefact" / "STSBenchmark.json"
    write_json(path, {"scores": {"test": [{"main_score": 0.12345}]}, "mteb_version": "2"})
    return path, sealed(path)


def waiting_result(folder: Path, tiny) -> tuple[Path, Believed]:
    """A task that an interrupted evaluation has finished."""
    task = types.SimpleNamespace(metadata=types.SimpleNamespace(name="Some"), tasks=[])
    path = folder / "results" / "model" / "revision" / "Some.json"
    write_json(path, {"scores": {"test": [{"main_score": 0.12345}]}})
    write_record(record_of(task, folder), {"files": checksums(task, folder)})
    return path, lambda: is_done(task, folder)


def record_of_task(folder: Path, tiny) -> tuple[Path, Believed]:
    _, believed = waiting_result(folder, tiny)
    return folder / "records" / "Some.json", believed


def manifest(folder: Path, tiny) -> tuple[Path, Believed]:
    path = folder / "manifest.json"
    write_json(path, {"id": "0" * 12, "settings": {"seed": 0}})
    return path, sealed(path)


def cached_vectors(folder: Path, tiny) -> tuple[Path, Believed]:
    keys = keys_of("", [f"text {number}" for number in range(30)])
    Vectors(folder / "kept", 1e9).add(keys, np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32))
    [path] = (folder / "kept").rglob("*.npy")
    name, whole = path, path.read_bytes()

    def believed() -> bool:
        damaged = name.read_bytes()
        known, found = Vectors(folder / "kept", 1e9).look_up(keys)
        name.write_bytes(damaged if name.exists() else whole)
        return bool(known.any()) or found is not None

    return path, believed


def checkpoint(folder: Path, tiny) -> tuple[Path, Believed]:
    spare = folder / "spare" / "checkpoint-8"
    spare.mkdir(parents=True)
    (spare / "optimizer.pt").write_bytes(random.Random(0).randbytes(700))
    mark_whole(spare)
    place = folder / "state" / "checkpoint-8"
    shutil.copytree(spare, place)

    def believed() -> bool:
        found = last_checkpoint(folder / "state") is not None
        if not place.exists():  # it was removed
            shutil.copytree(spare, place)
        return found

    return place / "optimizer.pt", believed


def mark_of_checkpoint(folder: Path, tiny) -> tuple[Path, Believed]:
    path, believed = checkpoint(folder, tiny)
    return path.with_name("whole.json"), believed


def hub_file(folder: Path, tiny) -> tuple[Path, Believed]:
    """A file of the hub's cache, against the record of its download."""
    from huggingface_hub import constants

    commit, content = "a" * 40, random.Random(1).randbytes(900)
    repository = Path(constants.HF_HUB_CACHE) / "models--org--m"
    path = repository / "snapshots" / commit / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    size, checksum = len(content), hashlib.sha256(content).hexdigest()
    facts = {"repository": "org/m", "commit": commit}
    facts["files"] = {"model.safetensors": {"bytes": size, "sha256": checksum}}
    return path, holds(lambda: hub.from_cache(facts, kind="model", where="models.m"))


def wheel(folder: Path, tiny) -> tuple[Path, Believed]:
    """A data package, from an index that hands out other bytes than it should."""
    path = folder / "index" / "some_data-1.0-py3-none-any.whl"
    path.parent.mkdir()
    path.write_bytes(random.Random(2).randbytes(900))
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, holds(lambda: download_archive("some-data==1.0", checksum, folder, wheel=True, platform=None))


KINDS = {kind.__name__: kind for kind in (
    wheel, hub_file, gguf, prepared_model, saved_model, pairs, result, waiting_result, record_of_task, manifest,
    cached_vectors, checkpoint, mark_of_checkpoint,
)}  # fmt: skip


@pytest.fixture
def served(tmp_path, monkeypatch):
    """No network and no pip: the archive of ``index/`` is what was downloaded. A cache of the hub's of its own."""
    from huggingface_hub import constants

    from causal2vec.data.corpora import indexes

    def downloaded(command, *_, **__):
        shutil.copytree(tmp_path / "index", command[command.index("--dest") + 1], dirs_exist_ok=True)
        return 0, ""

    monkeypatch.setattr(indexes, "run_watched", downloaded)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("CAUSAL2VEC_FETCH_TRIES", "1")


@pytest.mark.parametrize("kind", KINDS)
def test_no_damaged_file_is_believed(kind, tiny, served, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.CRITICAL)
    path, believed = KINDS[kind](tmp_path, tiny)
    whole, facts, chance = path.read_bytes(), path.stat(), random.Random(kind)
    assert believed(), "as it was made it must be used"

    def put(content: bytes) -> None:
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # a failing disk leaves no trace

    damaged = {}
    for _ in range(FLIPS):
        place, bit = chance.randrange(len(whole)), chance.randrange(8)
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        damaged[f"bit {bit} of byte {place} was flipped"] = bytes(flipped)
    for _ in range(CUTS):
        length = chance.randrange(len(whole))
        damaged[f"only {length} of {len(whole)} bytes were left"] = whole[:length]
    for what, content in damaged.items():
        put(content)
        assert not believed() or (path.suffix == ".json" and _says_the_same(whole, content)), what
        put(whole)
    assert believed()


def _says_the_same(one: bytes, other: bytes) -> bool:
    """White space about a record says nothing, and its checksum is of what it says."""
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False
