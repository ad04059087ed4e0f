"""What reporting makes of costs under several conditions: tables, figures, claims, from numbers that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from figure_data import make_study as make_figure_study
from fixtures_reporting import cost_rows, make_study, write_frame
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from synthetic import REUSING, cost, write_study
from test_tables import build, named

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.claims.ledger import check_claims
from causal2vec.reporting.analysis.claims.schema import Reduction
from causal2vec.reporting.analysis.savings import Measured, plain_rows, savings
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.read.schema import EFFICIENCY_COLUMNS, EFFICIENCY_DEFAULTS, read_efficiency
from causal2vec.reporting.show.figures.draw import draw_plots
from causal2vec.reporting.show.figures.style import styled
from causal2vec.reporting.show.render.latex import to_latex
from causal2vec.reporting.show.render.plain import to_csv, to_markdown
from causal2vec.reporting.show.report.answers import answers

BASE = "llm"
METHODS = ["causal2vec", "last_token", "echo", "bidirectional", "in_context"]
VARIANT = "causal2vec+place=after_instruction"
CLAIM = {"id": "one", "title": "t", "statement": "S.", "paper": "P", "source": "s", "confidence": "confirmed"}
CONFIG = {"methods": {"in_context": {"examples": "config/examples.yaml"}, "last_token": {"examples": None}}}


def conditions(methods=METHODS, lengths=("16", "64"), settings=("plain", "instruction", "examples"), reuse=True):
    """``efficiency.csv`` as data: an LLM token takes 0.1 ms, an encoder's 0.02; 20 tokens of instruction, 1,000 with
    examples; causal2vec reads 40 % of a text, echo twice the text, each with 3 tokens more."""
    rows = [
        cost(method, BASE, length, int(length), setting, read)
        for method in methods
        for length in lengths
        for setting in settings
        for read in ("no", "yes")
        if read == "no" or (reuse and setting != "plain" and method in REUSING)
    ]
    frame = pd.DataFrame(rows, columns=list(EFFICIENCY_COLUMNS))
    frame["joules_per_text"] = math.nan
    return frame.astype(dict.fromkeys(("batch_size", "batch_tokens", "repeats", "threads"), str))


def study(frame=None, **more):
    frame = conditions() if frame is None else frame
    scores = {(method, BASE): [0.5, 0.6, 0.7] for method in METHODS}
    return make_study(scores, bases=[BASE], costs=plain_rows(frame), conditions=frame, **more)


def row_of(table, title, method, reuse="no"):
    [row] = [r for r in named(table)[title] if (r.get("method") or r["rival"])[0] == method and r["reuse"][0] == reuse]
    return {key: value[0] for key, value in row.items()}


def test_relative_costs_are_against_causal2vec_under_the_same_condition():
    table = build(study(), "efficiency_conditions")
    title = "An instruction and examples before the text, texts of 64 tokens"
    own, read, once = (
        row_of(table, title, "causal2vec"),
        row_of(table, title, "echo"),
        row_of(table, title, "echo", "yes"),
    )
    assert (own["token_ratio"], own["time_ratio"], own["gflops_ratio"], own["latency_ratio"]) == (1, 1, 1, 1)
    assert (read["llm_tokens"], read["computed_tokens"]) == (1131, 1131)
    assert (once["llm_tokens"], once["computed_tokens"]) == (1131, 131)
    assert once["token_ratio"] == pytest.approx(131 / 1028.6)
    ours = 0.1 * 1028.6 + 0.02 * 64
    assert read["time_ratio"] == pytest.approx(113.1 / ours) and once["time_ratio"] == pytest.approx(13.1 / ours)
    assert once["latency_ratio"] == pytest.approx((2 * 13.1 + 1) / (2 * ours + 1))
    assert "every token read (reuse: no)." in " ".join(table.notes)
    assert "Measured with device cpu; dtype float32; threads 2; tokens per batch 1024; repeats 3." in table.notes


def test_what_the_plain_table_shows_is_not_shown_again_and_unknown_energy_not_at_all():
    titles = list(named(build(study(), "efficiency_conditions")))
    assert [title.partition(", ")[0] for title in titles] == ["An instruction before the text"] * 2 + [
        "An instruction and examples before the text"
    ] * 2
    assert build(study(conditions(settings=["plain"])), "efficiency_conditions") is None
    for name in ("efficiency", "efficiency_conditions"):
        assert "joules_per_text" not in [column.key for column in build(study(), name).columns]
    known = conditions().assign(joules_per_text=2.0)
    assert "joules_per_text" in [column.key for column in build(study(known), "efficiency_conditions").columns]


def test_plain_table_says_how_much_of_the_machine_was_used():
    rows = named(build(study(), "efficiency"))["Texts of 64 tokens"]
    echo = next({k: v[0] for k, v in row.items()} for row in rows if row["method"][0] == "echo")
    # 7.86 GFLOP in 13.1 ms are 600 GFLOP/s, of the 1,000 that the machine multiplies.
    assert echo["gflops_per_text"] == pytest.approx(7.86) and echo["machine_share"] == pytest.approx(60)


def test_predictions_stand_beside_measurements():
    frame = conditions()
    slow = (frame["method"] == "echo") & (frame["reuse"] == "no")
    ends = ["seconds_per_1000_texts", "seconds_per_1000_texts_min", "seconds_per_1000_texts_max"]
    frame.loc[slow, ends] *= 1.5
    echo = row_of(build(study(frame), "efficiency_predictions"), "Nothing before the text, texts of 64 tokens", "echo")
    ours = {"gflops": 0.06 * 28.6 + 0.01 * 66, "time": 0.1 * 28.6 + 0.02 * 64}
    assert echo["counted_share"] == pytest.approx(1.05)
    assert echo["predicted_time"] == pytest.approx(0.06 * 131 / ours["gflops"])
    assert echo["measured_time"] == pytest.approx(1.5 * 13.1 / ours["time"])
    assert echo["time_surplus"] == pytest.approx(echo["measured_time"] / echo["predicted_time"])


def test_savings_name_the_condition_under_which_the_claim_holds():
    table = build(study(), "efficiency_savings")
    assert list(named(table)) == [
        "Nothing before the text", "The same instruction for both", "The same examples for both",
        "Examples for the rival alone",
    ]  # fmt: skip
    alone = [{key: value[0] for key, value in row.items()} for row in named(table)["Examples for the rival alone"]]
    found = {(row["reuse"], row["texts"]): row["shorter"] for row in alone if row["rival"] == "in_context"}
    assert found["no", "16 tokens"] == pytest.approx(100 * (1 - 29.4 / 1019))
    assert found["yes", "16 tokens"] == pytest.approx(100 * (1 - 29.4 / 19))
    reached = {(row["rival"], row["reuse"]) for row in alone if row["shorter"] >= 85}
    assert reached == {(method, "no") for method in METHODS[1:]}
    text = to_markdown(table)
    assert text.count("97.1†") >= 1 and "−54.7 |" in text and "−54.7†" not in text
    note = next(note for note in table.notes if "fewer tokens" in note)
    assert "85 % and more (†) in 8 of 50 cases" in note and "against in_context: examples for the rival alone" in note
    assert "shared beginning once, at most" in note
    assert "†" not in to_csv(table) and "97.1" in to_csv(table)
    assert r"97.1\rlap{\textsuperscript{\textdagger}}" in to_latex(table)


def test_a_reference_that_can_read_its_prompt_once_does_so_where_the_rival_does():
    measured = Measured(conditions([*METHODS, VARIANT]))
    found = {(*s.kind, s.text): s for s in savings(measured, (VARIANT, BASE), ("echo", BASE))}
    both = found["examples", "examples", "yes", "64"]
    assert both.shorter == pytest.approx(100 * (1 - 28.6 / 131)), "1,000 tokens read once by either"
    again = found["examples", "examples", "no", "64"]
    assert again.shorter == pytest.approx(100 * (1 - 1028.6 / 1131))


def test_variants_stand_behind_their_method():
    table = build(study(conditions([VARIANT, *reversed(METHODS)])), "efficiency_conditions")
    names = [row["method"][0] for row in next(iter(named(table).values()))]
    assert list(dict.fromkeys(names))[:3] == ["causal2vec", VARIANT, "last_token"]


def claim(second="in_context", cost="length", **more):
    return Reduction(**CLAIM, kind="reduction", first="causal2vec", second=second, cost=cost, **{"value": 85, **more})


def verdict(frame, wanted, config=CONFIG):
    [found] = check_claims(study(frame, manifest={"config": config}), [wanted])
    return found


def test_claim_holds_against_examples_that_are_read_every_time():
    found = verdict(conditions(), claim())
    assert found.verdict == "reached" and found.measured == pytest.approx(100 * (1 - 29.4 / 1019))
    assert (
        "97.1 % of the tokens into the LLM (16 tokens, examples for the rival alone, against in_context"
        in found.evidence
    )
    assert "84 % and more in 2 of 14 cases (examples for the rival alone)" in found.evidence
    assert "at most 27.5 % where the rival reads once what its texts share" in found.evidence
    timed = verdict(conditions(), claim(cost="time", value=82))
    assert timed.verdict == "reached" and "batches of 1024 tokens" in timed.evidence


def test_claim_against_methods_without_examples_of_their_own_is_about_like_terms():
    found = verdict(conditions(), claim("echo"))
    # The same words before both: never the rival's long prompt against our short one.
    assert found.verdict == "not reached" and "for the rival alone" not in found.evidence
    assert found.measured == pytest.approx(100 * (1 - 28.6 / 131))
    assert verdict(conditions(), claim("last_token")).verdict == "not reached", "examples: null"


def test_claim_is_open_where_examples_were_not_measured():
    bare = conditions(settings=["plain", "instruction"])
    found = verdict(bare, claim())
    assert found.verdict == "inconclusive" and "not measured with the examples" in found.evidence
    assert verdict(bare, claim("echo")).verdict == "not reached"
    assert verdict(conditions(settings=["plain"]), claim("echo")).evidence.endswith(
        "no instruction or examples before the texts were measured."
    )


def test_batches_of_equally_many_tokens_are_equal_terms():
    frame = conditions()
    frame.loc[frame["method"] == "echo", "batch_size"] = "7.5"
    assert verdict(frame, claim("echo", "time")).verdict == "not reached"
    assert verdict(frame.assign(batch_tokens=""), claim("echo", "time")).verdict == "not run"


def test_older_files_mean_plain_texts_and_every_token_read(tmp_path):
    old = cost_rows(["causal2vec", "echo"]).drop(columns=list(EFFICIENCY_DEFAULTS))
    frame = read_efficiency(write_frame(old, tmp_path / "efficiency.csv"))
    assert set(frame["setting"]) == {"plain"} and set(frame["reuse"]) == {"no"}
    assert frame[["computed_tokens", "gflops_per_text", "latency_ms", "joules_per_text"]].isna().all(axis=None)
    assert len(plain_rows(frame)) == len(frame)
    older = study(frame.assign(base=BASE))
    assert build(older, "efficiency_conditions") is None and build(older, "efficiency_predictions") is None
    keys = [column.key for column in build(older, "efficiency").columns]
    assert "gflops_per_text" not in keys and "memory_ratio" in keys
    savings_table = build(older, "efficiency_savings")
    assert [column.key for column in savings_table.columns][3:] == ["shorter", "faster"]


def test_conditions_are_told_apart_and_checked(tmp_path):
    path = write_frame(conditions(), tmp_path / "efficiency.csv")
    frame = read_efficiency(path)
    assert len(frame) == len(conditions()) and len(plain_rows(frame)) == 2 * len(METHODS)
    twice = pd.concat([conditions(), conditions().iloc[[3]]])
    with pytest.raises(UserError, match="same method, base, setting, prompt_tokens, reuse, text_tokens"):
        read_efficiency(write_frame(twice, tmp_path / "twice.csv"))
    for column, value in (("setting", "none"), ("reuse", "maybe"), ("text_tokens", "task:")):
        with pytest.raises(UserError, match=f"line 2: {column}: "):
            read_efficiency(write_frame(conditions().assign(**{column: value}), tmp_path / "wrong.csv"))


def test_texts_of_a_task_are_a_group_of_their_own_and_not_a_length():
    frame = conditions(settings=["plain"], lengths=("16", "64"))
    task = conditions(settings=["plain"], lengths=("240",)).assign(text_tokens="task:SciFact")
    both = study(pd.concat([task, frame], ignore_index=True))
    assert list(named(build(both, "efficiency"))) == [
        "Texts of 16 tokens", "Texts of 64 tokens", "Texts of the task SciFact"
    ]  # fmt: skip
    assert "On texts of 64 tokens" in answers(both)[2]
    with styled():
        figures = draw_plots(both)
    for name in ("throughput_vs_length", "cost_vs_length"):
        assert "SciFact" not in " ".join(hovers(figures[name])), name


def hovers(figure):
    return [text for artist in figure.findobj() if (text := artist.get_gid() or "").startswith("hover:")]


def words(figure):
    return " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))


@pytest.fixture(scope="module")
def figures():
    with styled():
        hardware = {"device": "cpu", "cores": 2, "device_name": "A processor"}
        found = draw_plots(study(manifest={"hardware": hardware, "config": CONFIG}))
        for figure in found.values():
            FigureCanvasAgg(figure).draw()
    return found


def test_growth_is_drawn_with_the_machine_it_was_measured_on(figures):
    assert "hover:echo: 13.1 ms per text of 64 tokens" in hovers(figures["cost_vs_length"])
    assert "measured on 2 cores of A processor, float32" in words(figures["cost_vs_length"])
    one = study(conditions(lengths=("16",)))
    with styled():
        assert "cost_vs_length" not in draw_plots(one), "one length shows no growth"


def test_reuse_is_drawn_with_the_ranks_that_it_changes(figures):
    found = hovers(figures["prefix_reuse"])
    assert "hover:echo: 113 ms per text" in found and "hover:echo, read once: 13.1 ms per text" in found
    assert not any(text.startswith("hover:causal2vec, read once") for text in found)
    titles = [axes.get_title(loc="left") for axes in figures["prefix_reuse"].axes]
    assert titles == [f"{setting}, {n} tokens" for setting in ("instruction", "examples") for n in (16, 64)]
    ranks = [text.get_text() for text in figures["prefix_reuse"].axes[3].texts]
    # Texts of 64 tokens behind 1,000: 28.6 + 64 / 5, 67, 131, 67 and 67 tokens' time, then three read their own only.
    assert ranks == ["1 → 4", "2 → 1", "5 → 3", "2 → 5", "2 → 1"]


def test_savings_are_drawn_with_the_claims_lines(figures):
    figure = figures["shorter_faster"]
    assert len(figure.axes) == 4, "documents and queries; one length of examples is no axis"
    assert "85 % fewer tokens" in words(figure) and "82 % less time" in words(figure)
    found = hovers(figure)
    assert "hover:against in_context: 97.1 % fewer tokens at 16 tokens" in found, "behind its examples"
    assert any(text.startswith("hover:against in_context, read once: -") for text in found)
    assert not any(text.startswith("hover:against last_token: 9") for text in found), "whose recipe has no examples"
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--" and line.get_xdata()[0] == 0]
    assert [line.get_ydata()[0] for line in dashed if len(line.get_xdata()) == 2] == [85]


def test_savings_are_drawn_over_the_examples_with_the_law_behind_them():
    """Markers are what was measured, lines what the law says: one between the other's lengths shows that it is one."""
    more = conditions(settings=["examples"], lengths=("64",))
    extra = (more["prompt_tokens"] - 500).where(more["prompt_tokens"] > 500, 0)
    rows = pd.concat([conditions(), more.assign(prompt_tokens=extra, llm_tokens=more["llm_tokens"] - 500)])
    law = [
        {"base": BASE, "method": method, "what": what, "setting": setting, "reuse": "no", "text_tokens": 64,
         "prompt_tokens": prompt, "llm_tokens": read, "encoder_tokens": 0.0, "computed_tokens": read,
         "gflops_per_text": read, "ms_per_text": read}
        for what in ("embed", "grow")
        for method, setting, prompt, read in (
            ("causal2vec", "instruction", 20.0, 50.0), ("in_context", "instruction", 20.0, 100.0),
            ("in_context", "examples", 300.0, 200.0), ("in_context", "examples", 1000.0, 1000.0),
        )
    ]  # fmt: skip
    whole = study(rows, manifest={"config": CONFIG}, law=pd.DataFrame(law))
    with styled():
        figure = draw_plots(whole)["shorter_faster"]
    assert len(figure.axes) == 6
    curves = [[float(y) for y in line.get_ydata()] for line in figure.axes[2].lines]
    assert [50.0, 75.0, 95.0] in curves, "1 - 50 / 100, 50 / 200 and 50 / 1,000"
    measured = [text for text in hovers(figure) if "at 480 tokens" in text or "at 980 tokens" in text]
    assert any("in_context:" in text for text in measured) and not any("echo" in text for text in measured)
    [table] = [build(whole, "append_cost")]
    assert {row["method"][0] for row in named(table)["Texts of 64 tokens"]} == {"causal2vec", "in_context"}
    assert any("The law beside" in note and "measured rows" in note for note in table.notes)


