"""The layout of tables and the tasks of known benchmarks; tables of benchmarks."""

from collections import Counter

import pytest
from fixtures_reporting import LAYOUT, make_study
from test_tables import build, named, shown

from causal2vec.errors import UserError
from causal2vec.reporting.read.benchmarks import benchmark_part, load_benchmarks, task_types, types_of
from causal2vec.reporting.read.others import External, ExternalModel
from causal2vec.reporting.show.tables.grid import GAP
from causal2vec.reporting.show.tables.layout import load_layout
from causal2vec.reporting.show.tables.scores import ForeignRow, Measure, foreign_cell, published

SUBSET = "LLM2Vec 15-task subset"


def test_the_shipped_layout_holds_what_the_papers_print():
    tables = load_layout(LAYOUT).tables
    assert list(tables)[:3] == ["main", "zero_shot", "tasks"]
    assert {"efficiency", "ablations", "training", "statistics", "differences"} < set(tables)
    assert {spec.benchmark for spec in tables.values() if spec.kind == "benchmark"} == set(load_benchmarks())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: scores", "kind: scors", r"tables\.main\.kind: no kind of table is called 'scors' \(did you mean 'sco"),
        (
            "    kind: training",
            "    knd: training",
            r"key 'tables\.training\.kind' is missing; add it \(known: scores, ",
        ),
        ("title: Ablations", "titel: Ablations", r"unknown key 'tables\.ablations\.titel' \(did you mean 'title'\?\)"),
        ("better: lower, ratio_of: llm_tokens", "bettr: lower", r"'tables\.efficiency\.columns\.8\.bettr' \(did you m"),
        ("benchmark: MTEB(eng, v2)", "benchmark: MTEB(eng, v9)", r"no benchmark is called 'MTEB\(eng, v9\)' \(did you"),
        ("key: iqm", "key: iqn", r"tables\.statistics: no number is called 'iqn' \(did you mean 'iqm'\?\)"),
        ("key: mean_rank", "key: iqm", r"tables\.statistics: two columns have the key 'iqm'"),
        ("[types, average]", "[{title: x}]", r"tables\.main\.columns\.0: the column 'x' needs either 'tasks' or 'ben"),
        ("[types, average]", "[{title: x, taks: [a]}]", r"unknown key 'tables\.main\.columns\.0\.taks' \(did you mean"),
        ("[types, average]", "[3]", r"tables\.main\.columns\.0: Input should be a valid string"),
        ("number: p}", "number: p, better: lower}", r"shows p-values, which are not ranked"),
        ("number: .2f, scale", "number: two, scale", r"tables\.statistics\.columns\.1\.number: String should match"),
        ("rows: [untrained]", "rows: [untraind]", r"tables\.zero_shot\.rows\.0: Input should be 'trained', 'untrai"),
        ("  zero_shot:", "  ../zero_shot:", r"String should match pattern"),
        ("tables:", "table:", r"unknown key 'table' \(did you mean 'tables'\?\)"),
        ("tables:", "tables: [", r"is not valid YAML"),
    ],
)
def test_faults_are_named_in_one_sentence(tmp_path, old, new, message):
    text = LAYOUT.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "tables.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        load_layout(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_an_absent_or_empty_layout_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_layout(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(UserError, match="must hold a mapping"):
        load_layout(tmp_path / "empty.yaml")


def test_benchmarks_are_those_of_the_installed_mteb():
    mteb = pytest.importorskip("mteb")
    for name in ("MTEB(eng, v1)", "MTEB(eng, v2)"):
        tasks = {task.metadata.name: task for task in mteb.get_benchmark(name).tasks}
        ours = load_benchmarks()[name]
        assert sorted(ours) == sorted(tasks), name
        for task in ours:
            found = tasks[task]
            assert task_types()[task] == found.metadata.type
            assert [benchmark_part(task)] == [(s, h) for s in found.eval_splits for h in found.hf_subsets]


def test_benchmarks_are_complete():
    found = load_benchmarks()
    assert {name: len(set(tasks)) for name, tasks in found.items()} == {
        "MTEB(eng, v1)": 56,
        "MTEB(eng, v2)": 41,
        SUBSET: 15,
    }
    assert set(task_types()) == {task for tasks in found.values() for task in tasks}
    assert Counter({kind: len(tasks) for kind, tasks in types_of(found["MTEB(eng, v1)"]).items()}) == {
        "Retrieval": 15, "Reranking": 4, "Clustering": 11, "PairClassification": 3, "Classification": 12, "STS": 10,
        "Summarization": 1,
    }  # fmt: skip
    assert benchmark_part("SomethingElse") is None


