"""The figures of differences, ranks, single scores and ablations: do they show what the statistics say?"""

import math
from dataclasses import replace

import pytest
from figure_data import METHODS, TYPES, make_difference, make_study
from matplotlib.colors import rgb_to_hsv, to_hex, to_rgb
from matplotlib.patches import Rectangle

from causal2vec.reporting.analysis.evidence import ALL, Evidence
from causal2vec.reporting.show.figures.comparisons import joined
from causal2vec.reporting.show.figures.draw import draw_plots
from causal2vec.reporting.show.figures.heatmap import COLOURS
from causal2vec.reporting.show.figures.style import OKABE_ITO, styled

ENTRIES = [(method, "llm") for method in METHODS]
TASKS = [task for tasks in TYPES.values() for task in tasks]


def figure_of(study, name):
    with styled():
        return draw_plots(study).get(name)


def marks(figure, start="hover:"):
    """Text shown on hover -> line, for all marks of a figure."""
    lines = [line for axes in figure.axes for line in axes.lines]
    return {line.get_gid().removeprefix("hover:"): line for line in lines if (line.get_gid() or "").startswith(start)}


def hollow(line):
    return line.get_markerfacecolor() == "white"


def remark(figure):
    return " ".join(figure.legends[0].get_title().get_text().split())


def test_forest_shows_each_trained_method_minus_causal2vec():
    study = make_study()
    found = marks(figure_of(study, "forest"))
    rivals = [*ENTRIES[1:], ("encoder_only", "mini")]
    assert len(found) == len(rivals) * (1 + len(TYPES))
    for entry in rivals:
        difference = study.evidence.difference(entry, ENTRIES[0], ALL)
        (text,) = [text for text in found if text.startswith(f"{entry[0]} minus causal2vec, Average: ")]
        assert f"{100 * difference.difference:+.1f} (95 % interval {100 * difference.low:+.1f} to " in text
        assert found[text].get_xdata()[0] == pytest.approx(100 * difference.difference)
        assert hollow(found[text]) == (not difference.significant)
    average = [line.get_ydata()[0] for text, line in found.items() if ", Average: " in text]
    others = [line.get_ydata()[0] for text, line in found.items() if ", Average: " not in text]
    assert max(average) < min(others)  # at the top, as the axis points down
    assert figure_of(study, "forest").axes[0].get_xlabel() == "difference to causal2vec (points)"


def test_forest_without_causal2vec_starts_from_the_best():
    study = make_study(ENTRIES[1:])
    best = max(ENTRIES[1:], key=lambda entry: study.summary.average(entry, TASKS))
    found = marks(figure_of(study, "forest"))
    assert found and all(f" minus {best[0]}, " in text for text in found)


def test_forest_of_untrained_methods_where_nothing_is_trained():
    study = make_study([(f"{method}-zero_shot", "llm") for method in METHODS[1:]])
    assert len(marks(figure_of(study, "forest"))) == 2 * (1 + len(TYPES))


def test_forest_leaves_incomplete_averages_out_and_says_so():
    study = make_study(missing={(ENTRIES[2], "SciFact")})
    texts = [text for text in marks(figure_of(study, "forest")) if text.startswith("echo ")]
    assert [text.split(", ")[1].split(":")[0] for text in texts] == ["PairClassification", "STS"]
    assert "incomplete averages not shown" in remark(figure_of(study, "forest"))
    assert "incomplete" not in remark(figure_of(make_study(), "forest"))


def test_forest_without_items_is_hollow_and_says_why():
    figure = figure_of(make_study(spread=None), "forest")
    assert all(hollow(line) for line in marks(figure).values())
    assert "not tested" in remark(figure)


