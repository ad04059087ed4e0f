"""A model of this suite is right wherever it is opened, and evaluated by hand it gets its study's scores."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TEXTS
from faulty_server import serving
from sentence_transformers import SentenceTransformer
from test_training import run_of

from causal2vec.config.prompts import Prompts, load_examples, load_prompts
from causal2vec.errors import UserError
from causal2vec.evaluation.__main__ import main
from causal2vec.evaluation.run import Evaluating, evaluate_run
from causal2vec.models.trust import revision_of
from causal2vec.training.contrastive import make_model
from causal2vec.training.job import Job

TASKS = ["WordSim353STS", "HPODefinitionRetrieval", "TweetSentimentVader"]
PROMPTS = load_prompts(ROOT / "config" / "prompts.yaml")
ICL = PROMPTS.with_examples(load_examples(ROOT / "config" / "examples.yaml"))


def made(folder: Path, tiny, method: str, prompts: Prompts = PROMPTS, seed: int = 1, dtype: str = "bfloat16") -> Path:
    run = run_of(method, trained=False, seed=seed).model_copy(update={"max_length": 512})
    where = {"pairs": folder, "output": folder / "model", "state": folder / "state"}
    make_model(Job(run=run, folders=tiny, prompts=prompts, dtype=dtype, **where))
    return folder / "model"


def scores(folder: Path) -> dict[str, float]:
    files = {path.stem: path for path in folder.glob("results/*/*/*.json") if path.stem != "model_meta"}
    return {name: json.loads(files[name].read_text())["scores"]["test"][0]["main_score"] for name in TASKS}


def by_hand(model: Path, data: Path, output: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "causal2vec.evaluation", "--model", model, "--tasks", ",".join(TASKS)]
    command += ["--output", output, "--data", data, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("method", ["causal2vec", "in_context"])
def test_command_gets_the_scores_of_the_study(method, tiny, task_data, tmp_path):
    """To the last digit, with its prompts and examples, number format and seed; and says where they are."""
    prompts = ICL if method == "in_context" else PROMPTS
    model = made(tmp_path, tiny, method, prompts)
    run = run_of(method, trained=False, seed=1).model_copy(update={"max_length": 512})
    what = Evaluating(TASKS, task_data, tmp_path / "dag", tmp_path / "state", prompts)
    evaluate_run(run, model, what, (0, 1), device="cpu", dtype="bfloat16")
    done = by_hand(model, task_data, tmp_path / "hand")
    assert done.returncode == 0, done.stderr[-2000:]
    assert scores(tmp_path / "hand") == scores(tmp_path / "dag")
    record = json.loads((tmp_path / "hand" / "record.json").read_text())
    assert record["model"] == f"local/{method}__tiny__seed1" and record["revision"] == revision_of(model)
    assert (record["method"], record["base"], record["seed"], record["dtype"]) == (method, "tiny", 1, "bfloat16")
    *rows, last = done.stdout.strip().splitlines()
    assert {row.split()[0]: float(row.split()[-1]) for row in rows} == {
        name: pytest.approx(100 * score, abs=0.006) for name, score in scores(tmp_path / "hand").items()
    }
    assert str(tmp_path / "hand") in last
    if method == "causal2vec":  # told otherwise
        other = by_hand(model, task_data, tmp_path / "own", "--prompts", "model", "--dtype", "float32")
        assert other.returncode == 0, other.stderr[-2000:]
        assert scores(tmp_path / "own") != scores(tmp_path / "dag")


@pytest.mark.timeout(400)
def test_a_model_on_the_hub_gets_the_scores_of_its_study_too(tiny, task_data, tmp_path, monkeypatch):
    """Its code is this suite's own, so that nobody need trust it."""
    model = made(tmp_path, tiny, "last_token")
    shutil.copytree(model, tmp_path / "root" / "models" / "org" / "mine")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(tmp_path / "root") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        there = by_hand("org/mine", task_data, tmp_path / "there")
        assert there.returncode == 0, there.stderr[-2000:]
        (tmp_path / "root/models/org/mine/manifest.json").unlink()
        shutil.rmtree(tmp_path / "cache")
        lost = by_hand("org/mine", task_data, tmp_path / "lost", "--trust-remote-code")
    here = by_hand(model, task_data, tmp_path / "here")
    assert here.returncode == 0, here.stderr[-2000:]
    assert scores(tmp_path / "there") == scores(tmp_path / "here")
    record = json.loads((tmp_path / "there" / "record.json").read_text())
    assert (record["model"], record["revision"], record["seed"]) == ("org/mine", revision_of(model), 1)
    assert lost.returncode == 2 and "org/mine is a model of this suite without word on how" in lost.stderr


@pytest.mark.parametrize("method", ["causal2vec", "last_token", "echo", "encoder_only", "in_context"])
def test_saved_model_knows_its_prompts(method, tiny, tmp_path):
    """In a process of its own it needs nothing of this project; here the words are compared."""
    prompts = ICL if method == "in_context" else PROMPTS
    folder = made(tmp_path, tiny, method, prompts)
    model = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
    query = prompts.for_task("", "Retrieval")
    assert model.prompts["query"] == query and model.prompts["document"] == ""
    assert PROMPTS.types["Retrieval"] in query
    assert np.array_equal(model.encode_query(TEXTS), model.encode(TEXTS, prompt=query))
    assert np.array_equal(model.encode_document(TEXTS), model.encode(TEXTS, prompt=""))
    assert np.array_equal(model.encode(TEXTS), model.encode(TEXTS, prompt="")), "without a prompt a text is bare"
    if method != "encoder_only":  # which does not see instructions
        assert not np.allclose(model.encode_query(TEXTS), model.encode_document(TEXTS))
    if method == "causal2vec":
        filled = model.prompts["template"].format(instruction=PROMPTS.types["STS"])
        assert filled == model.prompts["STS"] == prompts.for_task("", "STS")


def test_prompts_of_a_model_do_not_change_its_revision(tiny, tmp_path):
    other = PROMPTS.model_copy(update={"template": "{instruction}: "})
    one, two = (made(tmp_path / name, tiny, "last_token", p) for name, p in (("a", PROMPTS), ("b", other)))
    assert revision_of(one) == revision_of(two)


@pytest.mark.parametrize(
    "words", [["--prompts", "nowhere.yaml"], ["--prompts", "model", "--examples", "config/examples.yaml"]]
)
def test_prompts_that_cannot_be_had_are_named(words, tiny, task_data, tmp_path, monkeypatch):
    model = made(tmp_path, tiny, "last_token")
    line = ["evaluation", "--model", str(model), "--tasks", "WordSim353STS", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*line, "--data", str(task_data), *words])
    with pytest.raises(UserError, match=r"--prompts|nowhere\.yaml"):
        main()


def test_manifest_that_says_nonsense_of_its_study_is_named(tiny, task_data, tmp_path, monkeypatch):
    path = made(tmp_path, tiny, "last_token") / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "study": {"dtype": 3}}))
    line = ["evaluation", "--model", str(path.parent), "--tasks", "WordSim353STS", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*line, "--data", str(task_data)])
    with pytest.raises(UserError, match=r"manifest\.json: 'study' is not what the suite writes"):
        main()
