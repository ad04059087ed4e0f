"""Reporting, from synthetic result folders whose truth is known."""

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from causal2vec.errors import UserError
from causal2vec.reporting.compare import compare
from causal2vec.reporting.costplots import cost_points, mixed_costs, pareto, remarks
from causal2vec.reporting.costtables import efficiency_table, training_table
from causal2vec.reporting.grid import (
    GAP,
    Cell,
    Column,
    RowGroup,
    Table,
    format_cell,
    format_number,
    marks,
    pages,
    panels,
)
from causal2vec.reporting.plots import write_plots
from causal2vec.reporting.render import escape_latex, escape_markdown, to_csv, to_latex, to_markdown
from causal2vec.reporting.schema import EFFICIENCY_COLUMNS, SCORE_COLUMNS, read_efficiency, read_training
from causal2vec.reporting.scores import collect_scores, read_scores
from causal2vec.reporting.style import Design, looks
from causal2vec.reporting.summary import summarise
from causal2vec.reporting.tables import (
    main_table,
    tasks_table,
    write_tables,
)

HOSTILE = r"a|b_<x>&%$#{}\`*[~^\"--é"
ORDER = ["causal2vec", "last_token", "echo"]
TYPES = {"NFCorpus": "Retrieval", "SciFact": "Retrieval", "STSBenchmark": "STS"}
SCORES = {
    ("causal2vec", 0): [0.5, 0.7, 0.8],
    ("causal2vec", 1): [0.6, 0.7, 0.9],
    ("last_token", 0): [0.5, 0.6, 0.85],
    ("echo", 0): [0.4, 0.6, 0.7],
    ("causal2vec-zero_shot", 0): [0.2, 0.3, 0.25],
    ("echo-zero_shot", 0): [0.3, 0.3, 0.2],
}


def make_job(root, method, seed=0, scores=None, base="tiny", subsets=("default",), shard="", **changes):
    """One evaluation job's folder; ``scores`` maps tasks to main scores."""
    record = {
        "method": method,
        "base": base,
        "seed": seed,
        "model": f"suite/{base} {method.encode().hex()}-{seed}",
        "revision": "abc",
        "tasks": {},
        **changes,
    }
    folder = root / f"job-{len(list(root.glob('job-*'))):03d}{shard}"
    place = folder / "results" / record["model"].replace("/", "__").replace(" ", "_") / record["revision"]
    place.mkdir(parents=True)
    for task, score in scores.items():
        entry = {
            "main_score": score,
            "ndcg_at_10": score,
            "nauc_ndcg_at_10_max": math.nan,
            "scores_per_experiment": [{"accuracy": 1.0}],
            "languages": ["eng-Latn"],
            "mteb_version": "2.26.24",
        }
        result = {
            "dataset_revision": "NA",
            "task_name": task,
            "mteb_version": "2.26.24",
            "scores": {"test": [{**entry, "hf_subset": subset} for subset in subsets]},
            "evaluation_time": 0.1,
            "kg_co2_emissions": None,
        }
        (place / f"{task}.json").write_text(json.dumps(result))
        record["tasks"][task] = {
            "task_type": TYPES.get(task, "STS"),
            "main_score": score,
            "data_revision": "data1",
            "items": {f"test/{subset}": 10 for subset in subsets},
        }
        with (place / "run_settings.jsonl").open("a") as file:
            file.write(json.dumps({"task": task}) + "\n")
    (place / "model_meta.json").write_text("{}")
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def make_efficiency(path, methods, base="tiny"):
    """Costs of ``methods``: names on ``base``, or pairs of name and base."""
    rows = []
    for i, (method, base) in enumerate((m, base) if isinstance(m, str) else m for m in methods):
        for length in ["mixed", "32", "512"]:
            seconds = (i + 1) * (1 if length == "mixed" else int(length) / 100)
            row = dict.fromkeys(EFFICIENCY_COLUMNS, "")
            row |= {"method": method, "base": base, "text_tokens": length, "llm_tokens": 10 * (i + 1)}
            row |= {
                "encoder_tokens": 30,
                "seconds_per_1000_texts": seconds,
                "texts_per_second": 1000 / seconds,
            }
            row |= {"seconds_per_1000_texts_min": seconds * 0.9, "seconds_per_1000_texts_max": seconds * 1.1}
            row |= {"texts_per_second_min": 900 / seconds, "texts_per_second_max": 1100 / seconds}
            row |= {
                "total_parameters": 1000000,
                "trainable_parameters": 5,
                "device": "cpu",
                "dtype": "float32",
            }
            rows.append(row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(EFFICIENCY_COLUMNS))
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_training(path, method, seed=0, seconds=10.0, base="tiny"):
    path.parent.mkdir(parents=True, exist_ok=True)
    loss = [{"step": step, "loss": 1 / step} for step in range(1, 21)]
    record = {"method": method, "base": base, "seed": seed, "steps": 20, "pairs": 640, "seconds": seconds}
    path.write_text(json.dumps({**record, "loss": loss, "trainable_parameters": 1234567, "peak_memory_mb": None}))
    return path


