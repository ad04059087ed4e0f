"""The answer in three sentences says what the numbers say, whatever is missing."""

from dataclasses import replace

import pandas as pd
import pytest
from report_data import NAN, study_of

from causal2vec.reporting.show.report.answers import answers

SMALL = {"config": {"scale_note": "small-scale: made up", "methods": {"causal2vec": {"assumed": ["place"]}}}}
COSTS = {"causal2vec": (20.0, 1.0, 0.9, 1.1), "echo": (100.0, 4.0, 3.9, 4.1)}


def plain(study):
    return [text.replace("\u00a0", " ") for text in answers(study)]


def test_a_significant_lead_is_told_with_its_interval():
    scores = {"causal2vec": 0.55, "echo": 0.60, "last_token": 0.50}
    few = [plain(study_of(scores, costs=COSTS, seeds=range(count))) for count in (1, 2)]
    for (first, second, _), seeds in zip(few, ("one seed", "2 seeds"), strict=True):
        assert f"causal2vec (4.0 to 6.0, p < 0.001, indicated on {seeds})" in first and "significant" not in first
        assert second.count(f"(4.0 to 6.0, indicated on {seeds})") == 2 and "significant" not in second
    untrained = {f"{method}-zero_shot": score for method, score in scores.items()}
    assert "p < 0.001, significant)" in plain(study_of(untrained))[0], "there is no luck of training in it"
    first, second, third = plain(study_of(scores, costs=COSTS, seeds=(0, 1, 2)))
    assert first == (
        "Of 3 trained methods, echo has the highest average over the 3 tasks, 60.0 (95 % interval 59.0 to 61.0), "
        "5.0 points above the next, causal2vec (4.0 to 6.0, p < 0.001, significant), ahead on 3 of 3 seeds."
    )
    assert second == (
        "With an average of 55.0, causal2vec is 5.0 points below echo (4.0 to 6.0, significant) and "
        "5.0 points above last_token (4.0 to 6.0, significant)."
    )
    assert third.startswith(
        "On texts of mixed length, the LLM of causal2vec reads 80 % fewer tokens than that of echo, its best measured "
        "rival on the same base, and embedding takes 75 % less time; averages vary by"
    )
    assert "all rests on one seed" in few[0][2]


def test_a_lead_within_the_noise_is_not_called_significant():
    first, second, _ = plain(study_of({"causal2vec": 0.600, "echo": 0.604}))
    assert "0.4 points above the next, causal2vec (−0.6 to 1.4, p = 0.4, not significant)" in first
    assert "0.4 points below echo (−0.6 to 1.4, not significant)" in second


def test_equal_averages_tie():
    first, second, _ = plain(study_of({"causal2vec": 0.5, "echo": 0.60001, "bidirectional": 0.59999}))
    assert "echo and bidirectional tie for the highest average over the 3 tasks, 60.0." in first
    assert "level with" not in second
    assert "level with echo (−1.0 to 1.0, not significant)" in plain(study_of({"causal2vec": 0.5, "echo": 0.5}))[1]


def test_a_method_that_lacks_a_task_has_no_average():
    study = study_of({"causal2vec": 0.9, "echo": 0.5, "last_token": 0.4}, missing=[(("causal2vec", "llm"), "STS12")])
    first, second, _ = plain(study)
    assert "echo has the highest average" in first
    assert "without an average, as tasks are missing: causal2vec." in first
    assert second == "For causal2vec there is no average, as it lacks 1 of the 3 tasks."
    nothing = study_of({"echo": 0.5}, missing=[(("echo", "llm"), "STS12")])
    assert "no average to rank by" in plain(nothing)[0]
    alone = study_of({"echo": 0.5, "causal2vec": 0.4}, missing=[(("echo", "llm"), "STS12")])
    assert "only causal2vec has a score on every task" in plain(alone)[0]
    assert "has no rival with a score on every task" in plain(alone)[1]


def test_without_causal2vec_nothing_is_said_of_it():
    _, second, third = plain(study_of({"echo": 0.5, "last_token": 0.4}, costs={"echo": COSTS["echo"]}))
    assert second.startswith("The method causal2vec is not among the compared methods")
    assert "embedding 1,000 texts takes 4.00 s with echo" in third


def test_one_method_has_nothing_to_be_compared_with():
    first, second, _ = plain(study_of({"causal2vec": 0.5}))
    assert first.startswith("Only one trained method was evaluated, causal2vec, with an average of 50.0 (95 % interval")
    assert "has no rival" in second
    assert "no difference was tested" not in plain(study_of({"causal2vec": 0.5}, spread=None))[0]


