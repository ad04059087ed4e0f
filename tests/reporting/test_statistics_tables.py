"""Tables of statistics and ablations, from studies in which every number is known."""

import math
from dataclasses import replace

import pytest
from fixtures_reporting import CONTROLS, LLM, ORDER, OTHER_LLM, make_evidence, make_study, on_llm
from test_tables import build, cells, named, shown

from causal2vec.reporting.analysis.evidence import ALL, Evidence
from causal2vec.reporting.analysis.study import Ablation
from causal2vec.reporting.show.render.plain import to_csv
from causal2vec.reporting.show.tables.grid import GAP

EOS, CONTEXTUAL = "causal2vec+pooling=eos", "causal2vec+pooling=contextual"
POOLING = Ablation(
    "pooling", "causal2vec", "settings.pooling", {"concat": "causal2vec", "contextual": CONTEXTUAL, "eos": EOS}, True
)
ABLATED = on_llm(LLM) | {(EOS, LLM): [0.58, 0.58, 0.74], (CONTEXTUAL, LLM): [0.5, 0.5, 0.5]}


def ablated(scores=ABLATED, **more):
    given = {"ablations": [POOLING], "bases": [LLM], "order": [*ORDER, CONTEXTUAL, EOS], "evidence": True}
    return make_study(scores, **{**given, **more})


def test_standings_are_those_of_the_panel():
    study = make_study(on_llm(LLM) | CONTROLS, bases=[LLM], evidence=True)
    table = build(study, "statistics")
    groups = named(table)
    assert [len(rows) for rows in groups.values()] == [5, 5]
    first = groups["Trained on the same pairs"][0]
    assert first["iqm"] == (50.0, "best", "") and first["borda_rank"] == (1.0, "best", "")
    assert first["average"][0] == pytest.approx(64.6666666667) and first["seed_sd"][0] is None
    assert shown(table)["causal2vec"][-5:] == ["50.0 ±10.0", "50 [40, 60]", "9.0", "1", "1.50"]
    assert "Made-up statistics." in table.notes
    assert any(note.startswith("IQM: ") for note in table.notes)


def test_an_entry_that_lacks_a_task_has_no_standing_and_says_so():
    study = make_study({**on_llm(LLM), ("echo", LLM): [0.5, None, 0.5]}, evidence=True)
    standings = {k: s for k, s in study.evidence.standings.items() if k[1] != ("echo", LLM)}
    table = build(replace(study, evidence=replace(study.evidence, standings=standings)), "statistics")
    assert shown(table)["echo"] == [GAP] * 7
    assert "Missing for echo: SciFact." in table.notes


@pytest.mark.parametrize("name", ["statistics", "differences"])
def test_no_statistics_no_table(name):
    assert build(make_study(on_llm(LLM)), name) is None


def test_every_pair_of_trained_methods_is_there_once():
    study = make_study({**on_llm(LLM), ("bidirectional", LLM): [0.5, None, 0.5]}, evidence=True)
    table = build(study, "differences")
    rows = table.groups[0].rows
    assert len(rows) == 6 and [c.key for c in table.columns][:2] == ["method", "minus_method"]
    pairs = {(row[0].value, row[1].value): row for row in rows}
    difference = pairs["last_token", "echo"][2]
    assert (difference.value, difference.low, difference.high) == pytest.approx((-3.0, -5.0, -1.0))
    texts = [text for row in build(study, "differences").groups[0].rows[:2] for text in [row[2]]]
    assert texts[0].value > 0
    assert pairs["echo", "bidirectional"][2].value is None
    assert any(note.startswith("A pair is compared only if") for note in table.notes)
    assert to_csv(table).startswith("group,method,minus_method,difference,difference_low,difference_high,p,win_rate,")


def test_pairs_across_bases_stand_with_their_bases():
    study = make_study(on_llm(LLM) | on_llm(OTHER_LLM, 0.05) | CONTROLS, bases=[LLM, OTHER_LLM], evidence=True)
    table = build(study, "differences")
    assert [len(group.rows) for group in table.groups] == [10, 10]  # four methods and the control on each
    assert [c.title for c in table.columns][:4] == ["Method", "Base", "minus method", "minus base"]


def test_ablations_are_compared_with_the_default():
    table = build(ablated(), "ablations")
    (group,) = table.groups
    assert group.title == "pooling: settings.pooling of causal2vec, assumed"
    rows = cells(table)
    assert rows["concat (default)"][:3] == ["**59.5**° ±2.0", "**75.0**° ±2.0", "**64.7**° ±2.0"]
    assert rows["concat (default)"][3:] == ["", ""]
    assert rows["contextual"][3:] == [r"−14.7 \[−16.7, −12.7\]", "&lt;0.001"]
    assert rows["eos"][3:] == [r"−1.3 \[−3.3, +0.7\]", "0.500"]


def test_ablations_without_statistics_still_show_the_difference():
    rows = cells(build(ablated(evidence=False), "ablations"))
    assert rows["contextual"][3:] == ["−14.7", GAP]
    # Over other seeds than the default's it would compare unlike with unlike.
    seeded = {(m, b, s): v for (m, b), v in ABLATED.items() for s in ((0, 1) if m == "causal2vec" else (0,))}
    assert cells(build(ablated(seeded, evidence=False), "ablations"))["contextual"][3:] == [GAP, GAP]


def test_ablations_without_items_show_no_interval():
    study = ablated()
    found = {
        key: replace(d, low=math.nan, high=math.nan, p=math.nan, p_holm=math.nan)
        for key, d in study.evidence.differences.items()
    }
    rows = cells(build(replace(study, evidence=Evidence({}, found)), "ablations"))
    assert rows["contextual"] == ["50.0", "50.0", "50.0", "−14.7", GAP]


def test_values_without_scores_are_gaps_and_an_ablation_without_any_is_not_there():
    partly = {entry: values for entry, values in ABLATED.items() if entry[0] != EOS}
    assert cells(build(ablated(partly), "ablations"))["eos"] == [GAP, GAP, GAP, GAP, GAP]
    assert build(ablated(on_llm(LLM)), "ablations") is None
    assert build(make_study(on_llm(LLM)), "ablations") is None


def test_a_default_that_the_ablation_does_not_list_is_shown_all_the_same():
    unlisted = replace(POOLING, variants={"contextual": CONTEXTUAL, "eos": EOS}, assumed=False)
    table = build(ablated(ablations=[unlisted]), "ablations")
    assert table.groups[0].title == "pooling: settings.pooling of causal2vec"
    assert list(shown(table)) == ["as configured (default)", "contextual", "eos"]


def test_ablations_on_several_bases_have_a_group_each():
    other = {(method, OTHER_LLM): values for (method, _), values in ABLATED.items()}
    titles = [group.title for group in build(ablated(ABLATED | other, bases=[OTHER_LLM, LLM]), "ablations").groups]
    start = "pooling: settings.pooling of causal2vec, assumed"
    assert titles == [f"{start}, base {OTHER_LLM}", f"{start}, base {LLM}"]


def test_the_default_study_of_these_tests_has_the_evidence_it_claims():
    study = ablated()
    evidence = make_evidence(study.summary, [LLM])
    assert evidence.difference((EOS, LLM), ("causal2vec", LLM), ALL).low == pytest.approx(-0.0333333333)
