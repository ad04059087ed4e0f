"""The bench of evaluations and of the workflow: what it counts is what was recorded."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from causal2vec.bench.planning import METHODS, SEEDS, SHARDS, compare_planning, large_study
from causal2vec.bench.workflow import describe, share_of_run, time_imports
from causal2vec.errors import UserError


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run of 100 seconds on two cores.

    10 of preparation, 40 of training with 30 in its loop beside pre-training with 35 in its, 45 of evaluation with 40
    in the model, and 5 in which both cores measure.
    """
    ends = {
        "prepare_pairs": (10, 10), "pretrain_mntp/b/seed0": (50, 40), "train_model/a/b/seed0": (50, 40),
        "evaluate_model/a/b/seed0/shard0": (95, 45), "measure_efficiency": (100, 5),
    }  # fmt: skip
    for name, (end, seconds) in ends.items():
        path = tmp_path / "work" / "benchmarks" / f"{name}.jsonl"
        write(path, {"s": seconds})
        os.utime(path, (1e9 + end,) * 2)
    write(tmp_path / "results" / "training.json", {})
    write(tmp_path / "work" / "hardware.json", {"threads": 1, "cores": 2})
    write(tmp_path / "work" / "mntp" / "b" / "seed0" / "mntp.json", {"seconds": 35.0})
    (tmp_path / "results" / "efficiency.csv").write_text("method,threads\na,2\n")
    write(tmp_path / "results" / "models" / "a" / "b" / "seed0" / "training.json", {"seconds": 30})
    tasks = {"T": {"encoding_seconds": 25.0}, "U": {"encoding_seconds": 15.0}}
    write(tmp_path / "work" / "evaluation" / "a" / "b" / "seed0" / "shard0" / "record.json", {"tasks": tasks})
    return tmp_path


def test_share_counts_what_the_jobs_recorded(finished):
    share = share_of_run(finished / "results", finished / "work")
    assert share.wall == pytest.approx(100) and share.jobs == 40 + 40 + 45 + 2 * 5
    assert (share.training, share.pretraining, share.encoding, share.efficiency) == (30, 35, 40, 10)
    assert share.share == pytest.approx((30 + 35 + 40 + 10) / 200)
    assert share.others == 10 and share.idle == pytest.approx(200 - 135 - 10)
    assert (share.processes, share.threads) == (4, 5)
    assert describe(share, 2.0).endswith(
        f"4 jobs import libraries, 2.0 s each as measured here: were that free, it would be {115 / 190:.3f}"
    )


def test_a_job_that_has_all_cores_takes_the_wall_time(finished):
    write(finished / "work" / "hardware.json", {"threads": 2, "cores": 2})
    (finished / "results" / "efficiency.csv").write_text("method\na\n")  # as before the column
    share = share_of_run(finished / "results", finished / "work")
    assert share.share == pytest.approx((30 + 35 + 40 + 5) / 100)


def test_share_of_several_runs_or_of_none_is_refused(finished, tmp_path):
    with pytest.raises(UserError, match="hold no finished run"):
        share_of_run(finished / "work", finished / "results")
    os.utime(finished / "work" / "benchmarks" / "prepare_pairs.jsonl", (5e8, 5e8))
    with pytest.raises(UserError, match="several runs"):
        share_of_run(finished / "results", finished / "work")


def test_planned_study_has_the_stated_size(tmp_path):
    import yaml

    from causal2vec.config import load_config
    from causal2vec.config.runs import runs_of

    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(large_study(), sort_keys=False))
    config = load_config(yaml.safe_load(path.read_text()))
    assert len(runs_of(config)) == METHODS * SEEDS and config.evaluation.shards == SHARDS


def test_a_plan_is_timed_beside_snakemakes_own():
    row = compare_planning(1)
    assert row.ours_median > row.rival_median > 0.5 and row.limit > row.ratio > 0
    ours, bare = (int(count.replace(",", "")) for count in re.findall(r"[\d,]*\d{3}\b", row.note)[:2])
    assert bare == METHODS * SEEDS * (SHARDS + 1) + 2 and bare < ours < 1.05 * bare


def test_both_sides_of_the_evaluation_give_the_same_scores(tiny, task_data):
    """The same model, read by mteb and by this suite, here with random weights, whose ties are the hardest case."""
    from causal2vec.bench.evaluation import compare_evaluation

    names = ["WordSim353STS", "ICD10ChapterClassification", "AWSOperationReranking"]
    cold, warm = compare_evaluation(tiny["llm"], task_data, repetitions=1, threads=1, names=names)
    assert "part by at most 0.000 points" in cold.note
    assert cold.ratio > 0 and warm.ours_median > cold.ours_median > 0


def test_libraries_take_some_seconds_to_import():
    assert 0.5 < time_imports(1)[0] < 120