@pytest.fixture
def jobs(tmp_path):
    root = tmp_path / "jobs"
    return [make_job(root, m, s, dict(zip(TYPES, v, strict=True))) for (m, s), v in SCORES.items()]


@pytest.fixture
def scores(tmp_path, jobs):
    collect_scores(jobs, tmp_path / "mteb", tmp_path / "scores.csv")
    return tmp_path / "scores.csv"


@pytest.fixture
def inputs(tmp_path, scores):
    methods = list(dict.fromkeys(method for method, _ in SCORES))
    efficiency = make_efficiency(tmp_path / "efficiency.csv", methods)
    training = [make_training(tmp_path / f"{m}-{s}.json", m, s) for m in ORDER for s in (0, 1)]
    return scores, efficiency, training


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
        "run_settings.jsonl",
    ]
    lines = (folder / "run_settings.jsonl").read_text().splitlines()
    assert lines == sorted(lines) and len(lines) == 2


@pytest.mark.parametrize("value", [math.nan, None, "0.5", True])
def test_main_score_that_is_no_number_is_refused(tmp_path, value):
    job = make_job(tmp_path, "echo", 0, {"SciFact": value})
    with pytest.raises(UserError, match=r"suite/tiny.*'SciFact'.*main score"):
        collect_scores([job], tmp_path / "mteb", tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists() and not (tmp_path / "mteb").exists()


def test_missing_result_is_refused(tmp_path):
    job = make_job(tmp_path, "echo", 0, {"SciFact": 0.5})
    next(job.rglob("SciFact.json")).unlink()
    with pytest.raises(UserError, match=r"suite/tiny.*no result for task 'SciFact'"):
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
        (",0.5,", ",nan,", r"line \d+, column 'value' is 'nan', not a finite number"),
        (",0.5,", ",half,", r"line \d+, column 'value' is 'half', not a number"),
        (",10,", ",ten,", r"line 2, column 'items' is 'ten', not a whole number"),
    ],
)
def test_reading_scores_names_file_column_and_line(scores, old, new, message):
    scores.write_text(scores.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=r"scores\.csv, " + message):
        read_scores(scores)


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


def test_best_and_second_are_marked_within_groups_with_ties(scores):
    text = to_markdown(main_table(summarise(read_scores(scores), ORDER)))
    rows = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in _table_lines(text)}
    # Retrieval: 62.5, 55.0, 50.0; STS: 85.0 twice, then 70.0.
    assert rows["causal2vec"] == ["**62.5**", "**85.0**", "**70.0**"]
    assert rows[r"last\_token"] == ["<u>55.0</u>", "**85.0**", "<u>65.0</u>"]
    assert rows["echo"] == ["50.0", "<u>70.0</u>", "56.7"]
    assert rows[r"causal2vec-zero\_shot"] == ["<u>25.0</u>", "**25.0**", "<u>25.0</u>"]
    assert rows[r"echo-zero\_shot"] == ["**30.0**", "<u>20.0</u>", "**26.7**"]
    assert "Retrieval (2)" in text and "Average (3)" in text


