"""Tables of scores, from studies in which every number is known."""

import math
from dataclasses import replace

import pytest
from fixtures_reporting import (
    CONTROLS,
    LAYOUT,
    LLM,
    ORDER,
    OTHER_LLM,
    SCORES,
    SHIPPED,
    SMALL,
    TYPES,
    make_evidence,
    make_study,
    make_suite,
    on_llm,
)

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.evidence import ALL, Evidence
from causal2vec.reporting.show.render.latex import to_latex
from causal2vec.reporting.show.render.plain import to_csv, to_markdown
from causal2vec.reporting.show.tables.build import build_tables, write_tables
from causal2vec.reporting.show.tables.grid import GAP, WEAK, format_cell, marks
from causal2vec.reporting.show.tables.layout import Layout, load_layout

SEEDED = {(method, "tiny", seed): values for (method, seed), values in SCORES.items()}


def build(study, name, **changes):
    """One shipped table of a study, or None if it is not made."""
    spec = load_layout(LAYOUT).tables[name]
    layout = Layout(tables={name: spec.model_copy(update=changes)})
    return next(iter(build_tables(study, layout)), None)


def named(table):
    """Rows by group, each a dictionary of (value, mark, sign) by column key."""
    found = {}
    for group, group_marks in zip(table.groups, marks(table), strict=True):
        for row, row_marks in zip(group.rows, group_marks, strict=True):
            cells = zip(table.columns, row, row_marks, strict=True)
            found.setdefault(group.title, []).append({c.key: (cell.value, mark, cell.sign) for c, cell, mark in cells})
    return found


def shown(table):
    """Rows as readers see them, by the first column."""
    return {
        row[0].value: [format_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)][1:]
        for group in table.groups
        for row in group.rows
    }


def cells(table):
    """Rows of a Markdown table, by the first column."""
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    return {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in lines}


def test_trained_and_untrained_methods_have_tables_of_their_own():
    study = make_study(SEEDED)
    main, untrained = cells(build(study, "main")), cells(build(study, "zero_shot"))
    # Retrieval: 62.5, 55.0, 50.0; STS: 85.0 twice, then 70.0.
    assert main["causal2vec"] == ["**62.5**", "**85.0**", "**70.0**"]
    assert main[r"last\_token"] == ["<u>55.0</u>", "**85.0**", "<u>65.0</u>"]
    assert main["echo"] == ["50.0", "<u>70.0</u>", "56.7"]
    assert untrained[r"causal2vec-zero\_shot"] == ["<u>25.0</u>", "**25.0**", "<u>25.0</u>"]
    assert untrained[r"echo-zero\_shot"] == ["**30.0**", "<u>20.0</u>", "**26.7**"]
    assert not any("zero" in name for name in main) and len(untrained) == 5
    assert main["Method"] == ["Retrieval (2)", "STS (1)", "Average (3)"]


def test_incomplete_average_is_a_gap_that_the_notes_explain():
    table = build(make_study({("last_token", "a"): [0.5] * 3, ("echo", "a"): [0.9, None, 0.9]}), "main")
    assert shown(table)["echo"] == [GAP, "90.0", GAP]
    assert "Missing for echo: SciFact." in table.notes
    assert to_csv(table).splitlines()[2] == "Trained on the same pairs,echo,,,,90.0,,,,,"


def test_intervals_stand_beside_scores_and_their_ends_in_the_csv():
    table = build(make_study(on_llm(LLM), evidence=True), "main")
    assert shown(table)["echo"] == ["52.5 ±2.0", "70.0 ±2.0", "58.3 ±2.0"]
    header, first = (line.split(",") for line in to_csv(table).splitlines()[:2])
    row = dict(zip(header, first, strict=True))
    assert [row[f"STS{end}"] for end in ("", "_low", "_high")] == ["75.0", "73.0", "77.0"]
    assert WEAK not in to_csv(table) and "±" not in to_csv(table)


def test_a_best_that_is_not_significantly_better_says_so():
    study = make_study(on_llm(LLM), evidence=True, half=0.055)
    rows = named(build(study, "main"))["Trained on the same pairs"]
    # Retrieval: 59.5 over 52.5; STS: 75.0 over 70.0; average: 64.7 over 58.3.
    assert [rows[0][key][1:] for key in ("Retrieval", "STS", "Average")] == [("best", ""), ("best", WEAK), ("best", "")]
    assert all(cell[2] == "" for row in rows[1:] for cell in row.values())
    assert " **75.0**° ±5.5 |" in to_markdown(build(study, "main"))
    tasks = build(study, "tasks")
    assert {row[0].value: row[1].sign for group in tasks.groups for row in group.rows} == {
        "NFCorpus": "",
        "SciFact": "",  # 6.0 over 53.0
        "STSBenchmark": WEAK,
        "Average": "",
    }