def test_twins_are_drawn_in_their_methods_stead_only():
    both = conditions(["causal2vec", "echo", "echo-zero_shot", "last_token-zero_shot"])
    with styled():
        found = hovers(draw_plots(study(both))["shorter_faster"])
    assert any("echo" in text for text in found) and any("last_token" in text for text in found)
    assert len(found) == len(set(found)), "a method and its twin are one"


def test_figures_of_conditions_stay_readable_on_several_bases():
    whole = make_figure_study(bases=("Qwen3-0.6B", "b" * 80))
    with styled():
        figures = draw_plots(replace(whole, manifest={"hardware": {"device_name": "x" * 90}}))
        for name in ("cost_vs_length", "prefix_reuse", "shorter_faster"):
            figure = figures[name]
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            page, (width, height) = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
            assert page.x0 > -0.03 and page.x1 < width + 0.03 and page.y1 < height + 0.03, name


FAR = "Mistral-7B-shape (random)"


def far_rows(**changes):
    return conditions(["causal2vec", "echo", "in_context"]).assign(base=FAR, device="cuda", **changes)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_study(
        tmp_path_factory.mktemp("study"), methods=("causal2vec", "echo"), tasks=3, items=20, control=False
    )


def test_costs_of_another_machine_stand_beside_ours_in_tables_figures_and_claims(results, tmp_path):
    path = write_frame(far_rows(), tmp_path / "far.csv")
    near, both = load_study(results), load_study(results, external_efficiency=path)
    table = build(both, "efficiency_conditions")
    assert any(FAR in title for title in named(table)) and any("base-a" in title for title in named(table))
    assert any(FAR in note and "elsewhere" in note for note in table.notes)
    assert to_csv(build(both, "main")) == to_csv(build(near, "main")), "scores are not touched"
    wanted = [claim("echo")]
    verdicts = {found.base: found for found in check_claims(both, wanted)}
    assert verdicts[FAR].verdict != "not run" and list(verdicts) == ["base-a", FAR]
    assert [found.base for found in check_claims(near, wanted)] == ["base-a"]
    with styled():
        drawn = draw_plots(both)["shorter_faster"].findobj(Text)
    assert any(FAR in text.get_text() for text in drawn)


