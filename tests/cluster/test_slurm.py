"""The slurm profile on a real Slurm: a tiny study to its tables, a training stopped half-way, what goes wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import METHODS, ROOT, results_of, work_of
from local_slurm import local_slurm, missing
from support.studies import command, configuration, prepared

pytestmark = pytest.mark.cluster
TRAINED = "results/tiny/models/causal2vec/tiny-llm/seed0"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> dict[str, str]:
    """Environment variables that lead to a Slurm of two nodes, without accounting."""
    if sentence := missing():
        pytest.skip(sentence)
    with local_slurm(tmp_path_factory.mktemp("slurm") / "slurm") as environment:
        yield environment


def small(tiny: dict[str, Path]) -> dict:
    """Two methods, of which one trains long enough to be stopped half-way."""
    config = configuration(tiny)
    del config["ablations"], config["mntp"]
    config["methods"] = {
        "causal2vec": config["methods"]["causal2vec"],
        "encoder_only": {"module": METHODS["encoder_only"][0], "settings": {}, "bases": ["tiny-encoder"]},
    }
    config["budget"] |= {"steps": 200, "save_steps": 20}
    config["evaluation"] |= {"tasks": ["HPOSynonymPairClassification", "WordSim353STS"], "shards": 2}
    config["pairs"] |= {"decontaminate_ngram": None}
    return config


@pytest.fixture(scope="module")
def folder(tiny, packages_folder, tmp_path_factory) -> Path:
    """A study whose data is made already, as after `snakemake fetch` and a first job."""
    return prepared(tmp_path_factory.mktemp("cluster") / "study", small(tiny), packages_folder)


def profile(folder: Path, **changes) -> Path:
    """A copy of the project's profile with partition and account filled in, and with no long waits."""
    copy = shutil.copytree(ROOT / "profiles" / "slurm", folder / "profile", dirs_exist_ok=True) / "profile.yaml"
    settings = yaml.safe_load(copy.read_text())
    settings |= {"slurm-init-seconds-before-status-checks": 2, "latency-wait": 20}
    settings["default-resources"] |= changes
    copy.write_text(yaml.safe_dump(settings))
    return copy.parent


def asked(slurm: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=slurm, capture_output=True, text=True, check=True).stdout


def jobs(slurm: dict[str, str]) -> list[dict[str, str]]:
    """What Slurm knows of every job, the finished ones too."""
    lines = asked(slurm, "scontrol", "--oneliner", "show", "job").splitlines()
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]


def of_rule(found: list[dict[str, str]], rule: str) -> list[dict[str, str]]:
    return [job for job in found if job.get("Comment", "").startswith(f"rule_{rule}")]


def shell_log(folder: Path) -> str:
    """What the long training has printed."""
    return "".join(
        path.read_text() for path in folder.glob("work/shared/logs/slurm/rule_train_model/causal2vec*/*.log")
    )