def test_what_looks_equal_ties_and_nothing_is_marked_without_a_difference():
    columns = [
        Column("M", "m", label=True),
        Column("X", "x", better="lower"),
        Column("Y", "y", better="higher"),
    ]
    values = [("a", 1.04, 2.0), ("b", 1.01, 2.0), ("c", 1.2, 2.0), ("d", None, 2.0)]
    table = Table("t", "T", columns, [RowGroup("", [[Cell(v) for v in row] for row in values])], [])
    assert marks(table)[0] == [["", "best", ""], ["", "best", ""], ["", "second", ""], ["", "", ""]]


def test_incomplete_average_is_a_gap_that_the_notes_explain(tmp_path):
    root = tmp_path / "jobs"
    whole = dict.fromkeys(TYPES, 0.5)
    lacking = {"NFCorpus": 0.9, "STSBenchmark": 0.9}
    jobs = [make_job(root, "last_token", 0, whole), make_job(root, "echo", 0, lacking)]
    jobs += [make_job(root, "causal2vec", seed, whole if seed else lacking) for seed in (0, 1)]
    summary = summarise(collect_scores(jobs, tmp_path / "mteb", tmp_path / "scores.csv"), ORDER)
    table = main_table(summary)
    shown = {
        r[0].value: [format_cell(c, col) for c, col in zip(r, table.columns, strict=True)] for r in table.groups[0].rows
    }
    assert shown["echo"] == ["echo", GAP, "90.0", GAP]
    assert shown["causal2vec"] == ["causal2vec", GAP, "70.0", GAP]
    assert "Missing for echo: SciFact." in table.notes
    assert "Missing for causal2vec: SciFact (seed 0)." in table.notes


def test_other_subsets_than_the_rivals_are_a_gap(tmp_path):
    jobs = [
        make_job(tmp_path, "echo", 0, {"STSBenchmark": 0.5}, subsets=("en", "fr")),
        make_job(tmp_path, "last_token", 0, {"STSBenchmark": 0.9}, subsets=("en",)),
    ]
    summary = summarise(collect_scores(jobs, tmp_path / "mteb", tmp_path / "scores.csv"), ORDER)
    assert summary.score(("echo", "tiny"), "STSBenchmark") == 0.5
    assert summary.score(("last_token", "tiny"), "STSBenchmark") is None


def test_several_bases_get_a_column_and_groups_of_their_own(tmp_path):
    jobs = [make_job(tmp_path, "echo", 0, {"STSBenchmark": v}, base=b) for b, v in [("a", 0.5), ("b", 0.6)]]
    table = main_table(summarise(collect_scores(jobs, tmp_path / "mteb", tmp_path / "scores.csv"), ORDER))
    assert [column.title for column in table.columns[:2]] == ["Method", "Base"]
    assert [group.title for group in table.groups] == [
        "Trained on the same pairs, base a",
        "Trained on the same pairs, base b",
    ]


def test_tasks_are_compared_along_each_row(scores):
    table = tasks_table(summarise(read_scores(scores), ORDER))
    assert [column.key for column in table.columns][1:] == [
        "causal2vec",
        "last_token",
        "echo",
        "causal2vec-zero_shot",
        "echo-zero_shot",
    ]
    assert marks(table)[0][0] == ["", "best", "second", "", "second", "best"]  # NFCorpus
    assert [group.title for group in table.groups] == ["Retrieval", "STS", "All tasks"]


def test_efficiency_is_relative_to_causal2vec(tmp_path):
    path = make_efficiency(tmp_path / "e.csv", ["causal2vec", "echo", "echo-zero_shot"])
    table = efficiency_table(read_efficiency(path), ORDER)
    assert [g.title for g in table.groups][:3] == [
        "Texts of mixed length",
        "Texts of mixed length, untrained",
        "Texts of 32 tokens",
    ]
    echo = dict(zip([c.key for c in table.columns], table.groups[0].rows[1], strict=True))
    assert (echo["time_ratio"].value, echo["llm_token_ratio"].value) == (2.0, 2.0)
    assert echo["peak_memory_mb"].value is None
    text = to_markdown(table)
    assert "500 (450–550)" in text and "LLM tokens ↓" in text and "Texts/s ↑" in text
    alone = efficiency_table(read_efficiency(make_efficiency(path, ["echo"])), ORDER)
    assert "No ratios: causal2vec was not measured." in alone.notes