def whole_benchmark(*methods, lacking=0, subsets=("default",)):
    tasks = load_benchmarks()[SUBSET]
    scores = {(m, "a"): [0.5 + i / 100] * (len(tasks) - lacking) + [None] * lacking for i, m in enumerate(methods)}
    return make_study(scores, {task: task_types()[task] for task in tasks}, subsets=subsets)


def test_a_benchmark_has_a_table_only_if_a_method_has_all_of_it():
    table = build(whole_benchmark("echo", "last_token"), "benchmark_llm2vec_15")
    ours = named(table)["Trained on the same pairs"]
    assert [(r["method"][0], r["Average"][:2]) for r in ours] == [
        ("last_token", (51.0, "best")),
        ("echo", (50.0, "second")),
    ]
    assert [c.title for c in table.columns][-1] == "Average (15)"
    assert build(whole_benchmark("echo", lacking=1), "benchmark_llm2vec_15") is None
    assert build(whole_benchmark("echo"), "benchmark_mteb_eng_v1") is None


def test_published_rows_stand_below_ours_with_their_source_and_are_not_ranked():
    table = build(whole_benchmark("echo"), "benchmark_llm2vec_15")
    groups = named(table)
    titles = [title for title in groups if title.startswith("Published (not ours): ")]
    assert titles and next(iter(groups)) == "Trained on the same pairs"
    marked = [cell for title in titles for row in groups[title] for cell in row.values() if cell[1] or cell[2]]
    assert not marked
    types = types_of(load_benchmarks()[SUBSET])
    rows = [row for group in published(SUBSET, types, ["Average"]) for row in group.rows]
    notes = "\n".join(table.notes)
    assert rows and all(row.source in notes and row.setting for row in rows)
    assert {round(row.values["Average"], 6) for row in rows} <= {
        round(row["Average"][0], 6) for title in titles for row in groups[title] if row["Average"][0] is not None
    }
    alone = build(whole_benchmark("echo"), "benchmark_llm2vec_15", rows=["trained"])
    assert list(named(alone)) == ["Trained on the same pairs"] and "setting" not in [c.key for c in alone.columns]


def test_third_hand_numbers_say_so():
    types = types_of(load_benchmarks()["MTEB(eng, v1)"])
    rows = [row for group in published("MTEB(eng, v1)", types, ["Average"]) for row in group.rows]
    assert any(row.setting.endswith("(third-hand)") for row in rows)


def test_other_parts_than_the_benchmarks_are_pointed_out():
    table = build(whole_benchmark("echo", subsets=("default", "fr")), "benchmark_llm2vec_15")
    note = next(note for note in table.notes if note.startswith("Ours on other parts than the benchmark's"))
    assert "STS17 (test/default, test/fr)" in note and "SciFact (test/default, test/fr)" in note
    assert "SciFact" not in "\n".join(
        note for note in build(whole_benchmark("echo"), "benchmark_llm2vec_15").notes if note.startswith("Ours on")
    )


def imported_study(scores):
    """A study of three tasks, with one imported model."""
    model = ExternalModel("org/model", "org__model/abc", scores, ["Other data of SciFact."], [])
    return make_study({("echo", "a"): [0.5] * 3}, external=External([model], ["One folder was left out."]))


def test_imported_models_stand_below_ours_and_are_not_ranked():
    study = imported_study({"NFCorpus": 0.9, "SciFact": 0.8})
    table = build(study, "main")
    assert [group.title for group in table.groups] == ["Trained on the same pairs", "Imported (not ours)"]
    row = named(table)["Imported (not ours)"][0]
    assert row["Retrieval"] == (pytest.approx(85.0), "", "") and row["Average"][0] is None
    assert shown(table)["org/model"][-1] == GAP
    expected = {"org/model: org__model/abc.", "org/model: Other data of SciFact.", "One folder was left out."}
    assert expected < set(table.notes)
    tasks = build(study, "tasks")
    assert tasks.columns[-1].title == "org/model" and tasks.columns[-1].group == "Imported (not ours)"
    assert shown(tasks)["SciFact"] == ["50.0", "80.0"] and shown(tasks)["STSBenchmark"] == ["50.0", GAP]
    assert build(study, "main", rows=["trained"]).groups[1:] == []


def test_own_columns_never_take_a_published_number_of_the_same_name():
    row = ForeignRow(("m", "b"), "s", "source", {"Retrieval": 1.0, "SciFact": 2.0, "NFCorpus": 4.0})
    assert row.average("Retrieval", ["SciFact"]) == 1.0
    own = Measure("Retrieval (1)", "Retrieval", ["SciFact", "NFCorpus"], None)
    assert foreign_cell(row, own).value == 3.0
    assert foreign_cell(row, Measure("X", "X", ["SciFact", "STS12"], None)).value is None