def test_rows_on_our_own_base_are_not_taken_from_elsewhere(results, tmp_path):
    path = write_frame(far_rows().assign(base="base-a"), tmp_path / "far.csv")
    with pytest.raises(UserError, match=r"far\.csv has rows on base-a.*remove them"):
        load_study(results, external_efficiency=path)


def test_prompts_of_two_lengths_are_two_rows_of_which_tables_take_the_longer(tmp_path):
    long = conditions()
    short = long[long.setting == "examples"].assign(prompt_tokens=250, llm_tokens=lambda rows: rows.llm_tokens - 750)
    frame = read_efficiency(write_frame(pd.concat([long, short]), tmp_path / "both.csv"))
    assert len(frame) == len(long) + len(short)
    for rows in (frame, frame.iloc[::-1].reset_index(drop=True)):
        found = Measured(rows).own(("echo", BASE), "examples", "no", "64")
        assert found["prompt_tokens"] == max(long.prompt_tokens) > 250


def test_a_prompt_before_one_length_of_text_alone_stays_out_of_the_tables():
    """Else a table would compare texts of one length behind 3,000 tokens with others behind 1,000."""
    usual = conditions()
    further = usual[(usual.setting == "examples") & (usual.text_tokens == "16")].assign(prompt_tokens=3000)
    for rows in (pd.concat([usual, further]), pd.concat([further, usual])):
        measured = Measured(rows.reset_index(drop=True))
        found = {measured.own(("echo", BASE), "examples", "no", text)["prompt_tokens"] for text in ("16", "64")}
        assert len(found) == 1 and found < {*usual.prompt_tokens}