def test_training_is_averaged_over_seeds(tmp_path):
    paths = [make_training(tmp_path / f"{s}.json", "echo", s, seconds) for s, seconds in [(0, 10.0), (1, 20.0)]]
    table = training_table(read_training(paths), ORDER)
    row = dict(zip([c.key for c in table.columns], table.groups[0].rows[0], strict=True))
    assert (row["seconds"].value, row["final_loss"].value, row["pairs"].value) == (15.0, 0.05, 640.0)
    with pytest.raises(UserError, match="a second time"):
        read_training([paths[0], paths[0]])
    paths[0].write_text(paths[0].read_text().replace('"loss": 1.0', '"loss": NaN'))
    with pytest.raises(UserError, match="finite"):
        read_training(paths)


def test_numbers_keep_three_significant_digits():
    assert [format_number(v, "sig3") for v in (0, 12345.6, 99.96, 9.996, 0.012345, 1234)] == [
        "0",
        "12,346",
        "100",
        "10.0",
        "0.0123",
        "1,234",
    ]


def test_wide_tables_are_split_at_groups():
    columns = [Column("M", "m", label=True)]
    columns += [Column(f"{g}{i}", f"{g}{i}", group=g) for g, n in [("A", 3), ("B", 4), ("C", 11)] for i in range(n)]
    found = panels(Table("t", "T", columns, [], []), [0] + [1] * 18, 8)
    assert [len(panel) - 1 for panel in found] == [7, 6, 5]
    assert sorted(i for panel in found for i in panel[1:]) == list(range(1, 19))
    assert all(panel[0] == 0 for panel in found)


def test_long_tables_are_split_between_groups():
    groups = [RowGroup("G", [[Cell("x")]] * count) for count in (20, 20, 30, 60)]
    assert pages(Table("t", "T", [Column("M", "m", label=True)], groups, []), 48) == [[0, 1], [2], [3]]


def test_latex_headings_take_several_lines_and_parts_are_numbered():
    columns = [Column("Method", "m", label=True)]
    columns += [Column(f"Quite a long heading {i}", str(i), better="higher") for i in range(20)]
    rows = [[Cell("echo"), *(Cell(float(i)) for i in range(20))]]
    latex = to_latex(Table("wide", "T", columns, [RowGroup("", rows)], ["The note."]))
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 2
    assert r"\label{tab:wide-2}" in latex and "(part 2 of 2)" in latex and latex.count("The note.") == 1
    assert "Method & 0 & 1 &" in latex and r" & Quite a & Quite a" in latex


LLM, OTHER_LLM = "SmolLM2-135M-Instruct", "Qwen3-0.6B"
SMALL, SHIPPED = "all-MiniLM-L6-v2-2-layers", "all-MiniLM-L6-v2"
SUITE_ORDER = ["causal2vec", "last_token", "echo", "bidirectional", "encoder_only"]
CONTROLS = {
    ("encoder_only", SMALL): [0.55, 0.56, 0.62],
    ("encoder_only-zero_shot", SMALL): [0.35, 0.38, 0.45],
    ("encoder_only-zero_shot", SHIPPED): [0.65, 0.6, 0.7],
}
"""The control: one method whose untrained twin stands on two encoders."""


def on_llm(base, extra=0.0):
    """Scores of the methods on one LLM."""
    found = {
        "causal2vec": [0.6, 0.59, 0.75],
        "last_token": [0.48, 0.52, 0.66],
        "echo": [0.52, 0.53, 0.7],
        "bidirectional": [0.5, 0.53, 0.69],
        "last_token-zero_shot": [0.12, 0.1, 0.3],
        "echo-zero_shot": [0.2, 0.25, 0.45],
        "bidirectional-zero_shot": [0.1, 0.12, 0.32],
    }
    return {(method, base): [value + extra for value in values] for method, values in found.items()}