def evidence_of(unlike, unknown=()):
    """A study of entries a, b, c, ... in order of rank, where only the pairs ``unlike`` differ significantly."""
    study = make_study([(name, "llm") for name in "abcd"], order=list("abcd"))
    pairs = [(x, y) for i, x in enumerate("abcd") for y in "abcd"[i + 1 :]]
    differences = {
        ((x, "llm"), (y, "llm"), ALL): make_difference(
            1.0 if x + y in unlike else 0.0, math.nan if x + y in unknown else 0.5
        )
        for x, y in pairs
    }
    return replace(study, evidence=replace(study.evidence, differences=differences))


@pytest.mark.parametrize(
    ("unlike", "unknown", "expected"),
    [
        ("", (), ["abcd"]),
        ("ad", (), ["abc", "bcd"]),
        ("ac ad bd", (), ["ab", "bc", "cd"]),
        ("ab ac ad bc bd cd", (), []),
        # Tests need not follow the ranks: a and c are alike though b, between them, differs from both.
        ("ab bc", (), ["acd", "bd"]),
        # Of an untested pair nothing is known, so nothing is claimed.
        ("", ("ab",), ["acd", "bcd"]),
    ],
)
def test_bars_join_exactly_what_does_not_differ(unlike, unknown, expected):
    study = evidence_of(unlike.split(), unknown)
    found = joined(study, [(name, "llm") for name in "abcd"])
    assert ["".join(method for method, _ in members) for members in found] == expected


def test_ranks_stand_where_they_belong_and_bars_name_their_members():
    study = evidence_of(["ad"])
    figure = figure_of(study, "ranks")
    bars = marks(figure, "hover:no significant difference")
    assert sorted(sorted(text.split(": ")[1].split(", ")) for text in bars) == [list("abc"), list("bcd")]
    found = {text.split(":")[0]: text for text in marks(figure) if "mean rank" in text}
    for entry in study.summary.entries:
        assert f"mean rank {study.evidence.standings['llm', entry].mean_rank:.2f}" in found[entry[0]]
    assert "paired permutation test" in remark(figure) and "not Nemenyi's" in remark(figure)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    order = sorted(study.summary.entries, key=lambda e: study.evidence.standings["llm", e].mean_rank)
    assert [name for name in names if name in "abcd"] == [method for method, _ in order]


def test_ranks_without_tests_have_no_bars_and_without_all_tasks_no_place():
    untested = figure_of(make_study(spread=None), "ranks")
    assert not marks(untested, "hover:no significant") and "no bars: not tested" in remark(untested)
    gap = figure_of(make_study(missing={(ENTRIES[2], "SciFact")}), "ranks")
    assert not [text for text in marks(gap) if text.startswith("echo:")]
    assert "incomplete methods not ranked" in remark(gap)


def test_trained_and_untrained_are_ranked_apart():
    figure = figure_of(make_study(), "ranks")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Trained on the same pairs",
        "Untrained (-zero_shot)",
    ]


def cells(figure):
    """(method, row) -> its text and colour."""
    found = {}
    for axes in figure.axes:
        shown = {text.get_gid(): text for text in axes.texts}
        for patch in axes.patches:
            if isinstance(patch, Rectangle) and patch.get_gid():
                about = patch.get_gid().removeprefix("hover:")
                name, _, row = about.partition(":")[0].partition(", ")
                found[name, row] = (shown[patch.get_gid()], to_hex(patch.get_facecolor()))
    return found


def test_heatmap_holds_every_score_and_colours_it_by_its_block():
    study = make_study()
    found = cells(figure_of(study, "heatmap"))
    assert len(found) == len(study.summary.entries) * (1 + len(TASKS))
    for task in TASKS:
        trained = {e: study.summary.values[e, task] for e in [*ENTRIES, ("encoder_only", "mini")]}
        mean = sum(trained.values()) / len(trained)
        best = max(trained, key=lambda e: trained[e])
        for entry, score in trained.items():
            text, colour = found[entry[0], task]
            assert text.get_text() == f"{100 * score:.1f}"
            assert (text.get_fontweight() == "bold") == (entry == best)
            hue, saturation, _ = rgb_to_hsv(to_rgb(colour))
            if saturation > 0.05:  # else it is white, next to the mean
                assert (hue > 0.4) == (score > mean)  # blue above, orange below
    assert (
        found["causal2vec", f"Average ({len(TASKS)})"][0].get_text()
        == f"{100 * study.summary.average(ENTRIES[0], TASKS):.1f}"
    )


