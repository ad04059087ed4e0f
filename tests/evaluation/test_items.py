"""Item-level results: whatever mteb averages, the same score comes out of the items again."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from causal2vec.errors import UserError
from causal2vec.evaluation.items import COLUMNS, TOLERANCE, Items, task_items_table
from causal2vec.evaluation.run import Evaluating, evaluate_model
from causal2vec.evaluation.tasks import PACKAGED_TASKS
from causal2vec.reporting.read.scores import collect_items, collect_training

METRICS = {
    "Retrieval": "mean", "Reranking": "mean", "Classification": "mean", "STS": "spearman",
    "PairClassification": "max_ap", "Clustering": "v_measure",
}  # fmt: skip


class Trigrams:
    """A model that is cheap and no nonsense: hashed character trigrams."""

    prompts: dict[str, str] = {}
    max_seq_length = 8

    def encode(self, texts, **kwargs) -> np.ndarray:
        vectors = np.full((len(texts), 64), 0.01, dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for start in range(max(1, len(text) - 2)):
                row[zlib.crc32(text[start : start + 3].lower().encode()) % 64] += 1
        return vectors

    def get_embedding_dimension(self) -> int:
        return 64


def evaluated(folder: Path, data: Path, seed: int, tasks=PACKAGED_TASKS) -> Path:
    what = Evaluating(list(tasks), data, folder / "out", folder / "state", None, 64, seed=seed, progress=False)
    evaluate_model(Trigrams(), "test/trigrams", "0", what, {"method": "trigrams", "base": "none", "seed": seed})
    return folder / "out"


@pytest.fixture(scope="module")
def seeds(task_data, tmp_path_factory) -> list[Path]:
    """All packaged tasks, evaluated with two seeds."""
    return [evaluated(tmp_path_factory.mktemp(f"seed{seed}"), task_data, seed) for seed in (0, 1)]


def main_score(job: Path, task: str) -> float:
    [path] = job.glob(f"results/*/*/{task}.json")
    return json.loads(path.read_text())["scores"]["test"][0]["main_score"]


def score_of(frame: pd.DataFrame) -> float:
    items = Items(frame["metric"].iloc[0])
    for name in ("draw", "item", "prediction", "target"):
        setattr(items, name, frame[name].tolist())
    return items.score()


@pytest.mark.parametrize("task", PACKAGED_TASKS)
def test_the_score_comes_out_of_the_items_again(task, seeds):
    for job in seeds:
        frame = pd.read_parquet(job / "items" / f"{task}.parquet")
        assert list(frame.columns) == list(COLUMNS)
        assert score_of(frame) == pytest.approx(main_score(job, task), abs=TOLERANCE)
        about = json.loads((job / "record.json").read_text())["tasks"][task]
        assert set(frame["metric"]) == {METRICS[about["task_type"]]}
        if about["task_type"] != "Clustering":
            assert frame["item"].nunique() == sum(about["items"].values())


def test_a_seed_changes_what_is_sampled_and_nothing_else(seeds):
    scores = {task: [main_score(job, task) for job in seeds] for task in PACKAGED_TASKS}
    sampled = {"TweetSentimentVader", "WikiTopicClassification", "ICD10ChapterClassification"}
    sampled |= {"WikiTopicClustering", "AWSServiceClustering"}
    assert {task for task, (first, second) in scores.items() if first != second} == sampled
    for task in PACKAGED_TASKS:
        first, second = (set(pd.read_parquet(job / "items" / f"{task}.parquet")["item"]) for job in seeds)
        assert first == second or task.endswith("Clustering"), "all seeds have the same test items"


def test_no_predictions_are_left_behind(seeds):
    assert not [path for job in seeds for path in job.parent.rglob("*predictions*")]


def test_gathered_items_name_their_run(seeds, tmp_path):
    collect_items([seeds[1], seeds[0]], tmp_path / "items")
    assert {path.stem for path in (tmp_path / "items").iterdir()} == set(PACKAGED_TASKS)
    frame = pd.read_parquet(tmp_path / "items" / "WordSim353STS.parquet")
    assert list(frame.columns) == ["method", "base", "seed", *COLUMNS]
    assert frame.groupby(["method", "base", "seed"]).size().to_dict() == {
        ("trigrams", "none", seed): 353 for seed in (0, 1)
    }
    collect_items(seeds, tmp_path / "again")
    for path in (tmp_path / "items").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), "the order of jobs is irrelevant"


def test_items_that_cannot_be_read_are_named(seeds, tmp_path):
    job = tmp_path / "job"
    (job / "items").mkdir(parents=True)
    (job / "record.json").write_text((seeds[0] / "record.json").read_text())
    (job / "items" / "T.parquet").write_text("nonsense")
    with pytest.raises(UserError, match=r"T.parquet cannot be read .* evaluate it again"):
        collect_items([job], tmp_path / "out")
    with pytest.raises(UserError, match=r"training.json does not exist"):
        collect_training([tmp_path / "no-model"], tmp_path / "training.json")


def test_older_clustering_tasks_and_sets_of_one_label():
    from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
    from sklearn.metrics import v_measure_score

    class Legacy(AbsTaskClusteringLegacy):
        metadata = SimpleNamespace(name="Legacy", main_score="v_measure")
        eval_splits, hf_subsets = ["test"], ["default"]

        def __init__(self):
            labels = [["a", "b", "a"], ["c", "c"], ["x", "y", "z"]]
            self.dataset = {
                "test": Dataset.from_dict({"sentences": [["s"] * len(x) for x in labels], "labels": labels})
            }

    values = [v_measure_score(["a", "b", "a"], [0, 0, 1]), 1.0, v_measure_score(["x", "y", "z"], [1, 1, 0])]
    row = {"hf_subset": "default", "main_score": float(np.mean(values)), "v_measures": values}
    table = task_items_table(Legacy(), {"test": [row]}, {"default": {"test": [[0, 0, 1], [1, 1, 0]]}}, random.Random(0))
    assert set(table["metric"].to_pylist()) == {"v_measure"}
    assert score_of(table.to_pandas()) == pytest.approx(row["main_score"])


def test_subqueries_are_merged_as_mteb_merges_them():
    from mteb._evaluators.retrieval_metrics import max_over_subqueries

    from causal2vec.evaluation.items import _queries

    chance = random.Random(0)
    relevant = {f"{q}_{s}": {f"d{q}": 1, f"d{q + 1}": 1} for q in range(6) for s in range(3)}
    predicted = {query: {f"d{d}": chance.random() for d in range(8)} for query in relevant}
    depths = (1, 3, 5, 10, 20, 100, 1000)
    expected = max_over_subqueries(relevant, predicted, depths)["max_over_subqueries_map_at_10"]
    task = SimpleNamespace(
        metadata=SimpleNamespace(main_score="max_over_subqueries_map_at_10"), k_values=depths, skip_first_result=False
    )
    items = _queries(task, {"relevant_docs": relevant}, predicted)
    assert len(items.item) == 6
    assert items.score() == pytest.approx(expected, abs=TOLERANCE)


def test_items_with_another_score_than_mtebs_are_not_believed():
    from mteb.abstasks import AbsTaskSTS

    class Pairs(AbsTaskSTS):
        metadata = SimpleNamespace(name="Pairs", main_score="cosine_spearman")
        eval_splits, hf_subsets = ["test"], ["default"]

        def __init__(self):
            self.dataset = {"test": Dataset.from_dict({"sentence1": list("abc"), "score": [1.0, 2.0, 3.0]})}

    def table(score: float):
        rows = {"test": [{"hf_subset": "default", "main_score": score}]}
        predicted = {"default": {"test": {"cosine_scores": [0.1, 0.3, 0.2]}}}
        return task_items_table(Pairs(), rows, predicted, random.Random(0))

    assert len(table(0.5)) == 3
    assert table(0.6) is None


def test_where_items_are_not_to_be_had_experiments_are():
    task = SimpleNamespace(metadata=SimpleNamespace(name="T", main_score="f1"), eval_splits=["test"], hf_subsets=["d"])
    task.dataset = {"d": {"test": Dataset.from_dict({"text": ["a"]})}}
    row = {"hf_subset": "d", "main_score": 0.5, "scores_per_experiment": [{"f1": 0.4}, {"f1": 0.6}]}
    table = task_items_table(task, {"test": [row]}, {}, random.Random(0))
    assert table["prediction"].to_pylist() == [0.4, 0.6]