def make_suite(tmp_path, scores):
    """scores.csv, efficiency.csv and training.json files as the workflow makes them: a twin is not measured again."""
    root = tmp_path / "jobs"
    jobs = [make_job(root, m, 0, dict(zip(TYPES, v, strict=True)), base=b) for (m, b), v in scores.items()]
    collect_scores(jobs, tmp_path / "mteb", tmp_path / "scores.csv")
    measured = [e for e in scores if (e[0].removesuffix("-zero_shot"), e[1]) not in scores or "-" not in e[0]]
    efficiency = make_efficiency(tmp_path / "efficiency.csv", measured)
    trained = [e for e in scores if not e[0].endswith("-zero_shot")]
    training = [make_training(tmp_path / f"{m}-{b}.json", m, base=b) for m, b in trained]
    return tmp_path / "scores.csv", efficiency, training


@pytest.fixture
def suite(tmp_path):
    return make_suite(tmp_path, on_llm(LLM) | CONTROLS)


@pytest.fixture
def two_llms(tmp_path):
    return make_suite(tmp_path, on_llm(LLM) | on_llm(OTHER_LLM, 0.05) | CONTROLS)


def _named(table):
    """Rows by group, each a dictionary of values and marks by column key."""
    found = {}
    for group, group_marks in zip(table.groups, marks(table), strict=True):
        for row, row_marks in zip(group.rows, group_marks, strict=True):
            cells = zip(table.columns, row, row_marks, strict=True)
            found.setdefault(group.title, []).append({c.key: (cell.value, mark) for c, cell, mark in cells})
    return found


def test_controls_are_compared_with_everything_on_the_llm(suite):
    table = main_table(summarise(read_scores(suite[0]), SUITE_ORDER), bases=[LLM])
    groups = _named(table)
    assert list(groups) == ["Trained on the same pairs", "Untrained (-zero_shot)"]
    trained, untrained = ([(r["method"][0], r["base"][0]) for r in rows] for rows in groups.values())
    assert trained == [(method, LLM) for method in SUITE_ORDER[:4]] + [("encoder_only", SMALL)]
    assert untrained[-2:] == [("encoder_only-zero_shot", SHIPPED), ("encoder_only-zero_shot", SMALL)]
    assert to_latex(table).count(r"\begin{table}") == 1  # in smaller print, rather than in two parts
    best = {title: [r["method"][0] for r in rows if r["Retrieval"][1]] for title, rows in groups.items()}
    assert best["Trained on the same pairs"] == ["causal2vec", "encoder_only"]  # 59.5 and 55.5
    assert best["Untrained (-zero_shot)"] == ["encoder_only-zero_shot"] * 2
    assert any(
        note.startswith(f"Controls, on another base than {LLM}: encoder_only ({SMALL}), ") for note in table.notes
    )


def test_controls_stand_beside_each_of_several_llms(two_llms):
    summary = summarise(read_scores(two_llms[0]), SUITE_ORDER)
    groups = _named(main_table(summary, bases=[LLM, OTHER_LLM]))
    parts = [
        f"{t}, base {b}" for t in ("Trained on the same pairs", "Untrained (-zero_shot)") for b in (LLM, OTHER_LLM)
    ]
    assert list(groups) == parts
    for title, rows in groups.items():
        assert {r["base"][0] for r in rows} - {SMALL, SHIPPED} == {title.split(", base ")[1]}
        assert [r["base"][0] for r in rows if "encoder" in r["method"][0]] in ([SMALL], [SHIPPED, SMALL])
    assert len(_named(main_table(summary))) == 3 + 4  # every base alone
    keys = [column.key for column in tasks_table(summary, bases=[LLM, OTHER_LLM]).columns]
    assert len(keys) == len(set(keys)) and {"encoder_only", f"encoder_only, base {OTHER_LLM}"} < set(keys)
    assert len(write_plots(*two_llms, two_llms[0].parent / "p", note="", order=[], bases=[LLM, OTHER_LLM])) == 10


