"""Many studies in one folder: each has folders of its own, and what is the same for all is made once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from conftest import METHODS, ROOT, results_of, work_of
from support.studies import bring_packages

from causal2vec.config import load_config
from causal2vec.errors import UserError
from causal2vec.runtime import resume, seals
from causal2vec.runtime.files import atomic_folder, write_text
from causal2vec.runtime.folders import RESULTS, Folders, study_of, the_only
from causal2vec.runtime.shared import shared


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def a_job(study: str, output: str = "models/m", **params) -> SimpleNamespace:
    path = Folders(study).work / output
    path.parent.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(rule="prepare", params=params, input=[], output=[str(path)], config={"study": study})


class Maker:
    """Makes a folder and counts how often."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds, self.times = seconds, 0

    def __call__(self, output: Path) -> None:
        self.times += 1
        time.sleep(self.seconds)
        with atomic_folder(output) as draft:
            (draft / "weights").write_text(f"made {self.times}")


def weights(study: str) -> Path:
    return Folders(study).work / "models/m/weights"


def test_the_same_is_made_once_and_takes_no_room_twice():
    make = Maker()
    for study in ("one", "two"):
        shared(a_job(study, layers=8), make)
        assert seals.damage(weights(study).parent) is None and seals.is_sealed(weights(study).parent)
    assert make.times == 1 and weights("one").samefile(weights("two"))
    shared(a_job("three", layers=30), make)
    assert make.times == 2 and weights("three").read_text() == "made 2", "one name, two meanings"
    (source := Path("pairs")).write_text("a")
    for study, text in (("four", "a"), ("five", "b")):
        source.write_text(text)
        shared(a_job(study, layers=8), make, source)
    assert make.times == 4, "what was read counts as well"


def test_a_study_that_removes_or_touches_its_own_does_nothing_to_another():
    make = Maker()
    for study in ("one", "two"):
        shared(a_job(study, layers=8), make)
        shared(a_job(study, "hardware.json"), lambda output: write_text(output, "{}"))
    first, second = (Folders(study).work / "hardware.json" for study in ("one", "two"))
    os.utime(second, (1, 1))
    assert not first.samefile(second) and first.stat().st_mtime > 1
    (weights("two").parent / ".snakemake_timestamp").touch()
    weights("two").unlink()
    assert [path.name for path in weights("one").parent.iterdir()] == ["weights"]


def test_what_is_damaged_is_made_anew_and_not_taken_from_the_store():
    make = Maker()
    shared(a_job("one", layers=8), make)
    weights("one").write_text("flipped")  # the same file as in the store
    shared(a_job("two", layers=8), make)
    assert make.times == 2 and weights("two").read_text() == "made 2"


def test_two_that_want_the_same_at_once_make_it_once(capfd):
    make = Maker(0.5)
    both = [threading.Thread(target=shared, args=(a_job(study, layers=8), make)) for study in ("one", "two")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert make.times == 1 and weights("one").samefile(weights("two"))
    assert "another study is making work/shared/prepare/" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["shared", "Bench", "a/b", "../up", ".hidden", "", "a b", "ü", "x" * 65, "a{b}"])
def test_names_that_are_no_folder_of_a_study_are_refused(name):
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    with pytest.raises(UserError, match="study"):
        load_config(config | {"study": name})


def test_every_configuration_has_a_name_of_its_own():
    names = {path.stem: yaml.safe_load(path.read_text()).get("study") for path in (ROOT / "config").glob("*.yaml")}
    given = {stem: name for stem, name in names.items() if name}
    assert {"demo", "cpu", "paper"} <= given.keys() and all(stem == name for stem, name in given.items())
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    del config["study"]
    assert load_config(config).study == "default"


def test_the_one_study_is_found_and_of_several_one_must_be_named():
    with pytest.raises(UserError, match=r"holds no study with scores.csv; .*--results"):
        the_only(RESULTS, "scores.csv", "--results")
    for name in ("bench", "demo"):
        write_text(RESULTS / name / "scores.csv", "")
    assert the_only(RESULTS, "scores.csv", "--results") == Path("results/demo")
    write_text(RESULTS / "cpu" / "scores.csv", "")
    with pytest.raises(UserError, match=r"several studies \(cpu, demo\); name one with --results"):
        the_only(RESULTS, "scores.csv", "--results")


def test_files_know_their_study():
    assert study_of(Path("results/a/models/m")) == study_of(Path("work/a/pairs")) == Folders("a")
    assert study_of(Path("/elsewhere/model")).seals == Path("work/shared/seals")


