"""The commands of README and of the pages that go on from it, typed in their order in one folder.

The demo is made tiny, and what takes hours is a dry run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, results_of, work_of
from support.studies import bring_packages

from causal2vec.runtime.files import read_record

PAGES = ("README.md", "docs/outputs.md", "docs/by_hand.md")
"""In the order in which they are typed: README begins with the demo, which the others work on."""

RECIPE = (ROOT / "CONTRIBUTING.md").read_text()

STAND_INS = {
    "results=DIR": "results=others", "efficiency=FILE": "efficiency=costs.csv", "STSBenchmark": "WordSim353STS",
    "results A": "results results/demo", "other B": "other results/demo", "FOLDER_OR_HUB_NAME": "my-model",
}  # fmt: skip
"""What the pages leave to the reader, and a task that the model hub would have to be asked for."""

DRY = {
    "make test": "make -n test",
    "config/cpu.yaml": "{} -n",
    "snakemake fetch": "{} -n",
    "profiles/slurm": "{} -n",
}
"""What takes hours, a network or a cluster."""


def commands() -> list[str]:
    """The lines of the pages' indented blocks that start a program, without what is said of them."""
    text = "\n".join((ROOT / page).read_text() for page in PAGES).replace("\\\n", " ")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^ {4}((?:make|snakemake|python) .+)$", text, re.MULTILINE)
    return [" ".join(line.partition(" #")[0].split()) for line in lines]


def fenced(language: str) -> str:
    return re.search(rf"^```{language}\n(.*?)^```$", RECIPE, re.DOTALL | re.MULTILINE)[1]


def small(tiny: dict[str, Path]) -> dict:
    """The demo's configuration on models of some kilobytes."""
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    for name, model in config["models"].items():
        kept = {key: model[key] for key in ("kind", "add_bos") if key in model}
        config["models"][name] = {**kept, "source": "local", "path": str(tiny[model["kind"]])}
    chosen = ("causal2vec", "in_context", "encoder_only")
    config["methods"] = {name: {**config["methods"][name], "zero_shot": False} for name in chosen}
    config["pairs"] |= {"sources": {"recipe_title": 300, "hpo_synonym": 300}, "validation": 120}
    config["budget"] |= {"steps": 3, "batch_size": 8, "mini_batch_size": None, "warmup_steps": 0, "max_length": 400}
    config["evaluation"] |= {"tasks": ["WordSim353STS", "AWSOperationReranking"], "max_length": 400, "shards": 1}
    config["efficiency"] = {"lengths": [8, 16], "texts": 4, "repeats": 2}
    return config | {
        "ablations": {},
        "statistics": {"resamples": 100},
        "compute": {"threads": 1, "dtype": "float32", "device": "cpu"},
    }


@pytest.fixture(scope="module")
def clone(tiny, packages_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Snakefile", "Makefile", "requirements.lock", "requirements-test.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "config" / "demo.yaml").write_text(yaml.safe_dump(small(tiny), sort_keys=False))
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".done").touch()  # the environment is this one
    bring_packages(packages_folder, folder, "demo")
    return folder


def typed(folder: Path, command: str) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}:{folder}"}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(1500)
def test_commands_work_in_their_order_in_one_folder(clone):
    found = commands()
    assert found[0] == "make demo" and len(found) > 15 and "snakemake plan --configfile config/paper.yaml" in found
    for line in found:
        command = line
        for words, stand_in in STAND_INS.items():
            command = command.replace(words, stand_in)
        command = next((dry.format(command) for words, dry in DRY.items() if words in command), command)
        done = typed(clone, command)
        said = done.stdout[-3000:] + done.stderr[-3000:]
        if "claims=strict" in command:  # random models keep what they like
            assert done.returncode == 0 or "error: claim " in said, said
            continue
        assert done.returncode == 0, f"{command}\n{said}"
        if line == "make demo":
            assert "results/demo/report.html" in done.stdout
            [ours] = (results_of(clone, "demo") / "mteb" / "results").glob("causal2vec-suite__encoder_only__*")
            shutil.copytree(ours, clone / "others" / "results" / "somebody__their-model")
            costs = pd.read_csv(results_of(clone, "demo") / "efficiency.csv").assign(base="their-base")
            costs.to_csv(clone / "costs.csv", index=False)
        if line == "snakemake verify":
            assert "; 0 failures" in done.stdout
    assert {path.name for path in (clone / "results").iterdir()} == {"demo"}


def test_a_method_that_is_added_costs_its_own_time_and_then_nothing_is_left(clone):
    (clone / "my_methods.py").write_text(fenced("python"))
    path = clone / "config" / "demo.yaml"
    config = yaml.safe_load(path.read_text())
    config["methods"] |= yaml.safe_load(fenced("yaml"))["methods"]
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    assert typed(clone, "snakemake --cores all").returncode == 0
    planned = typed(clone, "snakemake -n")
    assert "Nothing to be done" in planned.stdout + planned.stderr
    records = [read_record(file) for file in (work_of(clone, "demo") / "costs").rglob("*.json")]
    assert sorted(str(record["beside"]) for record in records) == ["None"] * 3 + ["causal2vec"]
    costs = pd.read_csv(results_of(clone, "demo") / "efficiency.csv")
    assert set(costs["method"]) == {*small({"llm": Path(), "encoder": Path()})["methods"], "mean_causal"}