def test_tasks_name_a_base_only_where_a_method_has_several(suite):
    table = tasks_table(summarise(read_scores(suite[0]), SUITE_ORDER), bases=[LLM])
    shown = [column.title for column in table.columns[1:]]
    assert shown[:5] == SUITE_ORDER
    assert shown[-2:] == [f"encoder_only-zero_shot ({base})" for base in (SHIPPED, SMALL)]
    assert list(dict.fromkeys(column.group for column in table.columns[1:])) == [
        "Trained on the same pairs",
        "Untrained (-zero_shot)",
    ]
    assert to_markdown(table).count("| Task ") == 1  # in one part


def test_costs_of_controls_are_relative_to_causal2vec_on_the_llm(suite):
    table = efficiency_table(read_efficiency(suite[1]), SUITE_ORDER, [LLM])
    groups = _named(table)
    assert list(groups) == ["Texts of mixed length", "Texts of 32 tokens", "Texts of 512 tokens"]
    for rows in groups.values():
        ratios = {(r["method"][0], r["base"][0]): r["time_ratio"][0] for r in rows}
        assert ratios == {
            ("causal2vec", LLM): 1.0,
            ("last_token", LLM): 2.0,
            ("echo", LLM): 3.0,
            ("bidirectional", LLM): 4.0,
            ("encoder_only", SMALL): 5.0,
            ("encoder_only-zero_shot", SHIPPED): 6.0,
        }


def test_training_of_controls_is_compared_with_everything(suite):
    training = read_training(suite[2])
    groups = _named(training_table(training, SUITE_ORDER, [LLM]))
    assert [len(rows) for rows in groups.values()] == [5]
    assert len(_named(training_table(training, SUITE_ORDER))) == 2


def test_twins_without_a_row_cost_what_their_methods_cost(suite):
    summary = summarise(read_scores(suite[0]), SUITE_ORDER)
    costs = mixed_costs(read_efficiency(suite[1]), "seconds_per_1000_texts")
    points = cost_points(summary, costs)
    assert set(points) == set(summary.entries)
    assert points["echo-zero_shot", LLM] == pytest.approx((3.0, 30.0))
    assert points["encoder_only-zero_shot", SMALL][0] == costs["encoder_only", SMALL] == 5.0
    assert points["encoder_only-zero_shot", SHIPPED][0] == 6.0
    assert remarks(summary, points, costs)[2:] == ["untrained twins: cost of their method"]
    # The reverse: only the twin was measured. And what neither has stays out.
    costs = {("echo-zero_shot", LLM): 2.0}
    points = cost_points(summary, costs)
    assert {entry: x for entry, (x, _) in points.items()} == {("echo", LLM): 2.0, ("echo-zero_shot", LLM): 2.0}
    assert "methods not measured: cost of their untrained twin" in remarks(summary, points, costs)
    assert remarks(summary, points, costs)[-1].startswith("not shown, incomplete: causal2vec, ")


def test_figures_tell_bases_of_one_method_apart(suite):
    summary = summarise(read_scores(suite[0]), SUITE_ORDER)
    (panel,) = compare(summary.entries, [LLM])
    style = looks(summary.entries, SUITE_ORDER, [LLM])
    design = Design(style, SUITE_ORDER, [LLM], "")
    names = {entry: design.name(entry, panel) for entry in panel.entries}
    assert names["echo-zero_shot", LLM] == "echo" and names["encoder_only", SMALL] == "encoder_only"
    assert names["encoder_only-zero_shot", SHIPPED] == f"encoder_only-zero_shot ({SHIPPED})"
    # The same name where the figure lacks the other base, as no twin is measured twice.
    assert design.name(("encoder_only-zero_shot", SHIPPED), replace(panel, entries=[])).endswith(f"({SHIPPED})")
    assert style["encoder_only", SMALL] == replace(style["encoder_only-zero_shot", SMALL], hollow=False)
    twins = [style["encoder_only-zero_shot", base] for base in (SMALL, SHIPPED)]
    assert twins[0].colour == twins[1].colour and twins[0].marker != twins[1].marker
    with pytest.raises(UserError, match=rf"base 'Smol' has no scores; name some of these: .*{LLM}"):
        write_plots(*suite, suite[0].parent / "plots", note="", order=[], bases=["Smol"])


