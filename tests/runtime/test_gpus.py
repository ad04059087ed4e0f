"""A GPU of its own for each job on one machine; the GPUs are made up, the processes are real."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from causal2vec.errors import UserError
from causal2vec.runtime import gpus
from causal2vec.runtime.gpus import claim_gpus, local_gpus
from causal2vec.runtime.job import job

pytestmark = pytest.mark.timeout(120)

WORKER = """
import json, os, sys, time
from pathlib import Path
from causal2vec.runtime import gpus
gpus._WAIT = 0.05
with gpus.claim_gpus(int(sys.argv[2]), Path(sys.argv[1])):
    start = time.time()
    Path(sys.argv[3]).with_suffix(".started").touch()
    time.sleep(float(sys.argv[4]))
    Path(sys.argv[3]).write_text(json.dumps([os.environ["CUDA_VISIBLE_DEVICES"], start, time.time()]))
"""


def worker(folder: Path, name: str, count: int = 1, seconds: float = 0.5, visible: str = "0,1") -> subprocess.Popen:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible}
    environment.pop("SLURM_JOB_ID", None)
    command = [sys.executable, "-c", WORKER, folder / "locks", str(count), folder / name, str(seconds)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    for _ in range(400):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpus, "_WAIT", 0.05)


def test_four_jobs_on_two_gpus_never_share_one(tmp_path):
    jobs = [worker(tmp_path, f"job{i}", visible="2,5") for i in range(4)]
    told = [process.communicate(timeout=60)[1] for process in jobs]
    assert [process.returncode for process in jobs] == [0] * 4, told
    spans = [json.loads((tmp_path / f"job{i}").read_text()) for i in range(4)]
    assert {gpu for gpu, _, _ in spans} == {"2", "5"}
    for gpu in ("2", "5"):
        mine = sorted(span[1:] for span in spans if span[0] == gpu)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(mine)), mine
    assert sum("waiting until 1 of 2 GPUs are free" in text for text in told) >= 2


def test_job_that_wants_all_gpus_gets_them_and_waits_for_them(tmp_path):
    first = worker(tmp_path, "first", 1, seconds=0.6)
    wait_for(tmp_path / "first.started")
    both = worker(tmp_path, "both", 2, seconds=0.1)
    for process in (first, both):
        assert process.wait(60) == 0
    gpu, start, _ = json.loads((tmp_path / "both").read_text())
    assert gpu == "0,1"
    assert start >= json.loads((tmp_path / "first").read_text())[2]


def test_killed_job_frees_its_gpu(tmp_path):
    killed = worker(tmp_path, "killed", seconds=600, visible="0")
    wait_for(tmp_path / "killed.started")
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    after = worker(tmp_path, "after", seconds=0, visible="0")
    assert after.wait(30) == 0


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 3), ("0,1", 2), ("GPU-8f6,MIG-1/2", 2), ("", 0), ("-1", 0), ("1,-1,2", 1)]
)
def test_gpus_are_counted_as_a_process_would_see_them(visible, count, tmp_path, monkeypatch):
    for name in ("nvidia0", "nvidia1", "nvidia7", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert local_gpus() == count
    assert len(gpus.visible_gpus(tmp_path)) == count


def test_environment_is_as_before_when_the_job_is_done(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    with claim_gpus(1, tmp_path) as mine:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == mine[0] == "3"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,4"


def test_more_gpus_than_there_are_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    sentence = r"asks for 3 GPUs, but this machine has 2 .*lower distributed.processes"
    with pytest.raises(UserError, match=sentence), claim_gpus(3, tmp_path):
        raise AssertionError


@pytest.mark.parametrize(
    ("count", "environment"),
    [
        (0, {"CUDA_VISIBLE_DEVICES": "0,1"}),
        (1, {"CUDA_VISIBLE_DEVICES": ""}),
        (1, {"CUDA_VISIBLE_DEVICES": "6", "SLURM_JOB_ID": "9"}),
        (2, {"CUDA_VISIBLE_DEVICES": "6", "SLURM_JOB_ID": "9"}),
    ],
    ids=["none asked for", "none there", "Slurm chose", "Slurm shows fewer"],
)
def test_nothing_is_touched_where_there_is_nothing_to_choose(count, environment, tmp_path, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with claim_gpus(count, tmp_path / "locks") as mine:
        assert mine == [] and os.environ["CUDA_VISIBLE_DEVICES"] == environment["CUDA_VISIBLE_DEVICES"]
    assert not (tmp_path / "locks").exists()


def test_workflow_job_sees_only_its_own_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    monkeypatch.setattr(gpus, "_folder", lambda: tmp_path / "locks")
    snakemake = SimpleNamespace(
        log=[str(tmp_path / "log")], resources={"gpu": 2}, rule="train_model", input=[], output=[str(tmp_path / "out")]
    )
    with job(snakemake):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "this job has GPU 0,1" in (tmp_path / "log").read_text()


def test_workflow_job_that_asks_for_too_many_ends_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    snakemake = SimpleNamespace(
        log=[str(tmp_path / "log")], resources={"gpu": 2}, rule="train_model", input=[], output=[str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit), job(snakemake):
        raise AssertionError
    assert capsys.readouterr().err.lstrip().startswith("error: this job asks for 2 GPUs, but this machine has 1")