def run(*words: str, study: str | None = None) -> subprocess.Popen:
    named = ["--config", f"study={study}"] if study else []
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "1",
        "--workflow-profile", ROOT / "profiles" / "default", *words, *named,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_one_run_per_study_and_a_killed_ones_leavings_are_its_own():
    for study in ("one", "two"):
        for path in (resume.kept(study, "running"), Path(f".snakemake/scripts/tmp{study}.py")):
            write_text(path, f"work/{study}/logs/x.log")
        write_text(Folders(study).work / ".a.elsewhere-1-0.draft", "")
        os.utime(Folders(study).work / ".a.elsewhere-1-0.draft", (1, 1))
    code = (
        "import sys; from pathlib import Path; from causal2vec.runtime import resume; "
        "from causal2vec.runtime.folders import Folders; "
        "resume.begin_run(Folders(sys.argv[1]), Path('none')); print('begun', flush=True); sys.stdin.read()"
    )

    def begin(study: str) -> subprocess.Popen:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([sys.executable, "-c", code, study], text=True, **pipes)

    first = begin("one")
    assert first.stdout.readline() == "begun\n"
    left = sorted(path.name for path in [*Path(".snakemake/scripts").iterdir(), *Path("work").rglob("*.draft")])
    assert left == [".a.elsewhere-1-0.draft", "tmptwo.py"], "the other study's are not touched"
    again = begin("one")
    assert "another run of the study one is at work in" in again.communicate()[1]
    second = begin("two")
    assert second.stdout.readline() == "begun\n"
    for process in (first, second):
        process.communicate()
        assert process.returncode == 0
    assert not resume.kept("one", "running").exists() and not resume.kept("two", "running").exists()


def test_two_studies_at_once_finish_and_never_see_each_others_files(tiny, packages_folder):
    """Same names of models, one with another number of layers; started together, in one folder."""
    source = {"source": "local", "path": str(tiny["encoder"]), "kind": "encoder"}
    config = {
        "title": "tiny",
        "models": {"llm": {"kind": "llm", "source": "local", "path": str(tiny["llm"])}, "encoder": source},
        "bases": ["llm"],
        "encoder": "encoder",
        "methods": {"encoder_only": {"module": METHODS["encoder_only"][0], "bases": ["encoder"]}},
        "pairs": {"sources": {"recipe_title": 300}, "validation": 60},
        "budget": {"steps": 2, "batch_size": 8, "max_length": 32},
        "evaluation": {"tasks": ["WordSim353STS"], "max_length": 32, "prompts": str(ROOT / "config/prompts.yaml")},
        "efficiency": {"lengths": [8], "texts": 4, "repeats": 2},
        "compute": {"threads": 1, "dtype": "float32", "device": "cpu"},
    }
    Path("a.yaml").write_text(yaml.safe_dump(config))
    Path("b.yaml").write_text(yaml.safe_dump({"models": {"encoder": {"keep_layers": 1}}}))
    for study in ("a", "b"):
        bring_packages(packages_folder, Path(), study)
    made = "results/{}/scores.csv"
    first = run(made.format("a"), "--configfile", "a.yaml", study="a")
    second = run(made.format("b"), "--configfile", "a.yaml", "b.yaml", study="b")
    refused = run(made.format("a"), "--configfile", "a.yaml", study="a")
    said = [process.communicate()[0] for process in (first, second, refused)]
    codes = [first.returncode, second.returncode, refused.returncode]
    assert codes[1] == 0 and sorted([codes[0], codes[2]])[0] == 0, "\n".join(text[-2000:] for text in said)
    scores = [pd.read_csv(results_of(Path(), study) / "scores.csv") for study in ("a", "b")]
    assert scores[0]["value"].tolist() != scores[1]["value"].tolist()
    models = [work_of(Path(), study) / "models" / "encoder" / "model.safetensors" for study in ("a", "b")]
    assert models[0].read_bytes() != models[1].read_bytes()
    assert len(list(Path("work/shared/prepare_model").iterdir())) == 2
    pairs = [work_of(Path(), study) / "pairs" / "train.parquet" for study in ("a", "b")]
    assert pairs[0].samefile(pairs[1]), "the same pairs are made once"
    planned = run("-n", made.format("a"), "--configfile", "a.yaml", study="a").communicate()[0]
    assert "Nothing to be done" in planned
    planned = run("-n", made.format("c"), "--configfile", "a.yaml", study="c").communicate()[0]
    assert "train_model" in planned, "another name, another study"


def test_task_data_is_a_studys_that_has_all_of_it():
    from causal2vec.evaluation.__main__ import _task_data

    assert _task_data(["WordSim353STS"]) == Path("work/shared/tasks")
    for age, (study, task) in enumerate([("a", "WordSim353STS"), ("b", "LeeNewsSTS")]):
        (Folders(study).work / "tasks" / task).mkdir(parents=True)
        write_text(report := Folders(study).work / "tasks" / "report.json", "{}")
        os.utime(report, (age, age))
    assert _task_data(["WordSim353STS"]) == Path("work/a/tasks")
    assert _task_data(["LeeNewsSTS", "STS12"]) == _task_data(["STS12"]) == Path("work/b/tasks")
    assert _task_data(["WordSim353STS", "LeeNewsSTS"]) == Path("work/shared/tasks")
