"""Shards of about equal cost, from what mteb says of its tasks without downloading them."""

from __future__ import annotations

import itertools

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from causal2vec.errors import UserError
from causal2vec.evaluation.costs import PACKAGED, TaskCost, shard_of, task_costs, weight
from causal2vec.evaluation.tasks import PACKAGED_TASKS


@pytest.fixture(scope="module")
def english() -> dict[str, TaskCost]:
    return task_costs(["MTEB(eng, v1)"])


@pytest.mark.parametrize(
    ("task", "texts", "characters"),
    [
        ("SciFact", 5183 + 300, 7_798_555),  # documents and queries
        ("STSBenchmark", 1256 + 1337, 139_029),  # both sides, each distinct sentence once
        ("Banking77Classification", 3080 + 77 * 8 * 10, 501_108),  # the test set, and what ten classifiers learn from
        ("TwentyNewsgroupsClustering", 5242, 167_945),  # distinct titles, not 59,545 places in ten sets
        ("MSMARCO", 8_841_661 + 6_980, 2_969_236_877),  # its split is dev
        ("STS17", 500, 21_669),  # English alone, of eleven language pairs
        ("SummEval", 100 + 1100 + 1548, 989_700),
    ],
)
def test_official_tasks_are_counted_as_they_are_embedded(task, texts, characters, english):
    assert english[task].texts == texts
    assert english[task].characters == pytest.approx(characters, rel=0.02)


def test_benchmark_counts_its_own_languages_and_aggregates_count_all_parts(english):
    assert len(english) == 56
    assert english["MassiveIntentClassification"].texts < 10_000, "one language of 51"
    assert english["CQADupstackRetrieval"].texts > 400_000, "twelve parts"


def test_shard_of_a_benchmark_keeps_the_languages_that_it_selects(tmp_path):
    """By its own name the task would be evaluated in all of its 51 languages."""
    from causal2vec.evaluation.tasks import get_tasks

    [task] = get_tasks(["MTEB(eng, v1)"], tmp_path, ["MassiveIntentClassification"])
    assert task.hf_subsets == ["en"]


def test_one_task_of_a_benchmark_is_the_benchmarks_own(tmp_path):
    from causal2vec.evaluation.tasks import get_tasks

    [ours, whole] = get_tasks(["MTEB(eng, v1)/STS17", "STS16"], tmp_path)
    assert ours.metadata.name == "STS17" and ours.hf_subsets == ["en-en"] and whole.metadata.name == "STS16"
    with pytest.raises(UserError, match=r"the benchmark 'MTEB\(eng, v1\)' has no task 'STS7' \(did you mean 'STS17'"):
        get_tasks(["MTEB(eng, v1)/STS7"], tmp_path)


def test_benchmarks_can_be_named_on_the_command_line():
    from causal2vec.evaluation.__main__ import names_in

    assert names_in("STS12, MTEB(eng, v1)/STS17,MTEB(eng, v2)") == ["STS12", "MTEB(eng, v1)/STS17", "MTEB(eng, v2)"]


def test_the_subset_is_in_english_alone(tmp_path):
    from causal2vec.evaluation.tasks import get_tasks

    names = yaml.safe_load((ROOT / "config" / "paper_subset.yaml").read_text())["evaluation"]["tasks"]
    tasks = get_tasks(names, tmp_path)
    assert len(tasks) == 15
    assert {task.metadata.name: task.hf_subsets for task in tasks}["MassiveIntentClassification"] == ["en"]


def test_sampled_clustering_counts_only_the_sample():
    costs = task_costs(["BiorxivClusteringP2P.v2"])
    assert costs["BiorxivClusteringP2P.v2"].texts == pytest.approx(0.04 * 53_787, rel=0.01)


def test_packaged_tasks_are_as_large_as_the_table_says(task_data, tmp_path):
    assert task_costs(list(PACKAGED_TASKS), task_data) == PACKAGED
    assert task_costs(["LeeNewsSTS"], tmp_path) == task_costs(["LeeNewsSTS"]) == {"LeeNewsSTS": PACKAGED["LeeNewsSTS"]}


def test_task_without_statistics_costs_the_median():
    class Task:
        is_aggregate = False

        def __init__(self, name, stats):
            self.eval_splits, self.hf_subsets = ["test"], ["default"]
            self.metadata = type("M", (), {"name": name, "type": "STS", "descriptive_stats": stats})

    def stats(count):
        return {"test": {"text1_statistics": {"unique_texts": count, "average_text_length": 2.0}}}

    tasks = [Task("a", stats(10)), Task("b", None), Task("c", stats(30)), Task("d", stats(20))]
    assert task_costs([], tasks=tasks)["b"] == TaskCost(20, 40)


def test_unknown_task_is_named():
    with pytest.raises(UserError, match="STSBenchmrk"):
        task_costs(["STSBenchmrk"])


def test_long_texts_cost_no_more_than_is_read_of_them():
    assert weight(TaskCost(10, 10 * 42_000), 512) == weight(TaskCost(10, 10 * 84_000), 512)
    assert weight(TaskCost(10, 10 * 420), 512) < weight(TaskCost(10, 10 * 840), 512)


def test_english_benchmark_is_balanced_up_to_its_largest_task(english):
    loads = [sum(weight(english[n], 512) for n in shard_of(list(english), s, 8, english)) for s in range(8)]
    largest = max(weight(cost, 512) for cost in english.values())
    assert max(loads) == pytest.approx(largest), "MSMARCO alone is the longest shard"
    assert max(loads) / (sum(loads) / 8) < 1.6


@given(
    costs=st.lists(st.integers(0, 10**6), min_size=1, max_size=30),
    shards=st.integers(1, 12),
)
def test_every_task_is_in_one_shard_in_its_place(costs, shards):
    names = [f"t{i}" for i in range(len(costs))]
    known = {name: TaskCost(cost, 50 * cost) for name, cost in zip(names, costs, strict=True)}
    cut = [shard_of(names, shard, shards, known) for shard in range(shards)]
    assert sorted(itertools.chain.from_iterable(cut)) == sorted(names)
    assert all(part == [name for name in names if name in part] for part in cut)
    assert cut == [shard_of(names, shard, shards, known) for shard in range(shards)]
    assert sum(map(bool, cut)) == min(shards, len(names)), "no shard is empty without need"


def test_one_shard_has_all_tasks_in_order():
    assert shard_of(["b", "a", "c"], 0, 1) == ["b", "a", "c"]
