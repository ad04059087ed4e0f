"""The figures: which are drawn, what they look like, how they are saved."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from figure_data import METHODS, STAMP, TYPES, make_costs, make_study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from synthetic import pick_tasks, write_study

from causal2vec.reporting.analysis.compare import compare
from causal2vec.reporting.analysis.evidence import Evidence
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.show.figures.captions import TITLES, captions
from causal2vec.reporting.show.figures.costs import cost_points, mixed_costs, pareto, remarks
from causal2vec.reporting.show.figures.draw import FIGURES, draw_plots, write_plots
from causal2vec.reporting.show.figures.style import Design, drawable, fitted, looks, styled, text_width, wrapped

LLM, SMALL, SHIPPED = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2-2-layers", "all-MiniLM-L6-v2"
HOSTILE = 'a_long$name_with_<tags>&"quotes"\x07😀漢\\frac{1}_'
TWINS = [
    *((method, LLM) for method in METHODS),
    *((f"{method}-zero_shot", LLM) for method in METHODS[1:]),
    ("encoder_only", SMALL),
    ("encoder_only-zero_shot", SMALL),
    ("encoder_only-zero_shot", SHIPPED),
]
"""The control's untrained twin stands on two encoders."""


def hostile_study():
    entries = [(HOSTILE, "llm"), (f"{HOSTILE}-zero_shot", "llm"), ("_hidden", "llm"), ("x" * 60, "y" * 60)]
    types = {HOSTILE: ["$x_1$", "T😀"], "Y" * 50: ["z" * 70]}
    return make_study(entries, types=types, order=[HOSTILE], stamp=f"{STAMP} {HOSTILE} {'w' * 200}")


def large_study():
    types = {}
    for task, kind in pick_tasks(30).items():
        types.setdefault(kind, []).append(task)
    return make_study([(f"method_{i:02}", "llm") for i in range(24)], types=types, order=[], spread=0.05)


STUDIES = {
    "usual": lambda: make_study(pooling=True),
    "two bases": lambda: make_study(bases=("Qwen3-0.6B", "b" * 80), pooling=True, spread=0.05),
    "twins": lambda: make_study(TWINS, bases=(LLM,)),
    "one method": lambda: make_study([("causal2vec", "llm")]),
    "hostile": hostile_study,
    "large": large_study,
    "untested": lambda: make_study(spread=None, pooling=True),
}


def drawn(study):
    """Every figure of a study, laid out."""
    with styled():
        figures = draw_plots(study)
        for figure in figures.values():
            FigureCanvasAgg(figure).draw()
    return figures


def names(paths):
    return [path.stem for path in paths if path.suffix == ".svg"]


def test_every_figure_of_a_whole_study_is_drawn_twice_the_same(tmp_path):
    study = make_study(pooling=True)
    first, second = (write_plots(study, tmp_path / name) for name in "ab")
    assert names(first) == list(FIGURES) and len(first) == 2 * len(FIGURES)
    for one, other in zip(first, second, strict=True):
        data = one.read_bytes()
        assert data == other.read_bytes(), one.name
        assert b"Software" not in data and b"dc:date" not in data and b"Matplotlib v" not in data
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(path.name for path in first)