def test_without_items_no_difference_is_called_significant():
    texts = plain(study_of({"causal2vec": 0.9, "echo": 0.1}, spread=None))
    assert texts[0].endswith("no difference was tested, as no item-level results were kept.")
    assert "significant" not in " ".join(texts) and "interval" not in " ".join(texts)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ((20.0, 3.95, 3.0, 4.5), "embedding takes 1 % less time, though the ranges over repeats overlap"),
        ((150.0, 8.0, 7.9, 8.1), "reads 50 % more tokens than that of echo"),
        ((NAN, 8.0, NAN, NAN), "On texts of mixed length, causal2vec takes 100 % more time against echo;"),
        ((100.0, 4.0, 3.9, 4.1), "takes about the same time"),
    ],
)
def test_costs_say_what_was_measured(own, words):
    study = study_of({"causal2vec": 0.5, "echo": 0.6}, costs={**COSTS, "causal2vec": own})
    assert words in plain(study)[2]


def test_without_costs_or_rivals_that_is_said():
    assert plain(study_of({"causal2vec": 0.5, "echo": 0.6}))[2].startswith("What the methods cost was not measured;")
    alone = study_of({"causal2vec": 0.5, "echo": 0.6}, costs={"causal2vec": COSTS["causal2vec"]})
    assert plain(alone)[2].startswith("What causal2vec saves cannot be said")


def test_a_twin_stands_for_the_cost_of_its_method():
    costs = {"causal2vec": COSTS["causal2vec"], "echo-zero_shot": COSTS["echo"]}
    study = study_of({"causal2vec": 0.5, "echo": 0.6}, costs=costs)
    assert "80 % fewer tokens than that of echo" in plain(study)[2]


def test_without_mixed_texts_the_longest_are_taken():
    study = study_of({"causal2vec": 0.5, "echo": 0.6}, costs=COSTS)
    study.costs["text_tokens"] = "1024"
    assert plain(study)[2].startswith("On texts of 1,024 tokens, the LLM of causal2vec reads 80 % fewer tokens")


def test_seeds_scale_and_assumptions_are_named():
    one = plain(study_of({"causal2vec": 0.5, "echo": 0.6}, manifest=SMALL))[2]
    assert "one seed" in one and "small-scale" in one and "some settings are assumed" in one
    first, _, three = plain(study_of({"causal2vec": 0.5, "echo": 0.6}, seeds=(0, 1, 2)))
    assert "ahead on 3 of 3 seeds" in first
    assert "averages vary by 0.4 points (standard deviation) over 3 seeds" in three
    assert "small-scale" not in three and "assumed" not in three


def test_every_base_and_its_controls_are_told_apart():
    scores = {("causal2vec", "a"): 0.6, ("echo", "a"): 0.5, ("echo", "b"): 0.4, ("encoder_only", "mini"): 0.7}
    first, second, _ = plain(study_of(scores, bases=("a", "b"), seeds=(0, 1, 2)))
    assert first.startswith(
        "By the average over the 3 tasks, on base a, the control encoder_only (mini) leads with 70.0, 1"
    )
    assert "; on base b, the control encoder_only (mini) leads with 70.0, 30.0 points above the next, echo" in first
    assert "its best rival, the control encoder_only (mini)" in second
    assert "significantly above 1 and below 1 of its 2 rivals" in second
    assert second.endswith("on base b, causal2vec was not run.")


def test_a_second_base_is_told_more_briefly():
    scores = {(method, base): 0.5 for method in ("causal2vec", "echo") for base in "ab"}
    study = study_of(scores, bases=("a", "b"), costs=COSTS)
    more = study.costs.assign(base="b", llm_tokens=[50.0, 100.0])
    third = plain(replace(study, costs=pd.concat([study.costs, more])))[2]
    assert third.startswith("On texts of mixed length, on base a, the LLM of causal2vec reads 80 % fewer tokens than")
    assert "; on base b, it reads 50 % fewer tokens than that of echo and embedding takes 75 % less time;" in third


def test_something_untrained_that_scores_higher_is_not_passed_over():
    scores = {"causal2vec": 0.6, "echo": 0.5, "echo-zero_shot": 0.2}
    assert "without any training" not in plain(study_of(scores))[0]
    first = plain(study_of({**scores, ("encoder_only-zero_shot", "mini"): 0.65}))[0]
    assert "without any training here, encoder_only-zero_shot (mini) scores higher still, 65.0" in first
    assert plain(study_of({"echo-zero_shot": 0.2, "last_token-zero_shot": 0.1}))[0].startswith("Of 2 untrained methods")


def test_many_rivals_are_counted_and_variants_left_out():
    scores = {"causal2vec": 0.5, "causal2vec+pooling=eos": 0.9} | {f"rival{i}": 0.4 + 0.04 * i for i in range(6)}
    assert "and as indicated on one seed, above 3 and below 3 of its 6 rivals" in plain(study_of(scores))[1]
    first, second, _ = plain(study_of(scores, seeds=(0, 1, 2)))
    assert "pooling" not in first
    assert "10.0 points below its best rival, rival5" in second
    assert "significantly above 3 and below 3 of its 6 rivals" in second