def test_everything_with_controls_is_the_same_bytes_twice(tmp_path, suite):
    first = _everything(suite, tmp_path / "a", bases=[LLM])
    assert first == _everything(suite, tmp_path / "b", bases=[LLM])
    assert len(first) == 4 * 3 + 5 * 2


def _table_lines(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def hostile_table():
    columns = [
        Column("M", "m", label=True),
        Column(HOSTILE, HOSTILE, group=HOSTILE, better="higher"),
        Column("Range", "r", better="lower", spread=True),
    ]
    rows = [[Cell(HOSTILE), Cell(2.0), Cell(1.0, 0.5, 1.5)], [Cell("[b]"), Cell(1.0), Cell(None)]]
    return Table("hostile", f"Title {HOSTILE}", columns, [RowGroup(HOSTILE, rows)], [HOSTILE, "*[x] ÷ ≥ … ±"])


def test_hostile_names_are_escaped():
    markdown = to_markdown(hostile_table())
    for line in _table_lines(markdown):
        assert len(re.findall(r"(?<!\\)\|", line)) == 4, line
    assert r"a\|b\_&lt;x&gt;&amp;%\$\#\{\}\\\`\*\[\~^\\" in markdown
    assert "<x>" not in markdown
    assert escape_markdown("a\n| b") == r"a \| b"

    latex = escape_latex(HOSTILE)
    assert latex.startswith(r"a\textbar{}b\_\textless{}x\textgreater{}\&\%\$\#\{\}\textbackslash{}")
    assert "--" not in latex
    body = to_latex(hostile_table())
    for line in body.splitlines():
        if line.endswith(r" \\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 2, line
    assert "{[}b{]} &" in body

    (header, first, second) = csv.reader(to_csv(hostile_table()).splitlines())
    assert header == ["group", "m", HOSTILE, "r", "r_low", "r_high"]
    assert first == [HOSTILE, HOSTILE, "2.0", "1.0", "0.5", "1.5"] and second[3:] == ["", "", ""]


def _plain_cells(text):
    """The cells of a Markdown table's rows of numbers, without marks and escapes."""
    rows = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in _table_lines(text)[2:]]
    kept = [row for row in rows if any(row[1:])]
    return [[re.sub(r"\*\*|</?u>|\\", "", cell) for cell in row] for row in kept]


def test_every_table_round_trips_its_numbers_from_csv(inputs):
    scores, efficiency, training = inputs
    summary = summarise(read_scores(scores), ORDER)
    tables = [main_table(summary), tasks_table(summary)]
    tables += [
        efficiency_table(read_efficiency(efficiency), ORDER),
        training_table(read_training(training), ORDER),
    ]
    for table in tables:
        records = list(csv.DictReader(to_csv(table).splitlines()))
        shown = _plain_cells(to_markdown(table))
        assert len(records) == len(shown) == sum(len(group.rows) for group in table.groups)
        latex = to_latex(table)
        for record, cells in zip(records, shown, strict=True):
            for column, cell in zip(table.columns, cells, strict=True):
                raw = [record.get(f"{column.key}{end}") for end in ("", "_low", "_high")]
                numbers = [float(r) if r and not column.label else r or None for r in raw]
                assert format_cell(Cell(*numbers), column) == cell
                assert escape_latex(cell) in latex


def _everything(inputs, output, note="small-scale: a note", bases=None):
    given = {"order": ORDER, "bases": bases}
    write_tables(*inputs, output / "tables", notes=[note, "Manifest 12ab."], **given)
    write_plots(*inputs, output / "plots", note=note, **given)
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*.*"))}


def test_files_are_the_same_bytes_twice_and_tell_no_date(tmp_path, inputs):
    first = _everything(inputs, tmp_path / "a")
    assert first == _everything(inputs, tmp_path / "b")
    tables = [f"tables/{n}.{s}" for n in ("efficiency", "main", "tasks", "training") for s in ("csv", "md", "tex")]
    names = ["loss_curves", "score_vs_length", "score_vs_time", "scores_by_type", "throughput_vs_length"]
    assert sorted(first) == sorted(tables + [f"plots/{n}.{s}" for n in names for s in ("png", "svg")])
    for name, data in first.items():
        if name.endswith((".md", ".tex")):
            assert b"small-scale: a note" in data and b"Manifest 12ab." in data
        assert b"Software" not in data and b"<dc:date>" not in data and b"Matplotlib v" not in data


def test_plots_bear_hostile_names_and_several_bases(tmp_path):
    names = [HOSTILE, "_hidden", f"{HOSTILE}-zero_shot"]
    root = tmp_path / "jobs"
    jobs = []
    for i, name in enumerate(names):
        for base in ("a", "b"):
            given = {"STSBenchmark": 0.5 + i / 100, "SciFact": 0.4}
            jobs.append(make_job(root, name, 0, given, base=base, model=f"suite/{base}{i}"))
    collect_scores(jobs, tmp_path / "mteb", tmp_path / "scores.csv")
    efficiency = make_efficiency(tmp_path / "e.csv", names, base="a")
    paths = write_plots(tmp_path / "scores.csv", efficiency, [], tmp_path / "plots", note=HOSTILE, order=[])
    assert len(paths) == 8 and all(path.stat().st_size > 1000 for path in paths)


def test_no_point_to_plot_is_said(tmp_path, scores):
    efficiency = make_efficiency(tmp_path / "e.csv", ["somebody_else"])
    with pytest.raises(UserError, match=r"no method has both an average .* text_tokens 'mixed'"):
        write_plots(scores, efficiency, [], tmp_path / "plots", note="", order=ORDER)


def test_pareto_front_keeps_what_nothing_beats():
    assert pareto([(2.0, 5.0), (1.0, 3.0), (3.0, 4.0), (1.0, 2.0), (4.0, 6.0)]) == [1, 0, 4]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(tmp_path, suite):
    _everything(suite, tmp_path, bases=[LLM])
    (tmp_path / "tables" / "hostile.tex").write_text(to_latex(hostile_table()))
    wide = replace(hostile_table(), columns=[*hostile_table().columns[:1], *hostile_table().columns[1:] * 8])
    rows = [[row[0], *row[1:] * 8] for row in hostile_table().groups[0].rows]
    (tmp_path / "tables" / "wide.tex").write_text(to_latex(replace(wide, groups=[RowGroup("", rows)])))
    includes = "".join(rf"\input{{{path}}}" for path in sorted((tmp_path / "tables").glob("*.tex")))
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{includes}\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def _run(*arguments):
    command = [sys.executable, "-m", "causal2vec.reporting", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_command_line(tmp_path, jobs):
    assert _run("scores", "--jobs", *jobs, "--mteb", tmp_path / "m", "--output", tmp_path / "s.csv").returncode == 0
    given = ["--scores", tmp_path / "s.csv", "--order", *ORDER]
    done = _run("tables", *given, "--output", tmp_path / "t", "--note", "one", "--note", "two")
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (tmp_path / "t").glob("*.md")) == ["main", "tasks"]
    assert "- one\n- two\n" in (tmp_path / "t" / "main.md").read_text()
    refused = _run("tables", *given, "--output", tmp_path / "t", "--bases", "huge")
    assert refused.returncode == 2 and "'huge' has no scores; name some of these: tiny" in refused.stderr
    failed = _run("plots", "--scores", tmp_path / "none.csv", "--output", tmp_path / "p")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1


def test_reporting_needs_no_model_library():
    code = (
        "import sys, causal2vec.reporting.__main__, causal2vec.reporting.plots, causal2vec.reporting.tables;"
        "found = {'torch', 'mteb', 'transformers', 'matplotlib.pyplot'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(found)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_help_is_quick_because_it_loads_nothing_large():
    code = "import sys, causal2vec.reporting.__main__; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_sources_stay_short():
    import causal2vec.reporting

    for path in Path(causal2vec.reporting.__file__).parent.glob("*.py"):
        assert len(path.read_text().splitlines()) < 300, path
