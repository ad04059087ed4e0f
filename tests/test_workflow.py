"""The whole DAG on tiny random models, real data packages and real mteb tasks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import METHODS, ROOT
from safetensors.torch import load_file

TABLES = ["main", "tasks", "efficiency", "training"]
PLOTS = ["score_vs_time", "score_vs_length", "throughput_vs_length", "scores_by_type", "loss_curves"]


def configuration(tiny: dict[str, Path]) -> dict:
    def method(name: str, **more) -> dict:
        path, settings = METHODS[name]
        return {"module": path, "settings": settings, **more}

    return {
        "title": "tiny",
        "scale_note": "random tiny models: these scores mean nothing",
        "models": {
            "tiny-llm": {"kind": "llm", "source": "local", "path": str(tiny["llm"]), "keep_layers": 1},
            "tiny-encoder": {"kind": "encoder", "source": "local", "path": str(tiny["encoder"])},
        },
        "bases": ["tiny-llm"],
        "encoder": "tiny-encoder",
        "methods": {
            "causal2vec": method("causal2vec"),
            "bidirectional": method("bidirectional", mntp=True),
            "encoder_only": method("encoder_only", bases=["tiny-encoder"], zero_shot=True),
        },
        "pairs": {"sources": {"recipe_title": 300, "hpo_synonym": 300}, "validation": 60},
        "budget": {"steps": 3, "batch_size": 8, "max_length": 128, "lora": {"rank": 2, "alpha": 4}},
        "mntp": {"steps": 2, "batch_size": 4, "max_length": 32},
        "evaluation": {
            "tasks": ["HPOSynonymPairClassification", "WordSim353STS", "AWSOperationReranking"],
            "max_length": 128, "batch_size": 32, "shards": 2, "prompts": str(ROOT / "config" / "prompts.yaml"),
        },
        "efficiency": {"lengths": [8, 16], "texts": 4, "repeats": 2, "batch_size": 4},
        "compute": {"threads": 1, "dtype": "float32", "device": "cpu"},
    }  # fmt: skip


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder,
        "--configfile", folder / "tiny.yaml", "--workflow-profile", ROOT / "profiles" / "default", *words,
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def prepared(folder: Path, tiny: dict[str, Path], packages: Path) -> Path:
    folder.mkdir()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(configuration(tiny)))
    (folder / "work").mkdir()
    shutil.copytree(packages, folder / "work" / "packages")
    return folder


@pytest.fixture(scope="module")
def finished(tiny, packages_folder, tmp_path_factory) -> Path:
    """A folder in which the whole DAG has run, on two cores."""
    folder = prepared(tmp_path_factory.mktemp("dag") / "a path with späces", tiny, packages_folder)
    done = snakemake(folder, "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


def test_everything_promised_comes_out(finished):
    results = finished / "results"
    for table in TABLES:
        for ending in ("md", "csv", "tex"):
            assert (results / "tables" / f"{table}.{ending}").stat().st_size > 50
    for plot in PLOTS:
        assert (results / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (results / "plots" / f"{plot}.svg").read_text()
    scores = pd.read_csv(results / "scores.csv")
    columns = "method base seed task task_type split subset metric value items mteb_version data_revision"
    assert list(scores.columns) == columns.split()
    assert set(scores.task) == set(configuration({"llm": "", "encoder": ""})["evaluation"]["tasks"])
    assert set(scores.method) == {"causal2vec", "bidirectional", "encoder_only", "encoder_only-zero_shot"}
    efficiency = pd.read_csv(results / "efficiency.csv").set_index(["method", "text_tokens"])
    assert efficiency.loc[("encoder_only", "8"), "llm_tokens"] == 0
    read = efficiency.loc[("causal2vec", "16"), "llm_tokens"]
    assert 16 <= read <= 24, "the text, the Contextual token, BOS and EOS"


def test_scores_are_in_mtebs_own_layout(finished):
    from mteb.cache import ResultCache

    found = ResultCache(finished / "results" / "mteb").load_results()
    names = {result.model_name for result in found.model_results}
    assert "causal2vec-suite/causal2vec__tiny-llm" in names
    revisions = {result.model_revision for result in found.model_results}
    manifest = json.loads((finished / "results/models/causal2vec/tiny-llm/seed0/manifest.json").read_text())
    assert manifest["revision"] in revisions


def test_manifest_says_how_it_was_made(finished):
    manifest = json.loads((finished / "results" / "manifest.json").read_text())
    assert manifest["dtype"] == "float32"
    assert len(manifest["models"]) == 4 and len(manifest["pairs"]["train.parquet"]) == 64
    assert manifest["versions"]["mteb"] and manifest["seconds"]["train_model/causal2vec/tiny-llm/seed0"] > 0
    assert manifest["config"]["budget"]["steps"] == 3


def test_nothing_is_left_to_do(finished):
    done = snakemake(finished, "-n")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_second_run_gives_the_same_bytes(finished, tiny, packages_folder, tmp_path):
    again = prepared(tmp_path / "again", tiny, packages_folder)
    done = snakemake(again, "--cores", "1")
    assert done.returncode == 0, done.stderr[-6000:]
    same = ["results/scores.csv", "work/pairs/train.parquet", "work/task_texts.parquet"]
    same += [f"results/tables/{table}.{ending}" for table in ("main", "tasks") for ending in ("md", "csv", "tex")]
    same += [f"results/plots/scores_by_type.{ending}" for ending in ("svg", "png")]
    for name in same:
        assert (finished / name).read_bytes() == (again / name).read_bytes(), name
    weights = sorted(path.relative_to(finished) for path in (finished / "results/models").rglob("*.safetensors"))
    assert len(weights) == 6
    for name in weights:
        assert (finished / name).read_bytes() == (again / name).read_bytes(), name


def test_changed_setting_reruns_what_it_touches_and_no_more(finished):
    config = yaml.safe_load((finished / "tiny.yaml").read_text())
    original = (finished / "tiny.yaml").read_text()
    config["mntp"]["steps"] = 3
    try:
        (finished / "tiny.yaml").write_text(yaml.safe_dump(config))
        plan = snakemake(finished, "-n").stdout
    finally:
        (finished / "tiny.yaml").write_text(original)
    counts = {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", plan, re.MULTILINE)}
    assert counts["pretrain_mntp"] == 1 and counts["train_model"] == 1 and counts["evaluate_model"] == 2
    assert "prepare_pairs" not in counts


def test_failing_job_says_why_in_one_sentence(tiny, packages_folder, tmp_path):
    folder = prepared(tmp_path / "bad", tiny, packages_folder)
    config = configuration(tiny)
    config["methods"] = {"last_token": {"module": METHODS["last_token"][0], "settings": {"pooling": "mean"}}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    model = "results/models/last_token/tiny-llm/seed0"
    done = snakemake(folder, "--cores", "2", model)
    assert done.returncode != 0
    assert "error: baselines.last_token.LastToken has no setting 'pooling'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / model).exists()


def test_models_weights_are_what_the_loader_reads(finished):
    own = load_file(finished / "results/models/causal2vec/tiny-llm/seed0/own.safetensors")
    assert {name.split(".")[0] for name in own} == {"projection"}
