"""Signals, full and read-only disks, damage, two runs at once, another user: one sentence, then the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import killer
import pytest
import study
from conftest import ROOT, results_of, work_of

pytestmark = pytest.mark.torture

SEED = os.environ.get("TORTURE_SEED", "0")
MODEL = "results/tiny/models/causal2vec/tiny-llm/seed0"
WEIGHTS = f"{MODEL}/own.safetensors"


def prepared(folder: Path, tiny, packages: Path, **budget) -> Path:
    config = study.configuration(tiny)
    config["budget"] |= budget
    return study.prepare(folder, config, packages)


def wait_for(condition, seconds: float = 120.0) -> None:
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, "it did not come to that"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGTERM, True)],
    ids=["SIGTERM to snakemake alone", "Ctrl-C", "SIGTERM to all"],
)
def test_told_to_stop_a_training_has_a_checkpoint_within_ten_seconds(
    number, whole_group, tiny, packages_folder, tmp_path
):
    folder = prepared(tmp_path / "study", tiny, packages_folder, steps=400, save_steps=40)
    log = tmp_path / "log.txt"
    process = study.start(folder, "--cores", "2", MODEL, log=log)
    wait_for(lambda: any((folder / "work/tiny/state/train").glob("*/checkpoint-40/whole.json")))
    start = time.monotonic()
    (os.killpg if whole_group else os.kill)(process.pid, number)
    status = process.wait(timeout=30)
    took = time.monotonic() - start
    said = log.read_text(errors="replace")
    assert took < 10 and status == 128 + number, (took, status, said[-2000:])
    assert f"stopped by {signal.Signals(number).name} at step" in said and "Traceback" not in said
    [newest] = [max(marks) for marks in [[int(p.parent.name.rpartition("-")[2])
        for p in (folder / "work/tiny/state/train").glob("*/checkpoint-*/whole.json")]] if marks]  # fmt: skip
    done = study.run(folder, "--cores", "2", MODEL)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((folder / MODEL / "training.json").read_text())
    assert record["resumed_from_step"] == newest and len(record["loss"]) == 400


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a tmpfs over a folder; only root may."""
    mounted = []

    def mount(folder: Path, options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=False)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def error_of(done: subprocess.CompletedProcess) -> str:
    return next(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: "))


def test_full_disk_says_folder_and_need_and_then_goes_on(undisturbed, tiny, packages_folder, small_disk, tmp_path):
    folder = prepared(tmp_path / "study", tiny, packages_folder)
    small_disk(results_of(folder), "size=120k")
    done = study.run(folder, "--cores", "2", MODEL)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    sentence = error_of(done)
    assert str(Path(MODEL).parent) in sentence and " MB " in sentence, sentence
    assert sentence.split(" (log:")[0].endswith("then run the same command again: what is finished is kept"), sentence
    remount(results_of(folder), "size=100m")
    assert study.run(folder, "--cores", "2", MODEL).returncode == 0
    assert (folder / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()


def test_full_disk_under_the_checkpoints(undisturbed, tiny, packages_folder, small_disk, tmp_path):
    folder = prepared(tmp_path / "study", tiny, packages_folder)
    small_disk(work_of(folder) / "state", "size=64k")
    done = study.run(folder, "--cores", "2", MODEL)
    assert done.returncode != 0 and "is full: this job needs" in error_of(done), done.stderr[-2000:]
    remount(work_of(folder) / "state", "size=100m")
    assert study.run(folder, "--cores", "2", MODEL).returncode == 0
    assert (folder / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()


def test_read_only_results_are_named(tiny, packages_folder, small_disk, tmp_path):
    folder = prepared(tmp_path / "study", tiny, packages_folder)
    small_disk(results_of(folder), "size=10m")
    (folder / MODEL).parent.mkdir(parents=True)  # Snakemake makes it before the job
    remount(results_of(folder), "ro")
    done = study.run(folder, "--cores", "2", MODEL)
    assert done.returncode != 0
    assert f"{results_of(folder)} cannot be written by user 0: its disk is read-only" in error_of(done)
    remount(results_of(folder), "rw")
    assert study.run(folder, "--cores", "2", MODEL).returncode == 0


def flip(path: Path, chance: random.Random, *, silent: bool) -> None:
    """One bit; ``silent`` as a failing disk does it, with size and time as before."""
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))
    if silent:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


SHARD = "work/tiny/evaluation/causal2vec/tiny-llm/seed0/shard0"

DAMAGED = {
    "base model": ("work/tiny/models/tiny-llm/model.safetensors", MODEL),
    "training pairs": ("work/tiny/pairs/train.parquet", MODEL),
    "task data": ("work/tiny/tasks/*/*.parquet", SHARD),
    "finished model": (WEIGHTS, SHARD),
    "task result": (f"{SHARD}/results/*/*/[A-Z]*.json", "results/tiny/scores.csv"),
    "items": ("results/tiny/items/WordSim353STS.parquet", "results/tiny/statistics"),
    "scores": ("results/tiny/scores.csv", "results/tiny/statistics"),
    "manifest": ("results/tiny/manifest.json", "results/tiny/tables"),
}
"""What is damaged, and what is made from it and shall be made again."""


@pytest.mark.parametrize("what", DAMAGED)
def test_damage_is_named_and_made_anew(what, undisturbed, tmp_path):
    """A bit flips without a trace; what is made from it is missing, so that it must be read."""
    pattern, target = DAMAGED[what]
    folder = tmp_path / "study"
    shutil.copytree(undisturbed, folder, symlinks=True)
    victim = sorted(folder.glob(pattern))[0]
    before = victim.read_bytes()
    flip(victim, random.Random(f"{what} {SEED}"), silent=True)
    (folder / "work/tiny/seals" / f"{target}.seal").unlink()
    shutil.rmtree(folder / target) if (folder / target).is_dir() else (folder / target).unlink()
    first = study.run(folder, "--cores", "2", target)
    assert first.returncode != 0 and "Traceback" not in first.stderr, first.stderr[-2000:]
    sentence = error_of(first)
    assert " is damaged: " in sentence and victim.name in sentence and "run the same command again" in sentence
    for words in (("--cores", "2", target), ()):
        again = study.run(folder, *words)
        assert again.returncode == 0, again.stderr[-3000:]
    if what not in ("manifest", "task result"):  # they hold seconds
        assert victim.read_bytes() == before
    weights = [path.relative_to(folder) for path in results_of(folder).rglob("*.safetensors")]
    for name in [*weights, Path("results/tiny/scores.csv"), Path("results/tiny/tables/main.md")]:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_damage_that_leaves_a_trace_is_mended_by_one_command(undisturbed, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(undisturbed, folder, symlinks=True)
    for name in ("results/tiny/scores.csv", WEIGHTS, "work/tiny/pairs/train.parquet"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-20])
    done = study.run(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    for name in ("results/tiny/scores.csv", MODEL, "work/tiny/pairs"):
        assert f"{name} is damaged: " in said and "is made anew" in said
    for name in ("results/tiny/scores.csv", WEIGHTS, "work/tiny/pairs/train.parquet", "results/tiny/tables/main.md"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_two_at_once(undisturbed, tiny, packages_folder, tmp_path):
    folder = prepared(tmp_path / "study", tiny, packages_folder)
    runs = [study.start(folder, log=tmp_path / f"{number}.txt") for number in range(2)]
    status = sorted(run.wait(timeout=300) for run in runs)
    logs = [(tmp_path / f"{number}.txt").read_text() for number in range(2)]
    assert status == [0, 2], logs
    refused = next(log for log in logs if "another run of the study tiny is at work in" in log)
    assert f"another run of the study tiny is at work in {folder} (process " in refused and "Traceback" not in refused
    for name in ("results/tiny/scores.csv", WEIGHTS, "results/tiny/tables/main.md"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *(
    f"--{caps}=-all,+dac_read_search" for caps in ("inh-caps", "ambient-caps", "bounding-set")
)]  # fmt: skip
"""Another user, who can read the environment wherever root has put it, and has no other right of root's."""


def test_another_user_in_strange_surroundings(undisturbed, tiny, packages_folder, tmp_path_factory):
    """Not root, no home, no locale, another time zone, spaces and foreign letters in the path, killed once."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become another user, with setpriv")
    top = Path(os.environ.get("TORTURE_PUBLIC", "/var/tmp")) / f"causal2vec torture {os.getpid()}"
    try:
        models = {part: Path(shutil.copytree(path, top / "modèles" / path.name)) for part, path in tiny.items()}
        folder = prepared(top / "étude – 研究 'quoted'", models, packages_folder)
        subprocess.run(["chown", "-R", "65534:65534", top], check=True)
        public = {"HOME": "/nonexistent", "LC_ALL": "C", "TZ": "America/St_Johns", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*NOBODY, *study.command(folder, *study.CORES)], cwd=ROOT, env={**os.environ, **public},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        for name in ("results/tiny/scores.csv", WEIGHTS):
            assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
        assert not killer.strays(folder, top / "none")
    finally:
        shutil.rmtree(top, ignore_errors=True)
