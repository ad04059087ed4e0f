"""The efficiency claim at its published conditions: the data, the table, the verdict."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from conftest import ROOT
from test_efficiency_report import claim, study
from test_tables import build, named

from causal2vec.efficiency.law import Law, Linear, Part, Reading, Shape
from causal2vec.efficiency.published import (
    EXAMPLES,
    PROMPTS,
    characters_per_token,
    conditions,
    rate_of,
    savings,
)
from causal2vec.evaluation.prompts import load_prompts
from causal2vec.fingerprint import closure
from causal2vec.reporting.claims.ledger import check_claims
from causal2vec.reporting.render.plain import to_markdown
from causal2vec.reporting.schema import PUBLISHED_LENGTH

ONE = Linear(1, 1, 1)
LAWS = {
    "causal2vec": Law(*[Reading(Linear(3, 1, 1), Linear(2, 1), Linear(1), Linear(2))] * 2),
    "echo": Law(*[Reading(Linear(8, 2, 1), Linear(), Linear(3, 0, 1), Linear(0, 1))] * 2),
    "in_context": Law(
        Reading(Linear(7, 1, 1, 1), Linear(), Linear(1, 0, 1, 1), Linear(1)),
        Reading(Linear(2, 1), Linear(), Linear(1), Linear(1)),
    ),
}
LLM = Part(1e8, 8, 576, 1e6)
SHAPES = {"causal2vec": Shape(LLM, Part(4e6, 2, 384), 1e5), "echo": Shape(LLM), "in_context": Shape(LLM)}


@pytest.fixture(scope="module")
def found():
    return conditions(load_prompts(PROMPTS))


@pytest.fixture(scope="module")
def table(found):
    made = savings(*found, LAWS, SHAPES, "causal2vec", rate=[(16, 1e11), (256, 2e11)])
    made.insert(0, "base", study().summary.entries[0][1])
    return made


def test_every_task_of_the_benchmark_has_its_lengths(found):
    tasks, ratio = found
    assert len(tasks) == 56 == len(pd.read_csv(EXAMPLES)) and 4 < ratio < 6
    assert ratio == characters_per_token(pd.read_csv(EXAMPLES))
    by_name = {task.task: task for task in tasks}
    argument = by_name["ArguAna"]
    assert (argument.queries.number, argument.documents.number) == (1298, 8626), "distinct texts, by mteb's statistics"
    assert argument.queries.characters == pytest.approx(1192.72, abs=0.01)
    assert by_name["STS12"].documents.number == 0, "texts that are alike are all queries"
    assert all(task.queries.number and task.instruction > 5 and task.examples > 50 for task in tasks)
    assert by_name["CQADupstackRetrieval"].documents.number > 400_000, "all twelve forums"


def test_who_reads_examples_pays_for_queries_and_not_for_documents(table):
    """The answer to "85 % shorter": for many tasks' queries yes; for documents, or examples read once, never."""
    icl = table[table["rival"] == "in_context"].set_index(["part", "reuse", "task"])["tokens_saved"]
    assert icl["queries", "no"].max() > 95 and (icl["queries", "no"] >= 85).sum() > 28
    assert icl["documents", "no"].max() < 0, "the Contextual token is one more"
    assert icl["whole task", "no"]["MSMARCO"] < 1, "8.8 million bare documents"
    assert (icl["queries", "yes"] < 85).all()
    echo = table[table["rival"] == "echo"]
    assert echo["tokens_saved"].max() < 75


def test_a_text_is_cut_and_time_follows_the_rate(table):
    assert table["text_tokens"].max() == PUBLISHED_LENGTH
    sts = table[(table["task"] == "STS12") & (table["part"] == "queries") & (table["reuse"] == "no")].set_index("rival")
    assert sts.loc["in_context", "time_saved"] != sts.loc["in_context", "flops_saved"], (
        "short texts run at another rate"
    )


def test_rate_is_that_of_one_method_on_texts_that_are_read_whole():
    rows = pd.DataFrame(
        [
            ("last_token", "b", "64", "no", 66.0, 2.0, 50.0),
            ("last_token", "b", "16", "no", 18.0, 1.0, 80.0),
            ("last_token", "b", "mixed", "no", 40.0, 9.0, 9.0),
            ("last_token", "b", "64", "yes", 20.0, 9.0, 9.0),
            ("echo", "b", "64", "no", 130.0, 9.0, 9.0),
        ],
        columns=["method", "base", "text_tokens", "reuse", "computed_tokens", "gflops_per_text", "texts_per_second"],
    )
    assert rate_of(rows, "b") == [(18.0, 80e9), (66.0, 100e9)]


def test_the_table_counts_the_tasks_that_reach_the_claim(table):
    made = build(replace(study(), published=table), "published_savings")
    rows = {(row["rival"][0], row["reuse"][0]): row for row in named(made)["Queries"]}
    reached = (table[(table["rival"] == "in_context") & (table["part"] == "queries") & (table["reuse"] == "no")]
               ["tokens_saved"] >= 85).sum()  # fmt: skip
    assert rows["in_context", "no"]["tokens_reached"][0] == reached > 0
    assert rows["in_context", "yes"]["tokens_reached"][0] == 0
    assert rows["echo", "no"]["tokens_most"][0] < 75
    text = to_markdown(made)
    assert "by the law of costs" in text.lower() and "not measured" in text
    assert build(study(), "published_savings") is None


def test_up_to_is_reached_where_it_was_published_whatever_is_measured_here(table):
    from test_efficiency_report import CONFIG
    from test_efficiency_report import conditions as measured

    plain = measured(settings=["plain"])
    for published, word in ((None, "inconclusive"), (table, "reached")):
        [verdict] = check_claims(study(plain, manifest={"config": CONFIG}, published=published), [claim()])
        assert verdict.verdict == word
    assert "at the published conditions (MTEB(eng, v1)" in verdict.evidence
    assert "queries: " in verdict.evidence and "of 56 tasks, most 9" in verdict.evidence
    [verdict] = check_claims(study(plain, manifest={"config": CONFIG}, published=table), [claim("echo")])
    assert verdict.verdict == "not reached" and "queries: 0 of 56 tasks" in verdict.evidence


def test_lengths_and_instructions_are_part_of_the_rules_code():
    """They decide the numbers, so that a change in either makes the table again."""
    found = {path.name for path in closure(ROOT / "workflow" / "scripts" / "predict_published.py")}
    assert {EXAMPLES.name, PROMPTS.name, "law.py"} <= found