def wait_for(what, process: subprocess.Popen, seconds: float = 150):
    """The first true answer; fails when snakemake has ended or nothing comes."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        if answer := what():
            return answer
        time.sleep(0.1)
    raise AssertionError("snakemake ended or took too long before this came")


@pytest.fixture(scope="module")
def finished(folder, slurm) -> dict:
    """The whole study through Slurm; its long training gets a SIGTERM once it has written a checkpoint."""
    words = command(folder, "--profile", str(profile(folder)))
    with (folder / "snakemake.out").open("w") as output:
        process = subprocess.Popen(words, cwd=ROOT, env=slurm, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: "'loss'" in shell_log(folder), process)
            [training] = [job for job in of_rule(jobs(slurm), "train_model") if "causal2vec" in job["Comment"]]
            asked(slurm, "scancel", "--signal=TERM", training["JobId"])
            process.wait(timeout=400)
        finally:
            process.terminate()
            process.wait()
    said = (folder / "snakemake.out").read_text()
    assert process.returncode == 0, said[-6000:]
    return {"said": said, "jobs": jobs(slurm), "stopped": training["JobId"]}


def test_study_reaches_its_tables(finished, folder):
    """Without an accounting database; light rules in one job; scores of both methods."""
    scores = pd.read_csv(results_of(folder) / "scores.csv")
    assert set(scores.method) == {"causal2vec", "encoder_only"} and len(set(scores.task)) == 2
    assert (results_of(folder) / "tables" / "main.md").stat().st_size > 50
    assert (results_of(folder) / "report.html").is_file()
    assert len(of_rule(finished["jobs"], "report_")) == 1, "the light rules share a job"
    assert not of_rule(finished["jobs"], "fetch"), "what needs a network stays on the login node"


def test_stopped_training_goes_on_to_the_same_weights(finished, folder, tmp_path):
    record = json.loads((folder / TRAINED / "training.json").read_text())
    assert "stopped by SIGTERM at step" in finished["said"]
    assert record["resumed"] is True
    alone = copied(folder, tmp_path / "alone")
    done = subprocess.run(
        command(alone, "--cores", "1", TRAINED), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    uninterrupted = json.loads((alone / TRAINED / "training.json").read_text())
    assert uninterrupted["resumed"] is False
    assert uninterrupted["loss"] == record["loss"]
    weights = [path.relative_to(alone) for path in (alone / TRAINED).rglob("*.safetensors")]
    assert weights
    for path in weights:
        assert (alone / path).read_bytes() == (folder / path).read_bytes(), path


def test_second_try_asks_for_twice_the_memory_and_time(finished):
    first, second = [job for job in of_rule(finished["jobs"], "train_model") if "causal2vec" in job["Comment"]]
    assert first["JobId"] == finished["stopped"] and first["JobState"] == "FAILED"
    assert second["JobState"] == "COMPLETED"
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("8000M", "16000M")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("04:00:00", "08:00:00")


def test_shards_of_a_model_are_one_array(finished):
    shards = of_rule(finished["jobs"], "evaluate_model")
    assert len(shards) == 4, "two models, two shards each"
    arrays = {job["ArrayJobId"] for job in shards}
    assert len(arrays) == 2
    assert {job["ArrayTaskId"] for job in shards} == {"1", "2"}


def test_nothing_runs_beside_a_measurement(finished):
    [measured] = of_rule(finished["jobs"], "measure_efficiency")
    assert measured["OverSubscribe"] == "NO"
    assert measured["NumCPUs"] == "8", "the whole node"


def test_logs_of_failed_jobs_are_kept_and_named(finished, folder):
    [log] = folder.glob(f"work/shared/logs/slurm/**/{finished['stopped']}.log")
    assert str(log) in finished["said"]


def test_training_over_two_nodes(finished, folder, slurm, tiny, tmp_path):
    two = copied(folder, tmp_path / "two")
    config = small(tiny)
    config["models"]["tiny-llm"]["distributed"] = {"nodes": 2}
    (two / "tiny.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        command(two, "--profile", str(profile(two)), TRAINED),
        cwd=ROOT,
        env=slurm,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    [job] = [job for job in of_rule(jobs(slurm), "train_model") if job["WorkDir"] == str(two)]
    assert (job["NumNodes"], job["NodeList"]) == ("2", "127.0.0.[1-2]")
    record, one = (json.loads((place / TRAINED / "training.json").read_text()) for place in (two, folder))
    assert (record["processes"], one["processes"]) == (2, 1)
    assert record["order_sha256"] == one["order_sha256"], "the same pairs in the same order"
    assert record["trainable_parameters"] == one["trainable_parameters"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mian", "Slurm has no partition 'mian' (did you mean 'main'?); correct slurm_partition under"),
        ("gpu-long", "Slurm has no partition 'gpu-long' (there are: main); correct slurm_partition under"),
    ],
)
def test_absent_partition_is_one_sentence_and_no_job(name, sentence, folder, slurm, tmp_path):
    before = len(jobs(slurm))
    words = command(folder, "--profile", str(profile(tmp_path, slurm_partition=name)), "--forceall")
    done = subprocess.run(words, cwd=ROOT, env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert sentence in line
    assert "Traceback" not in done.stderr
    assert len(jobs(slurm)) == before


def copied(folder: Path, target: Path) -> Path:
    """The study's data and parts without anything trained."""
    for name in ("work/tiny/models", "work/tiny/pairs"):
        shutil.copytree(folder / name, target / name)
    shutil.copy(work_of(folder) / "hardware.json", work_of(target))
    shutil.copy(folder / "tiny.yaml", target)
    return target
