"""What the machine lacks is said in one sentence; locks end with their holder; drafts of the dead are removed."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from causal2vec.errors import StoppedError, UserError, check_room, explained
from causal2vec.runtime import files, locks, resume
from causal2vec.runtime.cli import run_cli
from causal2vec.runtime.folders import Folders, have_home
from causal2vec.runtime.signals import ending_on_signals, ends_by_itself
from causal2vec.runtime.workflow import command_line, runs_jobs

AGAIN = "then run the same command again: what is finished is kept"


def test_full_disk_names_folder_and_need(tmp_path, monkeypatch):
    target = tmp_path / "results" / "model"
    with pytest.raises(OSError, match="No space left") as caught, files.atomic_folder(target) as draft:
        (draft / "weights").write_bytes(bytes(3_000_000))
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not target.exists() and not list(target.parent.iterdir())
    sentence = str(explained(caught.value))
    assert sentence.startswith(
        f"the disk of {target.parent} is full: this job needs more than the 3.0 MB that had been"
    )
    assert sentence.endswith(f"are free there; make room, {AGAIN}")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/some/folder/file"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "/some/folder/file"),
        RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"),
    ],
    ids=["disk", "quota", "safetensors"],
)
def test_libraries_words_for_a_full_disk(error, tmp_path):
    sentence = str(explained(error, [tmp_path]))
    folder = "/some/folder" if getattr(error, "filename", None) else tmp_path
    assert sentence.startswith(f"the disk of {folder} is full: this job needs more room, and ")


def test_room_is_looked_for_before_writing(tmp_path):
    check_room(tmp_path / "not" / "yet", 1, "the model")
    with pytest.raises(UserError, match=r"has no room for the model: it needs 1,000,000,000\.0 GB, but .* are free"):
        check_room(tmp_path / "not" / "yet", 10**18, "the model")


def test_folder_that_cannot_be_written():
    error = PermissionError(errno.EACCES, "Permission denied", "/root/results/model")
    assert str(explained(error)) == (
        f"/root/results/model may not be read or written by user {os.geteuid()}; make it writable, or work in another "
        f"folder, {AGAIN}"
    )
    error = OSError(errno.EROFS, "Read-only file system", "results/model")
    assert str(explained(error)).startswith("results/model is on a read-only disk")


def test_other_errors_are_ours():
    assert explained(ValueError("a bug")) is None
    assert explained(KeyError("memory")) is None


HUNGRY = """
import resource, sys
import torch
from causal2vec.runtime.cli import run_cli
resource.setrlimit(resource.RLIMIT_AS, (8 * 10**9, resource.RLIM_INFINITY))
kinds = {"torch": lambda: torch.zeros(10**10), "python": lambda: bytearray(10**11)}
run_cli(kinds[sys.argv[1]])
"""


@pytest.mark.parametrize("kind", ["torch", "python"])
def test_memory_that_runs_out(kind):
    done = subprocess.run([sys.executable, "-c", HUNGRY, kind], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    asked = "; the last request was for 40.0 GB" if kind == "torch" else ""
    assert done.stderr == (
        f"error: this job ran out of memory (its limit is 8.0 GB: ulimit -v){asked}; run fewer jobs at once (--cores), "
        f"or give it more memory, {AGAIN}\n"
    )


def test_cuda_memory_has_its_remedy():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")
    sentence = str(explained(error, memory="lower budget.mini_batch_size"))
    assert "the last request was for 2.7 GB; lower budget.mini_batch_size, or give it more memory" in sentence
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY or "ulimit" in sentence


def test_status_of_a_signal_is_what_a_shell_says(capsys):
    def stopped():
        raise StoppedError("stopped", signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        run_cli(stopped)
    assert caught.value.code == 143 and capsys.readouterr().err == "error: stopped\n"


def test_second_signal_does_not_come_between_a_job_and_its_last_sentence(capsys):
    with ending_on_signals("the training"):
        ends_by_itself(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit) as caught, ending_on_signals("the next job"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143 and "the next job was stopped by SIGTERM" in capsys.readouterr().err


HOLDER = """
import sys, time
from pathlib import Path
from causal2vec.runtime import locks
lock = locks.take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_holder_of_a_lock_is_named_though_it_has_only_just_got_it(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = threading.Timer(0.3, lambda: (file.write("process 7"), file.flush()))
        writer.start()
        with pytest.raises(locks.InUseError, match="process 7"):
            locks.take(path)
        writer.join()


def test_lock_ends_with_its_holder_however_it_ends(tmp_path):
    path = tmp_path / "a" / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(locks.InUseError, match=rf"process {holder.pid} on \S+ since \d{{4}}-"):
        locks.take(path)
    holder.kill()
    holder.wait()
    lock = locks.take(path)
    assert lock is not None
    lock.close()


def test_waiting_for_a_lock_is_said(tmp_path):
    path, said = tmp_path / "log", []
    path.write_text("a log\n")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    holder.stdout.readline()

    def waiting():
        said.append(time.monotonic())
        holder.kill()

    with locks.alone(path, waiting):
        assert len(said) == 1
    with locks.alone(path, lambda: said.append(0)):
        assert len(said) == 1


def test_drafts_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    child = subprocess.Popen(["true"])
    child.wait()
    name = os.uname().nodename
    dead, mine = (tmp_path / f".a.csv.{name}-{pid}-0.draft.csv" for pid in (child.pid, os.getpid()))
    elsewhere, old = (tmp_path / f".a.csv.{host}-1-0.draft.csv" for host in ("other", "another"))
    for path in (dead, mine, elsewhere, old):
        path.write_text("half")
    os.utime(old, (1, 1))
    files.write_text(tmp_path / "a.csv", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", mine.name, elsewhere.name}


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ("--cores all", True), ("-call", True), ("-c2 -kF", True), ("all", True),
        ("-j 4 --profile profiles/slurm", True),
        ("-n", False), ("-np", False), ("-kn", False), ("--dry-run", False), ("--report report.html", False),
        ("--unlock", False), ("--report=x.html", False), ("-l", False), ("--summary", False), ("--lint", False),
        ("verify", False), ("-c2 -- verify", False), ("-c2 --config list=1 --rerun-triggers mtime", True),
        ("--report x.html --report-after-run", True), ("-c1 --option-of-a-program-that-calls-snakemake", True),
    ],
)  # fmt: skip
def test_only_what_runs_jobs_takes_the_folder(words, runs):
    assert runs_jobs(command_line(*words.split())) is runs


