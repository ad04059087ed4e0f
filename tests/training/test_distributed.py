"""Several processes do what one does: the same batches, the same loss, the same weights in the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import METHODS, ROOT, TEXTS
from safetensors.torch import load_file

from causal2vec.config import load_config
from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import Run, runs_of
from causal2vec.config.settings import Budget, Distributed, LearningRates, Lora, Method
from causal2vec.errors import UserError
from causal2vec.runtime.files import write_text
from causal2vec.training import launch as launching
from causal2vec.training.__main__ import train_from_command_line
from causal2vec.training.checkpoints import is_whole
from causal2vec.training.job import Job
from causal2vec.training.launch import launch, perform

PROMPTS = Prompts(sources={"a": "find", "b": "match"}, symmetric=["b"])
BUDGET = Budget(
    steps=4, batch_size=8, max_length=48, temperature=0.05, save_steps=2, lora=Lora(rank=4, alpha=8),
    learning_rates=LearningRates(lora=5e-3, encoder=5e-3, projection=5e-3),
)  # fmt: skip
CACHED = BUDGET.model_copy(update={"mini_batch_size": 2})
PROGRAM = ROOT / "tests" / "support" / "distributed_cases.py"
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests' / 'support'}",
}
CASES = {
    ("causal2vec", "ddp"): BUDGET,
    ("causal2vec", "ddp cached"): CACHED,
    ("causal2vec", "ddp stopped"): BUDGET,
    ("causal2vec", "fsdp"): BUDGET,
    ("causal2vec", "fsdp cached"): CACHED,
    ("causal2vec", "fsdp stopped"): BUDGET,
    ("bidirectional", "ddp cached"): CACHED,
    ("bidirectional", "fsdp"): BUDGET,
    ("latent_attention", "ddp cached"): CACHED,
    ("latent_attention", "fsdp stopped"): BUDGET,
    ("soft_mask", "ddp stopped"): BUDGET,
    ("soft_mask", "fsdp cached"): CACHED,
    ("generated_tokens", "ddp"): BUDGET,
    ("generated_tokens", "fsdp cached"): CACHED,
}


@pytest.fixture(scope="module")
def parts(tiny, tmp_path_factory) -> dict[str, Path]:
    """The tiny models with an encoder without dropout, which would draw other masks on other shares of a batch."""
    folder = tmp_path_factory.mktemp("calm") / "tiny-encoder"
    shutil.copytree(tiny["encoder"], folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (folder / "config.json").write_text(json.dumps(config))
    return {"llm": tiny["llm"], "encoder": folder}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Two sources, one with hard negatives."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = [
        {
            "query": f"question {i} of {s}",
            "positive": f"{TEXTS[i % 4]} answer {i}",
            "source": s,
            "pair_id": f"{s}{i}",
            "negative_1": f"{TEXTS[(i + 1) % 4]} but {i} is wrong" if s == "a" else None,
        }
        for s in ("a", "b")
        for i in range(40)
    ]
    for name in ("train", "validation"):
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    return folder


def job_of(
    method: str, parts, pairs: Path, folder: Path, budget: Budget = BUDGET, *, trained: bool = True, **distributed
) -> Job:
    path, settings = METHODS[method]
    run = Run(
        method=method, base="tiny", seed=0, trained=trained, spec=Method(module=path, settings=settings),
        settings=settings, budget=budget, encoder="tiny-encoder", max_length=64,
        inputs={"add_bos": None, "chat": None, "prefixes": None}, distributed=Distributed(**distributed),
    )  # fmt: skip
    return Job(
        run=run, folders=parts, pairs=pairs, prompts=PROMPTS, output=folder / "model", state=folder / "state"
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.relative_to(folder)}:{name}": tensor
        for path in folder.rglob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def record(job: Job) -> dict:
    return json.loads((job.output / "training.json").read_text())


def written(job: Job, folder: Path) -> str:
    write_text(folder / "job.json", job.model_dump_json())
    return str(folder / "job.json")


@pytest.fixture(scope="module")
def spread(parts, pairs, tmp_path_factory) -> dict[tuple[str, str], Job]:
    """Every case, trained by two processes; those called stopped are stopped by a signal on the way, and resumed."""
    jobs, words = {}, []
    for (method, case), budget in CASES.items():
        folder = tmp_path_factory.mktemp("spread")
        job = job_of(method, parts, pairs, folder, budget, processes=2, strategy=case.split()[0])
        jobs[method, case] = job
        words.append(("stopped:" if "stopped" in case else "") + written(job, folder))
    torchrun(*words)
    return jobs


def torchrun(*words: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(PROGRAM), *words]
    subprocess.run(command, check=True, env=ENVIRONMENT, timeout=600)


@pytest.fixture(scope="module")
def alone(parts, pairs, tmp_path_factory) -> dict[str, Job]:
    """Every method, trained by one process."""
    jobs = {}
    for method in dict.fromkeys(method for method, _ in CASES):
        jobs[method] = job_of(method, parts, pairs, tmp_path_factory.mktemp("alone"))
        perform(jobs[method])
    return jobs


def test_split_weights_train_in_bfloat16_beside_adapters_in_float32(parts, pairs, tmp_path):
    """The setting for a large LLM: frozen blocks in bfloat16, split, recomputed, with cached gradients."""
    budget = CACHED.model_copy(update={"gradient_checkpointing": True})
    records = []
    for processes in (1, 2):
        job = job_of("causal2vec", parts, pairs, tmp_path / str(processes), budget, strategy="fsdp")
        job = job.model_copy(update={"dtype": "bfloat16"})
        if processes == 1:
            perform(job)
        else:
            torchrun(written(job, tmp_path))
        records.append(record(job))
        assert records[-1]["frozen_dtype"] == "bfloat16"
    one, two = ([entry["loss"] for entry in r["loss"]] for r in records)
    assert two == pytest.approx(one, rel=0.02)


def test_command_line_trains_in_as_many_processes_as_it_is_told(parts, pairs, tmp_path, monkeypatch):
    config = load_config(ROOT / "config" / "demo.yaml")
    run = next(run for run in runs_of(config) if run.method == "causal2vec")
    options = Namespace(
        models=tmp_path, llm=parts["llm"], pairs=pairs, output=tmp_path / "model", state=None, dtype="float32",
        validate=False, processes=2, strategy="fsdp",
    )  # fmt: skip
    shutil.copytree(parts["encoder"], tmp_path / run.encoder)
    done = []
    monkeypatch.setattr(launching, "launch", lambda job: done.append(("launch", job)))
    monkeypatch.setattr(launching, "perform", lambda job: done.append(("perform", job)))
    train_from_command_line(config, run, options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    train_from_command_line(config, run, options)
    assert [name for name, _ in done] == ["launch", "perform"]
    assert {job.run.distributed for _, job in done} == {Distributed(processes=2, strategy="fsdp")}


@pytest.fixture(scope="module")
def untrained(parts, pairs, tmp_path_factory) -> dict[str, Job]:
    """What every method starts from."""
    jobs = {}
    for method in dict.fromkeys(method for method, _ in CASES):
        jobs[method] = job_of(method, parts, pairs, tmp_path_factory.mktemp("untrained"), trained=False)
        perform(jobs[method])
    return jobs


def difference(one: Job, two: Job, start: Job) -> float:
    """The largest distance between the weights of two models, as a share of the way that training took them.

    A share, since Adam makes steps of full length out of gradients that are nearly zero, whose rounding is another
    on every processor. Without an attention's key biases: a softmax does not see them, their gradient is nothing
    but rounding.
    """
    first, second, begin = (weights(job.output) for job in (one, two, start))
    assert first.keys() == second.keys() == begin.keys()
    shares = []
    for name in first:
        if torch.equal(first[name], begin[name]):
            assert torch.equal(second[name], begin[name]), f"only one has trained {name}"
        elif not name.endswith("key.bias"):
            shares.append(float((first[name] - second[name]).norm() / (first[name] - begin[name]).norm()))
    assert len(shares) > len(first) / 2, "as if hardly anything had been trained"
    return max(shares)


@pytest.mark.parametrize(("method", "case"), CASES)
def test_two_processes_end_with_the_weights_of_one(method, case, spread, alone, untrained):
    assert difference(alone[method], spread[method, case], untrained[method]) < 1e-3


@pytest.mark.parametrize(("method", "case"), CASES)
def test_two_processes_record_what_one_records(method, case, spread, alone):
    one, two = record(alone[method]), record(spread[method, case])
    assert one["order_sha256"] == two["order_sha256"]
    assert [e["step"] for e in two["loss"]] == [1, 2, 3, 4]
    assert [e["loss"] for e in two["loss"]] == pytest.approx([e["loss"] for e in one["loss"]], abs=2e-5)
    assert (one["processes"], two["processes"], two["strategy"]) == (1, 2, case.split()[0])
    assert one["trainable_parameters"] == two["trainable_parameters"]
    assert two["resumed_from_step"] == (3 if "stopped" in case else None)


def test_training_stopped_by_a_signal_ends_in_the_same_weights(alone, parts, pairs, tmp_path):
    job = job_of("causal2vec", parts, pairs, tmp_path)
    script = [
        sys.executable,
        str(ROOT / "tests" / "support" / "distributed_cases.py"),
        f"stopped:{written(job, tmp_path)}",
    ]
    done = subprocess.run(
        script, env={**ENVIRONMENT, "STOP_FOR_GOOD": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "stopped by SIGTERM at step 3 of 4; the same command goes on from there" in done.stderr
    assert not job.output.exists()
    perform(job)
    assert record(job)["resumed_from_step"] == 3
    whole, resumed = weights(alone["causal2vec"].output), weights(job.output)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_signal_to_the_launcher_stops_all_processes_with_a_checkpoint(parts, pairs, tmp_path, monkeypatch):
    # Far more steps than are done before the signal, and as many as are drawn in a moment for the order's digest.
    budget = BUDGET.model_copy(update={"steps": 1000})
    job = job_of("last_token", parts, pairs, tmp_path, budget, processes=2)
    script = "import sys; from causal2vec.runtime.cli import run_cli; from causal2vec.training.launch import launch\n"
    script += "from causal2vec.training.job import read_job; from pathlib import Path\n"
    script += "run_cli(lambda: launch(read_job(Path(sys.argv[1]))))"
    command = [sys.executable, "-c", script, written(job, tmp_path)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: list(job.state.glob("checkpoint-*/whole.json")), process)
        process.send_signal(signal.SIGUSR1)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    sentence = [line for line in errors.splitlines() if line.startswith("error: stopped by SIGUSR1 at step ")]
    assert process.returncode == 128 + signal.SIGUSR1 and sentence
    step = int(sentence[-1].split()[6])
    assert is_whole(job.state / f"checkpoint-{step}")

    # Checkpoints look alike however a training is spread: one process goes on with what two have left.
    def first(loss: float, now: int) -> None:
        raise KeyboardInterrupt(now)

    monkeypatch.setattr("causal2vec.training.trainer.check_finite", first)
    with pytest.raises(KeyboardInterrupt, match=f"^{step + 1}$"):
        perform(job_of("last_token", parts, pairs, tmp_path, budget))


def wait_for(found, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not found():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """A Slurm of two nodes that are both this machine; returns the file that srun's words are written to."""
    tools = {
        "squeue": "echo 'node[1-2]'",
        "scontrol": "echo 127.0.0.1; echo 127.0.0.1",
        "srun": f'echo "$@" > {tmp_path}/srun; while [ "${{1#--}}" != "$1" ]; do shift; done\n'
        '"$@" & first=$!; "$@" & second=$!; wait $first || exit 1; wait $second',
    }
    for name, script in tools.items():
        path = tmp_path / "bin" / name
        write_text(path, f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, ENVIRONMENT[name])
    return tmp_path / "srun"


