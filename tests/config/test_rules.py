"""What the workflow asks before its jobs: the study behind wildcards, the targets behind a command line, the GPUs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT

from causal2vec.config.rules import Rules
from causal2vec.errors import UserError
from causal2vec.runtime import workflow
from causal2vec.runtime.cli import in_one_sentence
from causal2vec.runtime.files import write_text
from causal2vec.runtime.folders import Folders

LLM, ENCODER = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2-2-layers"
TEXTS = {"source": "hub", "repository": "a/b", "revision": "main", "files": "*"}
FOLDERS = Folders("tiny")


@pytest.fixture
def rules(monkeypatch):
    monkeypatch.chdir(ROOT)

    def read(asked=None, **changes) -> Rules:
        settings = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
        return Rules.read({**settings, **(asked or {}), **changes}, ["config/demo.yaml"], check_files=True)

    return read


def job(method: str, base: str = LLM) -> SimpleNamespace:
    return SimpleNamespace(method=method, base=base, seed="0")


def staged(method: dict) -> dict:
    stage = {"steps": 1, "batch_size": 2, "max_length": 8}
    module = {"module": "causal2vec.modeling_causal2vec.Causal2Vec", "zero_shot": True}
    methods = {
        "a": {**module, **method},
        "encoder_only": {"module": "baselines.encoder_only.EncoderOnly", "bases": [ENCODER]},
    }
    alike = dict.fromkeys(("mntp", "alignment"), stage)
    return {"methods": methods, **alike, "simcse": {**stage, "texts": TEXTS}, "ablations": {}, "efficiency": {}}


@pytest.mark.parametrize(
    ("method", "llm", "encoder"),
    [
        ({}, f"models/{LLM}", f"models/{ENCODER}"),
        ({"mntp": True}, f"mntp/{LLM}/seed0", f"models/{ENCODER}"),
        ({"simcse": True}, f"simcse/models/{LLM}/seed0", f"models/{ENCODER}"),
        ({"mntp": True, "simcse": True}, f"simcse/mntp/{LLM}/seed0", f"models/{ENCODER}"),
        ({"alignment": True}, f"models/{LLM}", f"alignment/a/{LLM}/seed0"),
    ],
)
def test_a_run_is_built_from_what_its_pre_training_made(rules, method, llm, encoder):
    study = rules(**staged(method))
    parts = {"llm": f"<work>/{llm}", "encoder": f"<work>/{encoder}"}
    assert study.parts_of(job("a")) == {**parts, "pairs": "<work>/pairs"}
    plain = {"llm": f"<work>/models/{LLM}", "encoder": f"<work>/models/{ENCODER}"}
    assert study.parts_of(job("a-zero_shot")) == plain, "an untrained twin stays as the base is"
    assert study.parts_of(job("encoder_only", ENCODER)) == {
        "encoder": f"<work>/models/{ENCODER}",
        "pairs": "<work>/pairs",
    }


def test_what_is_downloaded_and_measured(rules):
    study = rules(**staged({"simcse": True}))
    assert study.fetched_texts("simcse") == ["<work>/fetched/texts/simcse.json"] and not study.fetched_texts("mntp")
    assert study.measured == [f"a/{LLM}/seed0", f"encoder_only/{ENCODER}/seed0"], "a twin costs the same"
    assert study.used_models == [LLM, ENCODER]
    assert study.simcse_inputs(SimpleNamespace(base=LLM)) == {"add_bos": True, "chat": None}
    assert not study.from_hub(LLM) and "keep_layers" not in study.source_of(LLM, "keep_layers")


def test_a_job_asks_for_what_it_needs(rules, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    study = rules(**staged({}), distributed={"nodes": 2, "processes": 4}, compute={"threads": 3})
    assert study.memory(None, 2) == 2 * study.config.resources.memory_mb
    assert study.runtime(None, 3) == 3 * study.config.resources.runtime_minutes
    asked = [study.gpus, study.training_gpus(job("a")), study.training_threads(job("a"))]
    assert asked == [1, 8, 12] and study.on_several_nodes(job("a"), "srun") == "srun"
    twin = job("a-zero_shot")
    assert (study.training_gpus(twin), study.training_threads(twin), study.on_several_nodes(twin, 0)) == (0, 1, None)
    checked = rules({"validate": "true"}, **staged({}), compute={"threads": 3, "device": "cpu"})
    assert (checked.gpus, checked.training_threads(twin)) == (0, 3) and "pairs" in checked.parts_of(twin)


@pytest.mark.parametrize(("tasks", "shards", "count"), [(["LeeNewsSTS"], 4, 1), (["STS12"], 4, 4)])
def test_no_more_shards_than_tasks(rules, tasks, shards, count):
    evaluation = {"tasks": tasks, "max_length": 128, "shards": shards}
    study = rules(**staged({}), evaluation=evaluation)
    assert len(study.shards) == count and study.downloads_tasks is not study.packages_evaluated


def asked(*words: str):
    return workflow.command_line("--cores", "1", *words)


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        (["paper_tables"], ["paper_tables"]),
        (["results/tiny/tables/", "make_plots"], ["make_plots", "results/tiny/tables"]),
        (["paper_tables", "train_model"], []),
        (["results/other/tables"], []),
        ([], []),
    ],
)
def test_targets_that_come_from_score_files(words, targets):
    assert workflow.reported(asked(*words), FOLDERS) == targets


def test_score_files_that_were_brought_here_are_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"results/tiny/scores.csv is missing, .*run 'snakemake'"):
        workflow.from_files(asked("paper_tables"), FOLDERS)
    for name in workflow.SCORE_FILES:
        write_text(FOLDERS.results / name, "")
    assert workflow.from_files(asked("paper_tables"), FOLDERS) and not workflow.from_files(asked(), FOLDERS)
    (FOLDERS.work / "evaluation").mkdir(parents=True)
    assert not workflow.from_files(asked("paper_tables"), FOLDERS), "they were made here"


def test_tables_do_not_cost_a_training_unasked():
    rules = ["train_model", "make_tables", "train_model", "evaluate_model"]
    with pytest.raises(UserError, match="2 of train_model, 1 of evaluate_model would run first; run 'snakemake'"):
        workflow.refuse_training(rules, asked("paper_tables"), FOLDERS)
    workflow.refuse_training(rules, asked(), FOLDERS)
    workflow.refuse_training(["make_tables"], asked("paper_tables"), FOLDERS)


@pytest.mark.parametrize(
    ("nodes", "given", "limit"), [(None, {}, 2), (4, {}, None), (None, {"gpu": 1}, 1)], ids=["here", "cluster", "asked"]
)
def test_as_many_gpu_jobs_as_gpus(tmp_path, monkeypatch, nodes, given, limit):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("sys.argv", ["snakemake", "-n"])
    monkeypatch.setattr(workflow.gc, "set_threshold", lambda *numbers: None)
    resources = dict(given)
    snakemake = SimpleNamespace(
        is_main_process=True, global_resources=resources, register_resource=resources.__setitem__,
        resource_settings=SimpleNamespace(nodes=nodes),
    )  # fmt: skip
    assert not workflow.begin(snakemake, FOLDERS)
    assert resources.get("gpu") == limit and not Path("work").exists(), "a dry run leaves no trace"


def test_faults_of_the_input_end_in_one_sentence(capsys, monkeypatch):
    monkeypatch.delenv("CAUSAL2VEC_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as caught, in_one_sentence():
        raise UserError("key: wrong; correct it")
    assert caught.value.code == 2 and capsys.readouterr().err == "error: key: wrong; correct it\n"
    with pytest.raises(ZeroDivisionError), in_one_sentence():
        raise ZeroDivisionError