def test_a_tie_for_the_best_and_an_untested_best_bear_no_sign():
    tied = make_study({("echo", "a"): [0.5] * 3, ("last_token", "a"): [0.5] * 3, ("causal2vec", "a"): [0.49] * 3})
    study = replace(tied, evidence=make_evidence(tied.summary))
    assert WEAK not in to_markdown(build(study, "main")).split("\n- ")[0]
    # Without items there is neither an interval nor a p-value; a missing sign must not pass for significance.
    evidence = study.evidence
    untested = {k: replace(d, low=math.nan, high=math.nan, p_holm=math.nan) for k, d in evidence.differences.items()}
    scores = {k: replace(e, low=math.nan, high=math.nan) for k, e in evidence.estimates.items()}
    table = build(replace(study, evidence=Evidence(scores, untested)), "main")
    assert WEAK not in to_markdown(table) and "±" not in to_markdown(table)
    assert any(note.startswith("No intervals and no tests") for note in table.notes)
    assert any(note.startswith("No intervals and no tests") for note in build(tied, "main").notes)


def test_scores_without_items_beside_others_are_pointed_out():
    study = make_study(on_llm(LLM), evidence=True)
    estimates = {k: e for k, e in study.evidence.estimates.items() if k[1] not in (ALL, ("type", "STS"))}
    table = build(replace(study, evidence=replace(study.evidence, estimates=estimates)), "main")
    assert shown(table)["echo"] == ["52.5 ±2.0", "70.0", "58.3"]
    assert any(note.startswith("Without ±: item-level results are missing") for note in table.notes)


def test_several_bases_get_a_column_and_groups_of_their_own():
    table = build(make_study({("echo", "a"): [0.5] * 3, ("echo", "b"): [0.6] * 3}), "main")
    assert [column.title for column in table.columns[:2]] == ["Method", "Base"]
    titles = [f"Trained on the same pairs, base {base}" for base in "ab"]
    assert [group.title for group in table.groups] == titles


def test_controls_are_compared_with_everything_on_the_llm():
    study = make_study(on_llm(LLM) | CONTROLS, bases=[LLM])
    table = build(study, "main")
    rows = named(table)["Trained on the same pairs"]
    expected = [(method, LLM) for method in ORDER[:4]] + [("encoder_only", SMALL)]
    assert [(r["method"][0], r["base"][0]) for r in rows] == expected
    assert to_latex(table).count(r"\begin{table}") == 1
    assert [r["method"][0] for r in rows if r["Retrieval"][1]] == ["causal2vec", "encoder_only"]  # 59.5 and 55.5
    untrained = named(build(study, "zero_shot"))["Untrained (-zero_shot)"]
    assert [r["base"][0] for r in untrained[-2:]] == [SHIPPED, SMALL]
    note = f"Controls, on another base than {LLM}: encoder_only ({SMALL})."
    assert note in table.notes


def test_controls_stand_beside_each_of_several_llms():
    study = make_study(on_llm(LLM) | on_llm(OTHER_LLM, 0.05) | CONTROLS, bases=[LLM, OTHER_LLM], evidence=True)
    groups = named(build(study, "main"))
    assert list(groups) == [f"Trained on the same pairs, base {base}" for base in (LLM, OTHER_LLM)]
    for title, rows in groups.items():
        assert {r["base"][0] for r in rows} - {SMALL} == {title.split(", base ")[1]}
    assert len(named(build(replace(study, bases=None), "main"))) == 3  # every base alone
    keys = [column.key for column in build(study, "tasks").columns]
    assert len(keys) == len(set(keys)) and {"encoder_only", f"encoder_only, base {OTHER_LLM}"} < set(keys)


def test_tasks_are_compared_along_each_row():
    table = build(make_study(SEEDED), "tasks")
    methods = ["causal2vec", "last_token", "echo", "causal2vec-zero_shot", "echo-zero_shot"]
    assert [column.key for column in table.columns][1:] == methods
    assert marks(table)[0][0] == ["", "best", "second", "", "second", "best"]  # NFCorpus
    assert [group.title for group in table.groups] == ["Retrieval", "STS", "All tasks"]


