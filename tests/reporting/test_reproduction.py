"""Two runs side by side: what differed, how far the scores are apart, and whether the one explains the other."""

import shutil

import pandas as pd
import pytest
from verify_data import edit_json, finished_results

from causal2vec.errors import UserError
from causal2vec.reporting.__main__ import main
from causal2vec.reporting.check.reproduction import OTHER_FORMAT, OTHER_WEIGHTS, SAME_WEIGHTS, compare_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_results(tmp_path_factory.mktemp("run"))


@pytest.fixture
def other(run, tmp_path):
    return shutil.copytree(run, tmp_path / "other")


def move(results, points, task="NFCorpus", items=1000):
    """Another score of one method, on a task of many items."""
    frame = pd.read_csv(results / "scores.csv")
    row = frame.index[(frame["task"] == task) & (frame["metric"] == "main_score")][0]
    frame.loc[row, "value"] += points / 100
    frame["items"] = items
    frame.to_csv(results / "scores.csv", index=False)


def set_manifest(results, **values):
    edit_json(results / "manifest.json", lambda manifest: manifest.update(values))


def test_equal_runs_are_equal_to_the_last_bit(run, other):
    set_manifest(other, created="2026-02-28", seconds={})
    found = compare_runs(run, other)
    assert found.reproduced and found.equal and found.causes == []
    assert found.lines()[0] == "differs, which changes no score: created: 2026-01-31 / 2026-02-28"
    assert found.lines()[-1] == "reproduced: all scores of 4 tasks are equal to the last bit"


def test_other_scores_without_a_cause_are_not_reproducible(run, other):
    move(run_copy := other, 1e-9)
    edit_json(other / "manifest.json", lambda m: m["config"].update(title="Another title", reporting={"tables": "x"}))
    found = compare_runs(run, run_copy)
    assert not found.reproduced
    assert found.lines()[-1] == (
        "NOT reproducible: nothing that decides the scores differs between the two runs, but they do"
    )
    assert any(line.startswith("differs, which changes no score: config.title: ") for line in found.lines())


def test_other_weights_without_a_cause_are_not_reproducible(run, other):
    edit_json(other / "manifest.json", lambda m: m["models"].update({"echo/base-a/seed0": "f" * 40}))
    found = compare_runs(run, other)
    assert found.lines()[-1].startswith("NOT reproducible: nothing that decides the weights differs")
    assert "weights differ: echo/base-a/seed0" in found.lines()


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ({"versions": {"torch": "3.0"}}, "differs: versions.torch: 2.6.0 / 3.0"),
        ({"lock_sha256": "ab"}, "differs: lock_sha256: none / ab"),
        ({"pairs": {"train.parquet": "1"}}, f"differs: pairs.train.parquet: {'0' * 64} / 1"),
        (
            {"hardware": {"device_name": "A processor", "dtype": "float32"}},
            "differs: hardware.device_name: none / A processor",
        ),
        ({"git": {"commit": "1" * 40}}, f"differs: commit: {'0' * 40} / {'1' * 40}"),
        ({"git": {"commit": "0" * 40, "dirty": True}}, "differs: code: as committed / changes that are not committed"),
    ],
)
def test_a_small_difference_that_has_a_cause_is_within_tolerance(run, other, fact, said):
    move(other, 0.9 * SAME_WEIGHTS)
    set_manifest(other, **fact)
    frame = pd.read_csv(run / "scores.csv").assign(items=1000)
    here = shutil.copytree(run, other.parent / "here")
    frame.to_csv(here / "scores.csv", index=False)
    found = compare_runs(here, other)
    assert found.reproduced and not found.equal
    assert said in found.lines()
    assert (
        "NFCorpus: at most 0.180 points (causal2vec on base-a, seed 0), 0.090 in the mean; within 0.2" in found.lines()
    )
    assert found.lines()[-1] == "reproduced: scores of 4 tasks are at most 0.180 points apart, within tolerance"


def test_beyond_tolerance_the_task_is_named(run, other):
    here = shutil.copytree(run, other.parent / "here")
    move(here, 0)
    move(other, 1.1 * SAME_WEIGHTS)
    set_manifest(other, python="3.12.0")
    found = compare_runs(here, other)
    assert not found.reproduced
    assert found.lines()[-1] == "NOT reproduced: at most 0.220 points apart, beyond tolerance on NFCorpus"
    edit_json(other / "manifest.json", lambda m: m["models"].update({"causal2vec/base-a/seed0": "f" * 40}))
    assert compare_runs(here, other).reproduced, "models that were trained anew may be farther apart"
    move(other, OTHER_WEIGHTS)
    assert not compare_runs(here, other).reproduced
    set_manifest(other, dtype="bfloat16")
    found = compare_runs(here, other)
    assert found.reproduced and "differs: dtype: float32 / bfloat16" in found.lines()
    move(other, OTHER_FORMAT)
    assert not compare_runs(here, other).reproduced


def test_one_item_of_a_few_may_always_tip_over(run, other):
    move(other, 8, items=12)
    set_manifest(other, dtype="bfloat16")
    assert compare_runs(run, other).reproduced
    move(other, 0.5, items=12)
    assert not compare_runs(run, other).reproduced


def test_batches_are_read_from_the_records(run, tmp_path):
    other = finished_results(tmp_path / "batches", batch_tokens=2048)
    found = compare_runs(run, other)
    assert ("evaluation.batch_tokens", "1024", "2048") in found.causes and found.reproduced


def test_scores_of_one_run_only_are_named(run, other):
    frame = pd.read_csv(other / "scores.csv")
    frame[frame["method"] != "echo"].to_csv(other / "scores.csv", index=False)
    found = compare_runs(run, other)
    assert f"only in {run}: NFCorpus of echo on base-a, seed 0 and 3 more" in found.lines() and not found.reproduced


def test_the_command_line_prints_and_exits(run, other, capsys):
    main(["compare-runs", "--results", str(run), "--other", str(other)])
    assert capsys.readouterr().out.splitlines()[-1].startswith("reproduced: ")
    move(other, 1)
    with pytest.raises(SystemExit) as ended:
        main(["compare-runs", "--results", str(run), "--other", str(other)])
    assert ended.value.code == 1 and "NOT reproducible" in capsys.readouterr().out
    (other / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="is no manifest of a run"):
        compare_runs(run, other)