def test_order_of_the_rows_does_not_matter(tmp_path):
    study = replace(make_study(), training=None)
    evidence = Evidence(*(dict(reversed(part.items())) for part in tables(study.evidence)))
    mixed = replace(study, costs=study.costs[::-1], evidence=evidence)
    for one, other in zip(write_plots(study, tmp_path / "a"), write_plots(mixed, tmp_path / "b"), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def tables(evidence):
    return evidence.estimates, evidence.differences, evidence.standings


@pytest.mark.parametrize(
    ("change", "absent"),
    [
        ({"evidence": Evidence()}, {"forest", "ranks"}),
        ({"training": None}, {"loss_curves"}),
        ({"audit": None}, {"audit"}),
        ({"costs": None}, {"score_vs_time", "score_vs_length", "throughput_vs_length", "cost_vs_length"}),
        ({"conditions": None}, {"prefix_reuse", "shorter_faster"}),
        ({"published": None}, {"published_savings"}),
        ({"ablations": []}, {"ablations"}),
    ],
)
def test_figures_without_data_are_not_drawn(change, absent):
    study = replace(make_study(pooling=True), **change)
    with styled():
        assert list(draw_plots(study)) == [name for name in FIGURES if name not in absent]


def test_every_task_stands_where_its_saving_is():
    """A marker per task and rival, filled where every token is read; open only where reading once is something else."""
    with styled():
        figure = draw_plots(make_study())["published_savings"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["queries", "documents", "whole task"]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["STS22", "a long name of a task", "NFCorpus"], "by what is saved at most"
    found = [artist.get_gid() for artist in figure.findobj() if (artist.get_gid() or "").startswith("hover:")]
    assert "hover:NFCorpus, queries, against last_token: 90.0 % fewer tokens" in found
    assert "hover:NFCorpus, queries, against last_token, read once: -60.0 % fewer tokens" in found
    assert not any("echo, read once" in text for text in found)
    assert sum("documents" in text for text in found) == 4


def test_one_method_is_compared_with_nothing():
    with styled():
        found = draw_plots(make_study([("causal2vec", "llm")]))
    assert not {"forest", "ranks", "heatmap", "ablations"} & set(found) and "scores_by_type" in found


def test_costs_of_others_or_without_lengths_give_no_figure():
    study = make_study()
    others = replace(study, costs=make_costs([("somebody_else", "llm")]))
    mixed = replace(study, costs=study.costs[study.costs["text_tokens"] == "mixed"])
    with styled():
        assert not {"score_vs_time", "score_vs_length"} & set(draw_plots(others))
        assert "throughput_vs_length" not in draw_plots(mixed)


def test_a_results_folder_is_enough(tmp_path):
    folder = write_study(tmp_path / "results", variants=["eos"], tasks=7, items=20, seeds=(0, 1))
    study = load_study(folder)
    assert {"score_vs_time", "scores_by_type", "heatmap", "ablations"} <= set(names(write_plots(study, tmp_path / "p")))


def test_ablation_variants_stay_out_of_the_comparison():
    with styled():
        figures = draw_plots(make_study(pooling=True))
    for name, figure in figures.items():
        gids = [artist.get_gid() or "" for artist in figure.findobj()]
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert any("eos" in text for text in gids + texts) == (name == "ablations"), name


@pytest.mark.parametrize("name", STUDIES)
def test_nothing_is_cut_off_or_lies_on_the_stamp(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a glyph that the font lacks, or a layout that does not fit
        figures = drawn(STUDIES[name]())
    assert "scores_by_type" in figures
    for figure_name, figure in figures.items():
        renderer = FigureCanvasAgg(figure).get_renderer()
        page = figure.get_tightbbox(renderer)
        width, height = figure.get_size_inches()
        slack = 0.03
        assert page.x0 > -slack and page.y0 > -slack, figure_name
        assert page.x1 < width + slack and page.y1 < height + slack, (figure_name, page, width, height)
        stamp = figure.texts[-1].get_window_extent(renderer)
        others = [axes.get_tightbbox(renderer) for axes in figure.axes]
        others += [legend.get_window_extent(renderer) for legend in figure.legends]
        assert all(other.y0 > stamp.y1 - 1 for other in others), figure_name
        for axes in figure.axes:
            for legend in figure.legends:
                assert not axes.get_tightbbox(renderer).overlaps(legend.get_window_extent(renderer)), figure_name


def test_every_figure_ends_with_the_stamp():
    figures = drawn(make_study(pooling=True))
    assert set(figures) == set(FIGURES)
    for figure in figures.values():
        assert " ".join(figure.texts[-1].get_text().split()) == STAMP
    assert not drawn(make_study(stamp=""))["scores_by_type"].texts


def test_labels_beside_markers_do_not_touch():
    figure = drawn(make_study(TWINS, bases=(LLM,)))["score_vs_time"]
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for axes in figure.axes for text in axes.texts]
    assert len(boxes) == 8  # all but the two twins of one name, which the legend tells apart
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_crowded_panels_name_their_markers_in_the_legend():
    with styled():
        figure = draw_plots(make_study([(f"m{i}", "llm") for i in range(24)]))["score_vs_time"]
    assert not figure.axes[0].texts and len(figure.legends[0].get_texts()) == 24


def test_intervals_are_drawn_where_they_are_known():
    known, unknown = (drawn(make_study(spread=spread)) for spread in (0.012, None))
    for name in ("score_vs_time", "scores_by_type"):
        counts = [sum(line.get_marker() in ("|", "_") for line in f[name].axes[0].lines) for f in (known, unknown)]
        entries = 9 if name == "score_vs_time" else 9 * len(TYPES)
        assert counts == [entries, 0], name
        remarks = [f[name].legends[0].get_title().get_text() for f in (known, unknown)]
        assert ["interval" in text for text in remarks] == [True, False]


def test_pareto_front_keeps_what_nothing_beats():
    assert pareto([(2.0, 5.0), (1.0, 3.0), (3.0, 4.0), (1.0, 2.0), (4.0, 6.0)]) == [1, 0, 4]


def test_the_front_goes_on_to_the_edge_and_one_point_is_a_front():
    with styled():
        axes = draw_plots(make_study([("causal2vec", "llm"), ("causal2vec-zero_shot", "llm")]))["score_vs_length"].axes[
            0
        ]
    [front] = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert len(front.get_xdata()) == 2 and front.get_xdata()[-1] == axes.get_xlim()[1]


def test_causal2vec_is_not_hidden_and_markers_at_one_place_stand_side_by_side():
    figures = drawn(make_study())
    for name in ("score_vs_time", "throughput_vs_length", "cost_vs_length"):
        order = {line.get_gid(): line.get_zorder() for line in figures[name].axes[0].lines if line.get_gid()}
        own = [place for gid, place in order.items() if gid.startswith("hover:causal2vec: ")]
        assert min(own) > max(place for gid, place in order.items() if not gid.startswith("hover:causal2vec"))
    for axes in figures["shorter_faster"].axes:
        markers = [line for line in axes.lines if line.get_gid()]
        spots = [tuple(line.get_transform().transform(line.get_xydata()[0]).round()) for line in markers]
        assert spots and len(spots) == len(set(spots)), "equal savings on equal lengths"


def test_twins_without_a_row_cost_what_their_methods_cost():
    summary = make_study(TWINS, bases=(LLM,)).summary
    rows = {("echo", LLM): 3.0, ("encoder_only", SMALL): 5.0, ("encoder_only-zero_shot", SHIPPED): 6.0}
    frame = pd.DataFrame([{"method": m, "base": b, "text_tokens": "mixed", "s": cost} for (m, b), cost in rows.items()])
    costs = mixed_costs(frame, "s")
    points = cost_points(summary, costs)
    expected = {*rows, ("echo-zero_shot", LLM), ("encoder_only-zero_shot", SMALL)}
    assert costs == rows and set(points) == expected
    assert points["echo-zero_shot", LLM] == (3.0, 100 * summary.average(("echo-zero_shot", LLM), summary.tasks))
    assert points["encoder_only-zero_shot", SHIPPED][0] == 6.0
    assert "untrained twins: cost of their method" in remarks(summary, points, costs)
    assert remarks(summary, points, costs)[-1].startswith("not shown, incomplete: causal2vec, ")
    # The reverse: only the twin was measured.
    costs = {("echo-zero_shot", LLM): 2.0}
    points = cost_points(summary, costs)
    assert {entry: x for entry, (x, _) in points.items()} == {("echo", LLM): 2.0, ("echo-zero_shot", LLM): 2.0}
    assert "methods not measured: cost of their untrained twin" in remarks(summary, points, costs)


def test_figures_tell_bases_of_one_method_apart():
    (panel,) = compare(TWINS, [LLM])
    style = looks(TWINS, list(METHODS), [LLM])
    design = Design(style, list(METHODS), [LLM], "")
    found = {entry: design.name(entry, panel) for entry in panel.entries}
    assert found["echo-zero_shot", LLM] == "echo" and found["encoder_only", SMALL] == "encoder_only"
    assert found["encoder_only-zero_shot", SHIPPED] == f"encoder_only-zero_shot ({SHIPPED})"
    # The same name where the figure lacks the other base, as no twin is measured twice.
    assert design.name(("encoder_only-zero_shot", SHIPPED), replace(panel, entries=[])).endswith(f"({SHIPPED})")
    assert style["encoder_only", SMALL] == replace(style["encoder_only-zero_shot", SMALL], hollow=False)
    twins = [style["encoder_only-zero_shot", base] for base in (SMALL, SHIPPED)]
    assert twins[0].colour == twins[1].colour and twins[0].marker != twins[1].marker


def test_looks_of_many_methods_differ_in_black_and_white_up_to_eleven():
    style = looks([(f"m{i:02}", "llm") for i in range(24)], [], None)
    shapes = [look.marker for look in style.values()]
    assert len(set(shapes[:11])) == 11
    assert len({(look.marker, look.colour) for look in style.values()}) == 24


def test_text_is_measured_wrapped_and_shortened():
    with styled():
        assert text_width("mm") == pytest.approx(2 * text_width("m"), rel=0.05)
        lines = wrapped(f"one two {'w' * 90} three", 1.5).splitlines()
        assert all(text_width(line) <= 1.5 for line in lines)
        assert "".join(lines).replace(" ", "") == f"onetwo{'w' * 90}three"
        short = fitted("model-with-a-long-name-v1", 1.0, 1)
        assert text_width(short) <= 1.0 and short.startswith("model") and short.endswith("v1")
        assert fitted("short", 1.0) == "short"
        assert fitted("causal2vec+place=after_instruction", 1.75) == "causal2vec\n+place=after_instruction"
        assert fitted("+place=after_instruction", 1.0) == "+place=after_\ninstruction"
        assert drawable("a\x07b\n漢é") == "aU+0007b □é"


def test_captions_cover_every_figure_and_the_workflow_shows_them():
    jinja2, docutils = pytest.importorskip("jinja2"), pytest.importorskip("docutils.core")
    folder = Path(__file__).parents[2] / "workflow" / "report"
    assert list(captions()) == list(TITLES) == list(FIGURES)
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string((folder / "figure.rst").read_text())
    for name, text in captions().items():
        assert 1 <= len(re.findall(r"[.;](?= |$)", text)) <= 4
        shown = template.render(snakemake={"wildcards": {"figure": name}})
        assert " ".join(shown.split()) == text
    for path in folder.glob("*.rst"):
        source = path.read_text() if path.stem != "figure" else shown
        # What is no valid reStructuredText is an error here, not a red box in the report.
        found = docutils.publish_doctree(source, settings_overrides={"halt_level": 2, "report_level": 2})
        assert found.children and all(child.tagname == "paragraph" for child in found.children), path.name
