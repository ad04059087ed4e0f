"""The statistics of whole studies of known truth: winners, ties, gaps, bad input, the same bytes."""

import numpy as np
import pandas as pd
import pytest
from synthetic import DRAWS, write_study

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.evidence import ALL, read_evidence
from causal2vec.reporting.analysis.statistics import compute_statistics
from causal2vec.reporting.analysis.statistics.items import read_items
from causal2vec.reporting.analysis.study import load_study

FILES = ["estimates.csv", "differences.csv", "standings.csv", "notes.txt"]
ORDER = ["causal2vec", "last_token", "echo", "bidirectional", "encoder_only"]
C2V, LAST, ECHO, BIDI = [(name, "base-a") for name in ORDER[:4]]
CONTROL = ("encoder_only", "mini-encoder")


def compute(folder, output=None, bases=("base-a",), **settings):
    settings = {"order": ORDER, "resamples": 400, **settings}
    output = output or folder / "statistics"
    return compute_statistics(folder, output, bases=list(bases), **settings)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two seeds, seven tasks of all metrics, twins, variants, a control; echo lacks one task, one has no items."""
    folder = write_study(
        tmp_path_factory.mktemp("study"),
        seeds=(0, 1),
        variants=["eos"],
        missing=[("echo", "base-a", "BIOSSES")],
        without_items=["SummEval"],
    )
    found = compute(folder, benchmarks={"Mine": ["BIOSSES", "ArguAna"], "Other": ["ArguAna", "Absent"]})
    return folder, found


def test_written_is_what_is_read(study):
    folder, found = study
    read = read_evidence(folder / "statistics")
    assert read.estimates.keys() == found.estimates.keys()
    assert read.differences.keys() == found.differences.keys()
    assert read.standings.keys() == found.standings.keys()
    key = (C2V, LAST, ("task", "ArguAna"))
    assert read.differences[key].low == pytest.approx(found.differences[key].low, rel=1e-9)
    assert load_study(folder).evidence.notes == found.notes


def test_estimates_are_the_scores_inside_their_intervals(study):
    folder, found = study
    summary = load_study(folder).summary
    for (entry, (scope, name)), estimate in found.estimates.items():
        if scope == "task":
            assert estimate.score == pytest.approx(summary.values[entry, name], abs=1e-9)
        if not np.isnan(estimate.low):
            assert estimate.low < estimate.score < estimate.high
    whole = found.estimate(C2V, ("task", "BIOSSES"))
    assert (whole.seeds, whole.items) == (2, 150)
    assert whole.seed_sd > 0
    assert np.isnan(found.estimate(("last_token-zero_shot", "base-a"), ("task", "BIOSSES")).seed_sd)


def test_gaps_stay_gaps(study):
    _, found = study
    assert found.estimate(ECHO, ("task", "BIOSSES")) is None
    assert found.estimate(ECHO, ("type", "STS")) is None
    assert found.estimate(ECHO, ALL) is None
    assert found.difference(C2V, ECHO, ALL) is None
    assert found.difference(C2V, ECHO, ("task", "ArguAna")) is not None
    # No items: a score, but neither interval nor p-value, here and in every group that holds the task.
    bare = found.estimate(C2V, ("task", "SummEval"))
    assert bare.score > 0
    assert np.isnan([bare.low, bare.high, found.estimate(C2V, ALL).low, found.difference(C2V, LAST, ALL).p]).all()
    assert any("SummEval" in note for note in found.notes)
    assert ECHO not in [entry for _, entry in found.standings]


def test_groups_and_benchmarks(study):
    _, found = study
    groups = {group for _, group in found.estimates}
    assert {("benchmark", "Mine"), ("benchmark_type", "Mine: STS"), ("type", "STS"), ALL} <= groups
    assert ("benchmark", "Other") not in groups
    one, two = (found.estimate(C2V, ("task", name)).score for name in ("BIOSSES", "ArguAna"))
    assert found.estimate(C2V, ("benchmark", "Mine")).score == pytest.approx((one + two) / 2)


def test_standings_leave_variants_out_and_keep_blocks_apart(study):
    _, found = study
    panel = {entry[0] for _, entry in found.standings}
    assert "causal2vec+pooling=eos" not in panel
    trained = [s for (_, (method, _)), s in found.standings.items() if not method.endswith("-zero_shot")]
    assert sorted(s.borda_rank for s in trained) == [1, 2, 3, 4]
    assert found.standings["base-a", C2V].borda == 3 * 7
    assert found.standings["base-a", C2V].mean_rank == 1


def test_winner_is_found_and_tie_is_called_a_tie(tmp_path):
    folder = write_study(tmp_path, tasks=6, items=300, untrained=False)
    found = compute(folder)
    won = found.difference(C2V, LAST, ALL)
    assert won.significant
    assert won.low > 0
    assert won.win_rate == won.improvement == 1
    assert found.difference(LAST, C2V, ALL).high < 0
    tie = found.difference(ECHO, BIDI, ALL)
    assert not tie.significant
    assert tie.low < 0 < tie.high
    for task in load_study(folder).summary.tasks:
        assert found.difference(C2V, CONTROL, ("task", task)).p < 0.05
        corrected = found.difference(ECHO, BIDI, ("task", task))
        assert corrected.p_holm >= corrected.p
    assert found.standings["base-a", C2V].iqm_low > found.standings["base-a", LAST].iqm_high


def test_same_bytes_again_with_more_workers_and_with_shuffled_rows(tmp_path):
    folder = write_study(tmp_path / "study", tasks=5, items=60, seeds=(0, 1))
    compute(folder, tmp_path / "one")
    compute(folder, tmp_path / "two", workers=2)
    for path in (folder / "items").glob("*.parquet"):
        pd.read_parquet(path).sample(frac=1, random_state=1).to_parquet(path)
    frame = pd.read_csv(folder / "scores.csv", dtype=str).sample(frac=1, random_state=2)
    frame.to_csv(folder / "scores.csv", index=False)
    compute(folder, tmp_path / "three")
    compute(folder, tmp_path / "other", seed=1)
    contents = {n: [(tmp_path / n / f).read_bytes() for f in FILES] for n in ("one", "two", "three", "other")}
    assert contents["one"] == contents["two"] == contents["three"]
    assert contents["one"][0] != contents["other"][0]


def test_beyond_the_budget_signs_are_flipped_and_the_notes_say_so(tmp_path, monkeypatch):
    folder = write_study(tmp_path, tasks={"STS12": "STS", "ArguAna": "Retrieval"}, items=80, untrained=False)
    exact = compute(folder, tmp_path / "exact")
    monkeypatch.setattr("causal2vec.reporting.analysis.statistics.permutation.BUDGET", 0)
    quick = compute(folder, tmp_path / "quick")
    assert not any("STS12" in note for note in exact.notes)
    assert [note for note in quick.notes if "pseudo-values were flipped: STS12." in note]
    for first, second in [(C2V, LAST), (C2V, ECHO), (ECHO, BIDI)]:
        one, two = (found.difference(first, second, ("task", "STS12")) for found in (exact, quick))
        assert one.p == pytest.approx(two.p, abs=0.1)
        assert (one.low, one.high) == (two.low, two.high)


def test_two_bases_share_the_control_and_are_not_compared(tmp_path):
    folder = write_study(tmp_path, bases=("base-a", "base-b"), tasks=2, items=40, untrained=False)
    found = compute(folder, bases=("base-a", "base-b"))
    assert found.difference(C2V, ("causal2vec", "base-b"), ALL) is None
    assert found.difference(("causal2vec", "base-b"), CONTROL, ALL) is not None
    assert {panel for panel, entry in found.standings if entry == CONTROL} == {"base-a", "base-b"}


def test_items_drawn_anew_for_each_seed_average_their_noise(tmp_path):
    folder = write_study(tmp_path, seeds=(0, 1), tasks=1, items=200, untrained=False, control=False)
    shared = compute(folder, tmp_path / "shared").estimate(LAST, ALL)
    path = next((folder / "items").iterdir())
    frame = pd.read_parquet(path)
    frame["item"] = frame["seed"].astype(str) + frame["item"]
    frame.to_parquet(path)
    own = compute(folder, tmp_path / "own").estimate(LAST, ALL)
    assert own.score == shared.score
    assert own.high - own.low < 0.95 * (shared.high - shared.low)


def break_file(frame, how):
    row = frame.index[frame["seed"] == 0][-1]
    if how == "column":
        return frame.drop(columns="prediction")
    if how == "text":
        return frame.assign(prediction="x")
    if how == "twice":
        return pd.concat([frame, frame.iloc[[row]]])
    if how == "dropped":
        return frame.drop(index=row)
    if how == "unknown run":
        return pd.concat([frame, frame[frame["method"] == "echo"].assign(method="stranger")])
    column, value = {
        "nan": ("prediction", np.nan),
        "metric": ("metric", "accuracy"),
        "mixed": ("metric", "spearman"),
        "target": ("target", 2.0),
        "other draw": ("draw", DRAWS[0] + "!"),
        "score": ("prediction", -1e3),
    }[how]
    rows = frame["item"].isin(["q00000", "q00001", "q00002", "q00003", "q00004", "q00005"])
    frame.loc[rows if how == "score" else frame.index[-1], column] = value
    return frame


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("column", "column 'prediction' is missing"),
        ("text", "column 'prediction': does not hold numbers"),
        ("nan", "column 'prediction': .* is not a finite number"),
        ("metric", "column 'metric': 'accuracy' .* is none of mean, spearman"),
        ("mixed", "holds the metrics max_ap and spearman"),
        ("target", "column 'target': .* is neither 0 nor 1"),
        ("twice", "twice; evaluate"),
        ("other draw", "in draw"),
        ("dropped", "has other items in draw|differ in item 'q"),
        ("unknown run", "holds items of method 'stranger'"),
        ("score", r"give task 'SprintDuplicateQuestions' .* but scores.csv says"),
    ],
)
def test_bad_items_are_refused_in_one_sentence(tmp_path, how, words):
    folder = write_study(tmp_path, tasks={"SprintDuplicateQuestions": "PairClassification"}, items=30, untrained=False)
    path = folder / "items" / "SprintDuplicateQuestions.parquet"
    break_file(pd.read_parquet(path), how).to_parquet(path)
    with pytest.raises(UserError, match=words) as error:
        compute(folder)
    assert path.name in str(error.value)
    assert not (folder / "statistics").exists()


def test_a_task_that_averages_other_tasks_has_their_items(tmp_path):
    folder = write_study(tmp_path, tasks={"ArguAna": "Retrieval"}, items=30, untrained=False)
    path = folder / "items" / "ArguAna.parquet"
    frame = pd.read_parquet(path)
    parts = [frame.assign(subset=f"{forum}/default") for forum in ("Android", "Gaming")]
    pd.concat(parts).to_parquet(path)
    estimate = compute(folder).estimate(LAST, ("task", "ArguAna"))
    assert estimate.low < estimate.score < estimate.high
    parts[1]["prediction"] *= 0.5
    pd.concat(parts).to_parquet(path)
    with pytest.raises(UserError, match=r"give task 'ArguAna' a score of .* but scores.csv says"):
        compute(folder)


def test_entries_with_other_items_are_both_named(tmp_path):
    folder = write_study(tmp_path, tasks={"ArguAna": "Retrieval"}, items=30, untrained=False)
    path = folder / "items" / "ArguAna.parquet"
    frame = pd.read_parquet(path)
    frame.loc[(frame["method"] == "echo") & (frame["item"] == "q00007"), "item"] = "zzz"
    frame.to_parquet(path)
    with pytest.raises(UserError, match=r"'echo' on 'base-a' and .*'causal2vec' on 'base-a'|'zzz'|'q00007'") as error:
        read_items(path)
    assert "'echo'" in str(error.value)


def test_partly_missing_items_and_unreadable_files_are_refused(tmp_path):
    folder = write_study(tmp_path, tasks={"ArguAna": "Retrieval"}, items=30, seeds=(0, 1), untrained=False)
    path = folder / "items" / "ArguAna.parquet"
    frame = pd.read_parquet(path)
    frame[(frame["method"] != "echo") | (frame["seed"] == 0)].to_parquet(path)
    with pytest.raises(UserError, match=r"lacks the items of method 'echo', base 'base-a', seed 1"):
        compute(folder)
    # An entry without any items was imported: it keeps its score and gets no interval.
    frame[frame["method"] != "echo"].to_parquet(path)
    found = compute(folder)
    assert np.isnan(found.estimate(ECHO, ALL).low)
    assert not np.isnan(found.estimate(LAST, ALL).low)
    path.write_bytes(b"not Parquet")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        compute(folder)
    with pytest.raises(UserError, match="too few"):
        compute(folder, resamples=10)