def test_two_nodes_of_a_cluster_train_one_model(cluster, parts, pairs, alone, untrained, tmp_path):
    job = job_of("bidirectional", parts, pairs, tmp_path, nodes=2)
    launch(job)
    assert difference(alone["bidirectional"], job, untrained["bidirectional"]) < 1e-3
    manifest = json.loads((job.output / "manifest.json").read_text())
    assert manifest["distributed"] == {"nodes": 2, "processes": 1, "strategy": "ddp"}
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1" in cluster.read_text()
    assert not job.state.exists()


def test_error_of_a_process_comes_back_as_its_sentence(parts, pairs, tmp_path):
    budget = BUDGET.model_copy(update={"lora": Lora(targets=["nothing"])})
    with pytest.raises(UserError, match="fit no layer of LlamaModel"):
        launch(job_of("last_token", parts, pairs, tmp_path, budget, processes=2))


def test_batch_must_be_shared_equally(parts, pairs, tmp_path):
    with pytest.raises(UserError, match=r"batch_size is 8, which 3 processes .* cannot share equally"):
        launch(job_of("last_token", parts, pairs, tmp_path, processes=3))


def test_more_processes_than_gpus_are_refused_before_any_starts(parts, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(launching, "command", lambda *args: pytest.fail("torchrun was started"))
    job = job_of("last_token", parts, pairs, tmp_path, processes=2).model_copy(update={"device": "cuda"})
    with pytest.raises(UserError, match=r"distributed\.processes is 2, but only 1 GPUs can be used here"):
        launch(job)


def test_several_nodes_without_slurm_say_what_to_run_by_hand(parts, pairs, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    job = job_of("last_token", parts, pairs, tmp_path, nodes=2)
    with pytest.raises(UserError, match=r"torchrun --nnodes=2 .* -m causal2vec.training.worker .*job.json"):
        launch(job)
    assert (job.state / "job.json").is_file()


def test_untrained_twin_needs_no_processes(parts, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "command", lambda *args: pytest.fail("torchrun was started"))
    job = job_of("last_token", parts, pairs, tmp_path, trained=False, processes=2)
    launch(job)
    assert (job.output / "manifest.json").is_file()