def test_heatmap_shows_a_missing_score_as_a_gap():
    figure = figure_of(make_study(missing={(ENTRIES[2], "SciFact")}), "heatmap")
    found = cells(figure)
    for row in ("SciFact", f"Average ({len(TASKS)})"):
        assert found["echo", row][0].get_text() == "–" and found["echo", row][1] == "#dddddd"
    assert "–: no score" in remark(figure)


def test_heatmap_is_symmetrical_in_grey_and_readable_on_every_colour():
    def luminance(value):
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(COLOURS(value))]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for step in range(11):
        low, high = luminance(step / 20), luminance(1 - step / 20)
        assert abs(low - high) < 0.05
        assert min((low + 0.05) / 0.05, (high + 0.05) / 0.05) > 4.5  # contrast of black text, by WCAG


def test_ablations_show_each_value_minus_the_default():
    study = make_study(pooling=True)
    figure = figure_of(study, "ablations")
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["pooling (assumed)", "concat (default)", "contextual", "eos"]
    found = marks(figure)
    assert len(found) == 2
    for value in ("contextual", "eos"):
        (text,) = [text for text in found if text.startswith(f"{value} minus the default: ")]
        expected = study.evidence.difference((f"causal2vec+pooling={value}", "llm"), ENTRIES[0], ALL)
        assert found[text].get_xdata()[0] == pytest.approx(100 * expected.difference)
        assert hollow(found[text]) == (not expected.significant)


def test_ablations_without_statistics_show_the_differences_alone():
    study = replace(make_study(pooling=True), evidence=Evidence())
    figure = figure_of(study, "ablations")
    eos = ("causal2vec+pooling=eos", "llm")
    expected = study.summary.average(eos, TASKS) - study.summary.average(ENTRIES[0], TASKS)
    (text,) = [text for text in marks(figure) if text.startswith("eos ")]
    assert text == f"eos minus the default: {100 * expected:+.1f}" and hollow(marks(figure)[text])


def test_ablations_without_the_default_or_a_variant_are_not_drawn():
    study = make_study(pooling=True)
    plain = replace(study.summary, entries=[e for e in study.summary.entries if "+" not in e[0]])
    assert figure_of(replace(study, summary=plain), "ablations") is None
    others = replace(study.summary, entries=[e for e in study.summary.entries if e[0] != "causal2vec"])
    assert figure_of(replace(study, summary=others), "ablations") is None


def test_colours_are_those_made_for_colour_blind_readers():
    published = {"#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#000000"}
    assert published <= set(OKABE_ITO)


def test_an_outlier_stands_beside_the_axis_with_its_number():
    study = make_study()
    pair = (ENTRIES[2], ENTRIES[0], ("type", "STS"))
    usual = figure_of(study, "forest")
    study.evidence.differences[pair] = make_difference(-0.9, 0.012)
    figure = figure_of(study, "forest")
    (left, right), texts = figure.axes[0].get_xlim(), [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["← -90.0"] and left > -50 and not usual.axes[0].texts
    (text,) = [text for text in marks(figure) if text.startswith("echo minus causal2vec, STS: -90.0")]
    assert left < marks(figure)[text].get_xdata()[0] < left + (right - left) / 10
    assert "at an edge" in remark(figure) and "at an edge" not in remark(usual)


def test_all_ranks_stand_on_one_scale():
    figure = figure_of(make_study(), "ranks")
    assert len(figure.axes) == 2 and len({axes.get_xlim() for axes in figure.axes}) == 1
