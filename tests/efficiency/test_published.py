"""The efficiency claim at its published conditions: the data, the table, the verdict."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from conftest import ROOT
from test_efficiency_report import claim, study
from test_tables import build, named

from causal2vec.config.prompts import load_prompts
from causal2vec.config.settings import Efficiency
from causal2vec.efficiency.law import Law, Lengths, Linear, Part, Reading, Shape, Speed, texts_per_batch
from causal2vec.efficiency.names import EMBED, GROW, PUBLISHED_LENGTH
from causal2vec.efficiency.published import (
    EXAMPLE_LENGTHS,
    PROMPTS,
    Methods,
    characters_per_token,
    conditions,
    curves,
    measured_speed,
    savings,
)
from causal2vec.reporting.analysis.claims.ledger import check_claims
from causal2vec.reporting.show.render.plain import to_markdown
from causal2vec.runtime.fingerprint import closure

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
    made = savings(*found, Methods(LAWS, SHAPES, Speed(2e11, 0.0, 0.03)), "causal2vec")
    made.insert(0, "base", study().summary.entries[0][1])
    return made


def test_every_task_of_the_benchmark_has_its_lengths(found):
    tasks, ratio = found
    assert len(tasks) == 56 == len(pd.read_csv(EXAMPLE_LENGTHS)) and 4 < ratio < 6
    assert ratio == characters_per_token(pd.read_csv(EXAMPLE_LENGTHS))
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
    assert sts.loc["in_context", "time_saved"] > sts.loc["in_context", "flops_saved"], "fewer batches take time besides"


def test_a_batch_holds_more_texts_of_a_method_that_reads_less(found):
    """Ours reads no examples, so that its batches are fuller: time is saved at least as FLOPs are."""
    law = {name: LAWS[name] for name in ("causal2vec", "in_context")}
    lengths = Lengths(20, 15, 300)
    fuller = [texts_per_batch(law[name], lengths, 4096) for name in law]
    assert fuller == [4096 // 38, 4096 // 342]
    assert texts_per_batch(law["in_context"], lengths, 4096, reuse=True) == 4096 // (342 - 316)
    assert texts_per_batch(law["in_context"], Lengths(9000), 4096) == 1
    saved = savings(*found, Methods(law, SHAPES, Speed(2e11, 0.0, 0.03)), "causal2vec")
    queries = saved[(saved["part"] == "queries") & (saved["reuse"] == "no")]
    assert (queries["time_saved"] >= queries["flops_saved"] - 1).all()


def test_speed_is_that_of_one_method_on_texts_of_one_length_that_are_read_whole():
    rows = pd.DataFrame(
        [
            ("last_token", "b", "64", "no", 8, 4.0, 20.0),
            ("last_token", "b", "16", "no", 8, 1.0, 5.0),
            ("last_token", "b", "mixed", "no", 8, 9.0, 999.0),
            ("last_token", "b", "64", "yes", 8, 9.0, 999.0),
            ("echo", "b", "64", "no", 8, 9.0, 999.0),
            ("last_token", "another", "64", "no", 8, 9.0, 999.0),
        ],
        columns=["method", "base", "text_tokens", "reuse", "batch_size", "gflops_per_text", "seconds_per_1000_texts"],
    )
    assert measured_speed(rows, "b").seconds(2e11) == pytest.approx(1.0)
    assert measured_speed(rows, "nowhere") is None


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
    found = {path.name for path in closure(ROOT / "workflow" / "scripts" / "predict_costs.py")}
    assert {EXAMPLE_LENGTHS.name, PROMPTS.name, "law.py"} <= found


def test_curves_run_through_what_was_measured_and_between():
    """The same number of texts as a measurement has; what is read once is there only where that changes something."""
    settings = Efficiency(lengths=[16, 64], settings_lengths=[64], example_tokens=[400, 100], texts=32, max_tokens=768)
    rows = [("plain", text, 0) for text in (16, 64)] + [
        ("instruction", 64, 20),
        ("examples", 64, 420),
        ("examples", 64, 120),
    ]
    measured = pd.DataFrame(
        [(setting, str(text), prompt, 4096) for setting, text, prompt in rows] + [("plain", "mixed", 0, 4096)],
        columns=["setting", "text_tokens", "prompt_tokens", "batch_tokens"],
    )
    made = curves(Methods(LAWS, SHAPES, Speed(1e11, 0.0, 0.01)), measured, settings)
    embed, grow = (made[made["what"] == what].drop(columns="what") for what in (EMBED, GROW))
    own = embed[embed["method"] == "echo"]
    plain = own[own["setting"] == "plain"]
    assert sorted(plain["text_tokens"]) == [16, 23, 32, 45, 64] and (plain["reuse"] == "no").all()
    shown = own[(own["setting"] == "examples") & (own["reuse"] == "no")]
    assert {120.0, 420.0} < set(shown["prompt_tokens"]) and set(shown["text_tokens"]) == {64}
    assert shown["prompt_tokens"].min() == 20 and shown["prompt_tokens"].max() == 420
    at = shown.set_index("prompt_tokens").loc[420.0]
    assert (at["llm_tokens"], at["computed_tokens"]) == (8 + 2 * 64 + 420, 8 + 2 * 64 + 420)
    assert at["ms_per_text"] == pytest.approx(10 * at["gflops_per_text"] + 10 / 2), "two texts of 484 tokens to a batch"
    once = own[(own["reuse"] == "yes") & (own["prompt_tokens"] == 420)].iloc[0]
    head = 3 + 420
    assert once["computed_tokens"] == pytest.approx(at["llm_tokens"] - head + head / 12), "12 texts of 64 tokens"
    assert not len(embed[(embed["method"] == "bidirectional") & (embed["reuse"] == "yes")])
    assert set(grow["text_tokens"]) == {64}, "where it was asked behind an instruction"
    last = grow[(grow["method"] == "causal2vec") & (grow["setting"] == "instruction")].iloc[0]
    assert last["llm_tokens"] == 3 + 64 + 32 + 20 and last["computed_tokens"] == last["llm_tokens"] - 1


def test_predictions_are_written_and_read_again(table, tmp_path):
    """What cannot be read is said in a sentence, as of every file of results."""
    from causal2vec.errors import UserError
    from causal2vec.reporting.read.schema import PUBLISHED_COLUMNS, PUBLISHED_KEY, read_table

    path = tmp_path / "efficiency_published.csv"
    table[list(PUBLISHED_COLUMNS)].to_csv(path, index=False)
    assert len(read_table(path, PUBLISHED_COLUMNS, PUBLISHED_KEY)) == len(table)
    path.write_text(path.read_text().replace("whole task", "half", 1))
    with pytest.raises(UserError, match=r"efficiency_published\.csv, line \d+: part: .*'queries'.*'half'"):
        read_table(path, PUBLISHED_COLUMNS, PUBLISHED_KEY)


def test_the_report_tells_it_in_five_sentences(table):
    from causal2vec.reporting.show.report.answers import published_sentences

    told = published_sentences(replace(study(), published=table))
    assert len(told) == 5 and published_sentences(study()) == []
    icl = table[(table["rival"] == "in_context") & (table["reuse"] == "no")]
    for words, part in (("queries alone", "queries"), ("documents alone", "documents"), ("whole tasks", "whole task")):
        own = icl[icl["part"] == part]
        [sentence] = [text for text in told if f"85 % fewer tokens for {words}" in text]
        assert f"on {(own['tokens_saved'] >= 85).sum()} of {len(own)} tasks" in sentence
        assert f"82 % less time on {(own['time_saved'] >= 82).sum()}." in sentence
    assert "reads its examples once" in told[3] and "it is on 0" in told[3]
    assert "reads a text twice" in told[4]