def test_record_that_was_changed_is_none(tmp_path):
    path = tmp_path / "record.json"
    files.write_record(path, {"a": [1, "é"], "b": {"c": 0.5}})
    assert files.read_record(path) == {"a": [1, "é"], "b": {"c": 0.5}}
    content = path.read_bytes()
    believed = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(bytes(flipped))
        believed += files.read_record(path) not in (None, {"a": [1, "é"], "b": {"c": 0.5}})
    assert not believed
    path.write_text("[]")
    assert files.read_record(path) is None and files.read_record(Path(tmp_path / "none")) is None


def test_settled_state_goes_when_its_result_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = Folders("tiny")
    state, result = folders.state / "train/abc", folders.results / "model"
    files.settle(state, result, keep=True)
    resume.drop_settled(folders)
    assert state.exists(), "the result is not there"
    result.mkdir(parents=True)
    resume.drop_settled(folders)
    assert not state.exists()
    state.mkdir(parents=True)
    files.settle(state, result, keep=False)
    assert not state.exists()


def test_home_that_cannot_be_written_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    have_home()
    assert os.environ["HOME"] == str(tmp_path) and not (tmp_path / "work").exists()
    monkeypatch.setenv("HOME", "/proc/none")
    have_home()
    assert os.environ["HOME"] == str(tmp_path / "work/shared/home") and "HF_HUB_CACHE" not in os.environ
    hub = tmp_path / "old/.cache/huggingface/hub"
    hub.mkdir(parents=True)
    monkeypatch.setattr("causal2vec.runtime.folders.os.access", lambda path, mode: path == hub)
    monkeypatch.setenv("HOME", str(tmp_path / "old"))
    monkeypatch.setenv("HF_HUB_CACHE", "x")  # so that it is put back
    monkeypatch.delenv("HF_HUB_CACHE")
    have_home()
    assert os.environ["HF_HUB_CACHE"] == str(hub), "what was fetched before is still read"
