"""From evaluation jobs to ``scores.csv``, and from there to one number per method and task."""

import csv
import math

import pytest
from fixtures_reporting import ORDER, SCORES, TYPES, make_job, make_study

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.summary import summarise
from causal2vec.reporting.read.schema import SCORE_COLUMNS
from causal2vec.reporting.read.scores import collect_scores, read_scores


@pytest.fixture
def jobs(tmp_path):
    root = tmp_path / "jobs"
    return [make_job(root, m, s, dict(zip(TYPES, v, strict=True))) for (m, s), v in SCORES.items()]


@pytest.fixture
def scores(tmp_path, jobs):
    collect_scores(jobs, tmp_path / "mteb", tmp_path / "scores.csv")
    return tmp_path / "scores.csv"


def test_scores_are_tidy_and_sorted_and_read_back(tmp_path, jobs):
    frame = collect_scores(jobs[::-1], tmp_path / "mteb", tmp_path / "scores.csv")
    text = (tmp_path / "scores.csv").read_text()
    assert text.splitlines()[0] == ",".join(SCORE_COLUMNS)
    assert len(frame) == len(SCORES) * 3 * 2  # main_score and ndcg_at_10; NaN and lists are no scores
    assert read_scores(tmp_path / "scores.csv").equals(frame)
    one = frame[(frame["method"] == "causal2vec") & (frame["seed"] == 1) & (frame["task"] == "SciFact")]
    assert one["value"].tolist() == [0.7, 0.7] and one["items"].tolist() == [10, 10]
    collect_scores(jobs, tmp_path / "mteb", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == text


def test_shards_of_one_model_share_one_folder_with_sorted_settings(tmp_path):
    root = tmp_path / "jobs"
    shards = [make_job(root, "echo", 0, {task: 0.5}) for task in ("SciFact", "NFCorpus")]
    collect_scores(shards, tmp_path / "mteb", tmp_path / "scores.csv")
    (folder,) = (tmp_path / "mteb" / "results").glob("*/*")
    assert sorted(path.name for path in folder.iterdir()) == [
        "NFCorpus.json",
        "SciFact.json",
        "model_meta.json",
        "records.jsonl",
        "run_settings.jsonl",
    ]
    lines = (folder / "run_settings.jsonl").read_text().splitlines()
    assert lines == sorted(lines) and len(lines) == 2


@pytest.mark.parametrize("value", [math.nan, None, "0.5", True])
def test_main_score_that_is_no_number_is_refused(tmp_path, value):
    job = make_job(tmp_path, "echo", 0, {"SciFact": value})
    with pytest.raises(UserError, match=r"suite/tiny.*'SciFact'.*main_score: "):
        collect_scores([job], tmp_path / "mteb", tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists() and not (tmp_path / "mteb").exists()


def test_missing_result_is_refused(tmp_path):
    job = make_job(tmp_path, "echo", 0, {"SciFact": 0.5})
    next(job.rglob("SciFact.json")).unlink()
    with pytest.raises(UserError, match=r"suite/tiny.*task 'SciFact' has no result"):
        collect_scores([job], tmp_path / "mteb", tmp_path / "scores.csv")


def test_the_same_score_twice_must_agree(tmp_path):
    first = make_job(tmp_path, "echo", 0, {"SciFact": 0.5})
    twin = make_job(tmp_path, "echo", 0, {"SciFact": 0.5})
    other = make_job(tmp_path, "echo", 0, {"SciFact": 0.6})
    assert len(collect_scores([first, twin], tmp_path / "mteb", tmp_path / "scores.csv")) == 2
    with pytest.raises(UserError, match=r"both hold method 'echo'.*value 0.5 and 0.6"):
        collect_scores([first, other], tmp_path / "mteb", tmp_path / "scores.csv")


def test_two_methods_must_not_share_a_model_name(tmp_path):
    a = make_job(tmp_path, "echo", 0, {"SciFact": 0.5}, model="suite/x")
    b = make_job(tmp_path, "last_token", 0, {"SciFact": 0.6}, model="suite/x")
    with pytest.raises(UserError, match="different scores for the same model and revision"):
        collect_scores([a, b], tmp_path / "mteb", tmp_path / "scores.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",value,", ",worth,", r"line 1: column 'value' is missing"),
        (",0.5,", ",nan,", r"line \d+: value: .*finite number, but is 'nan'"),
        (",0.5,", ",half,", r"line \d+: value: .*number, but is 'half'"),
        (",10,", ",ten,", r"line 2: items: .*integer, but is 'ten'"),
        (",10,", ",1_0,", r"line 2: items: '1_0' is not a number"),
        (",10,", ",١٠,", r"line 2: items: '١٠' is not a number"),
        (",0.5,", ",0.5_5,", r"line \d+: value: '0.5_5' is not a number"),
        ("main_score,0.5,", "main_score,70.77,", r"line \d+: value: a main score lies .*70.77.*divide .* by 100"),
        ("main_score,0.5,", "main_score,-1.1,", r"line \d+: value: a main score lies .*-1.1.*divide .* by 100"),
    ],
)
def test_reading_scores_names_file_column_and_line(scores, old, new, message):
    scores.write_text(scores.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=r"scores\.csv, " + message):
        read_scores(scores)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_a_spreadsheet_saved_again_is_read_as_it_was(delimiter, scores):
    before = read_scores(scores)
    rows = list(csv.reader(scores.open(newline="")))
    with scores.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    assert read_scores(scores).equals(before)


def test_reading_refuses_absent_empty_and_repeated(tmp_path, scores):
    with pytest.raises(UserError, match="does not exist"):
        read_scores(tmp_path / "none.csv")
    lines = scores.read_text().splitlines()
    scores.write_text(lines[0] + "\n")
    with pytest.raises(UserError, match="no rows"):
        read_scores(scores)
    scores.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(UserError, match=rf"line {len(lines) + 1}: the same method.*already given"):
        read_scores(scores)


def test_summary_averages_seeds_then_tasks(scores):
    summary = summarise(read_scores(scores), ORDER)
    assert [method for method, _ in summary.entries] == [
        "causal2vec",
        "causal2vec-zero_shot",
        "last_token",
        "echo",
        "echo-zero_shot",
    ]
    entry = ("causal2vec", "tiny")
    assert summary.score(entry, "NFCorpus") == pytest.approx(0.55)
    assert summary.average(entry, summary.types["Retrieval"]) == pytest.approx(0.625)
    assert summary.average(entry, summary.tasks) == pytest.approx((0.55 + 0.7 + 0.85) / 3)
    assert any("causal2vec: mean over 2 seeds (0, 1)" in note for note in summary.notes)
    assert "Evaluated with mteb 2.26.24." in summary.notes


def test_other_subsets_than_the_rivals_are_a_gap(tmp_path):
    jobs = [
        make_job(tmp_path, "echo", 0, {"STSBenchmark": 0.5}, subsets=("en", "fr")),
        make_job(tmp_path, "last_token", 0, {"STSBenchmark": 0.9}, subsets=("en",)),
    ]
    summary = summarise(collect_scores(jobs, tmp_path / "mteb", tmp_path / "scores.csv"), ORDER)
    assert summary.score(("echo", "tiny"), "STSBenchmark") == 0.5
    assert summary.score(("last_token", "tiny"), "STSBenchmark") is None


def test_seeds_are_told_in_few_words_where_all_trained_methods_have_the_same():
    scores = {(m, "a", s): [0.5] * 3 for m in ("echo", "causal2vec") for s in (0, 1)}
    summary = make_study(scores | {("echo-zero_shot", "a"): [0.4] * 3}).summary
    assert summary.notes[0] == "Seeds: trained methods: mean over 2 seeds (0, 1); untrained twins: one seed (0)."
    odd = make_study(scores | {("last_token", "a"): [0.4] * 3}).summary
    assert odd.notes[0] == "Seeds: causal2vec, echo: mean over 2 seeds (0, 1); last_token: one seed (0)."


def test_notes_speak_only_of_the_entries_that_are_shown():
    scores = {
        ("echo", "a", 0): [0.5, 0.5, 0.5],
        ("echo", "a", 1): [0.5, 0.5, 0.5],
        ("last_token", "a"): [0.4, None, 0.4],
    }
    summary = make_study(scores).summary
    assert summary.notes_on([("echo", "a")]) == ["Mean over 2 seeds (0, 1).", "Evaluated with mteb 2.26.24."]
    assert summary.notes_on([("last_token", "a")]) == [
        "One seed (0).",
        "Evaluated with mteb 2.26.24.",
        "Missing for last_token: SciFact.",
    ]
    assert "Missing for last_token: SciFact." in summary.notes