def test_tasks_name_a_base_only_where_a_method_has_several():
    table = build(make_study(on_llm(LLM) | CONTROLS, bases=[LLM]), "tasks")
    titles = [column.title for column in table.columns[1:]]
    assert titles[:5] == ORDER
    assert titles[-2:] == [f"encoder_only-zero_shot ({base})" for base in (SHIPPED, SMALL)]
    assert to_markdown(table).count("| Task ") == 1  # in one part


def test_variants_of_ablations_stand_in_the_tables_of_tasks_only():
    scores = on_llm(LLM) | {("causal2vec+pooling=eos", LLM): [0.9, 0.9, 0.9]}
    study = make_suite(scores, bases=[LLM], order=[*ORDER, "causal2vec+pooling=eos"], evidence=True)
    found = {table.name: to_markdown(table) for table in build_tables(study, load_layout(LAYOUT))}
    assert [name for name, text in found.items() if "pooling=eos" in text] == ["tasks"]
    assert "Ablation variants" in [column.group for column in build(study, "tasks").columns]
    assert cells(build(study, "main"))["causal2vec"][0].startswith("**59.5**")


def test_own_columns_average_the_named_tasks():
    columns = ["STS", "SciFact", {"title": "Short", "tasks": ["NFCorpus", "STSBenchmark"]}, "ImdbClassification"]
    spec = {"kind": "scores", "title": "T", "rows": ["trained"], "columns": columns, "decimals": 2}
    (table,) = build_tables(make_study(SEEDED, evidence=True), Layout(tables={"own": spec}))
    assert [c.title for c in table.columns] == ["Method", "STS (1)", "SciFact", "Short (2)", "ImdbClassification"]
    # No statistics are kept for tasks of one's own choice; a task of a benchmark that was not evaluated is a gap.
    assert shown(table)["echo"] == ["70.00 ±2.00", "60.00 ±2.00", "55.00", GAP]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("STSBenchmrk", r"table 'own': 'STSBenchmrk' is neither .* \(did you mean 'STSBenchmark'\?\)"),
        ({"title": "STS", "tasks": ["SciFact"]}, "two columns are called 'STS'"),
        ({"title": "X", "tasks": ["SciFact", "SciFact"]}, "names a task twice"),
    ],
)
def test_columns_that_do_not_exist_are_refused(column, message):
    spec = {"kind": "scores", "title": "T", "rows": ["trained"], "columns": ["STS", column]}
    with pytest.raises(UserError, match=message):
        build_tables(make_study(SEEDED), Layout(tables={"own": spec}))


def test_every_table_ends_with_the_notes_and_comes_in_four_forms_with_the_same_bytes(tmp_path):
    study = make_suite(on_llm(LLM) | CONTROLS, bases=[LLM], evidence=True, notes=["small-scale: x", "manifest 12ab."])
    tables = write_tables(study, tmp_path / "a", load_layout(LAYOUT))
    reference = "published_mteb_eng_v1"
    names = ["main", "zero_shot", "tasks", reference, "statistics", "differences", "efficiency", "training"]
    assert [table.name for table in tables] == names
    endings = {table.name: table.notes[-2:] for table in tables}
    assert endings.pop(reference) == ["None of these numbers was measured here.", "manifest 12ab."]
    assert all(ending == ["small-scale: x", "manifest 12ab."] for ending in endings.values())
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    suffixes = ("md", "csv", "tex", "tabular.tex", "html")
    assert files == sorted(f"{name}.{suffix}" for name in names for suffix in suffixes)
    write_tables(study, tmp_path / "b", load_layout(LAYOUT))
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    assert (tmp_path / "a" / "main.md").read_text().endswith("- small-scale: x\n- manifest 12ab.\n")


def test_one_method_on_one_task_and_nothing_else_is_a_study_too():
    study = make_study({("echo", "a"): [0.5]}, {"STSBenchmark": "STS"})
    found = {table.name: table for table in build_tables(study, load_layout(LAYOUT))}
    assert list(found) == ["main", "tasks", "published_mteb_eng_v1"]
    assert shown(found["main"]) == {"echo": ["50.0", "50.0"]}


def test_types_are_in_the_order_of_the_papers():
    types = {"B": "STS", "A": "Zoo", "C": "Retrieval", "D": "Summarization", **TYPES}
    table = build(make_study({("echo", "a"): [0.5] * len(types)}, types), "main")
    assert [c.key for c in table.columns[1:]] == ["Retrieval", "STS", "Summarization", "Zoo", "Average"]
