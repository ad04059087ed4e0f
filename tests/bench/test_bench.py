"""The bench: who is timed when, what the table says of it, and short runs of the real thing on tiny models."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from causal2vec.bench import comparison, encoding, limits, materials, scaling, training, workflow
from causal2vec.bench.comparison import Contender, Timing, row, take_turns
from causal2vec.config import load_config
from causal2vec.config.runs import runs_of
from causal2vec.errors import UserError

WORDS = ["quick", "brown", "fox", "jumps", "lazy", "dog", "short", "rather", "longer", "sentence", "padding", "texts"]
ABOUT = {"Machine": "a machine", "Date": "2000-01-01", "Commit": "abc"}


def a_row(ratio: float = 2.0, goal: float = 3.0, limit: float | None = None, note: str = "checked"):
    ours, rival = Timing("ours", [1.0, 2.0, 4.0], []), Timing("theirs", [2.0 * ratio], [])
    return row("work", ours, rival, (8, "texts"), goal=goal, least=limit and 2.0 * ratio / limit, note=note)


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """A work folder as `prepare` wants it, with tiny models in the place of the demo's; and its configuration."""
    home = tmp_path_factory.mktemp("bench")
    plain = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    plain["compute"]["threads"] = plain["efficiency"]["threads"] = 1
    (home / "config.yaml").write_text(yaml.safe_dump(plain))
    work = home / "work" / "demo"
    shutil.copytree(tiny["llm"], work / "models" / "SmolLM2-135M-Instruct")
    shutil.copytree(tiny["encoder"], work / "models" / "all-MiniLM-L6-v2-2-layers")
    (work / "tasks").mkdir()
    (work / "hardware.json").write_text('{"dtype": "float32", "device_name": "test", "cores": 1}')
    (work / "pairs").mkdir()
    generator = random.Random(0)
    texts = [" ".join(generator.choices(WORDS, k=generator.randint(5, 60))) for _ in range(1600)]
    rows = {
        "query": texts[:800],
        "positive": texts[800:],
        "source": ["s"] * 800,
        "pair_id": [str(k) for k in range(800)],
    }
    pd.DataFrame(rows).to_parquet(work / "pairs" / "train.parquet")
    return home


@pytest.fixture
def there(made, monkeypatch) -> materials.Materials:
    """The same, from within."""
    monkeypatch.chdir(made)
    return materials.prepare([Path("config.yaml")])


# -- the clock and the table -------------------------------------------------------------------------------


def test_contenders_take_turns_and_are_warmed_up_first():
    log = []
    contenders = [
        Contender(n, lambda k, n=n: log.append(f"{n}{k}") or k, lambda n=n: log.append(f"warm {n}")) for n in "ab"
    ]
    found = take_turns(contenders, 3)
    assert log == ["warm a", "warm b", "a0", "b0", "a1", "b1", "a2", "b2"]
    assert len(found[0].seconds) == 3 and found[1].name == "b" and found[1].results == [0, 1, 2]


def test_ratio_is_of_medians_rates_are_of_amounts_and_the_limit_is_of_multiplication():
    found = a_row(ratio=2.0, limit=8.0)
    assert (found.ours_median, found.ours_min, found.ours_max) == (4.0, 2.0, 8.0)
    assert found.ratio == 2.0 and found.rival_median == 2.0 and found.unit == "texts/s" and found.limit == 8.0


@pytest.mark.parametrize(
    ("ratio", "goal", "limit", "said"),
    [
        (3.0, 3.0, None, "yes"),
        (2.9, 3.0, None, "no"),
        (2.9, 3.0, 4.0, "no"),
        (1.9, 3.0, 2.5, "no: beyond the limit"),
        (9.0, float("nan"), None, "–"),
    ],
)
def test_a_goal_is_met_missed_or_beyond_what_the_machine_allows(ratio, goal, limit, said):
    assert a_row(ratio, goal, limit).met == said


def test_table_has_the_machine_the_numbers_and_the_notes(tmp_path):
    rows = [a_row(note="lowest cosine 1"), a_row(goal=float("nan"), limit=2.25, note="a | b")]
    comparison.Pages(ABOUT, tmp_path).write_rows(rows)
    text = (tmp_path / "bench.md").read_text()
    assert "- Machine: a machine" in text and "1. lowest cosine 1" in text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| 1")]
    assert cells == [
        ["1", "work", "ours: 4.00 (2.00 to 8.00)", "theirs: 2.00 (2.00 to 2.00)", "texts/s", "2.00", "3", "no", "–"]
    ]
    table = pd.read_csv(tmp_path / "bench.csv")
    assert table["ratio"].tolist() == [2.0, 2.0] and math.isnan(table["goal"][1]) and table["limit"][1] == 2.25


def test_work_without_a_rival_has_dashes(tmp_path):
    none = float("nan")
    alone = a_row()._replace(rival="-", rival_median=none, rival_min=none, rival_max=none, unit="s")
    comparison.Pages(ABOUT, tmp_path).write_rows([alone])
    [line] = [line for line in (tmp_path / "bench.md").read_text().splitlines() if line.startswith("| 1")]
    assert [cell.strip() for cell in line.split("|")[3:6]] == ["ours: 4.00 (2.00 to 8.00)", "–", "s"]


# -- what is timed -----------------------------------------------------------------------------------------


def test_slices_are_stretches_of_neighbours_of_all_lengths_none_twice():
    texts = [f"{number:05d}" + "x" * (2000 - number) for number in range(2000)]
    found = encoding.slices(texts, 5, 6, 32)
    assert [len(part) for part in found] == [6 * 32] * 5
    every = [int(text[:5]) for part in found for text in part]
    assert len(set(every)) == len(every)
    for part in found:
        for start in range(0, len(part), 32):
            own = [int(text[:5]) for text in part[start : start + 32]]
            assert own == list(range(own[0], own[0] + 32)), "a stretch is neighbours"
    sizes = [sum(map(len, part)) for part in found]
    assert max(sizes) < 1.02 * min(sizes), "as much to do in each repetition"


def test_slices_of_few_texts_are_fewer_stretches():
    texts = [str(number) for number in range(200)]
    assert [len(part) for part in encoding.slices(texts, 5, 10, 32)] == [32] * 5


def test_drawn_texts_are_distinct_of_the_wanted_lengths_and_always_the_same(there):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(there.base)
    drawn = materials.draw_texts(there.pairs, tokenizer, 500)
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in drawn]
    assert len(set(drawn)) == 500 and min(lengths) >= materials.SHORTEST and max(lengths) <= materials.LONGEST
    assert drawn == materials.draw_texts(there.pairs, tokenizer, 500)
    with pytest.raises(UserError, match=r"holds only .* distinct texts of 8 to 400 tokens, but the bench needs 5000"):
        materials.draw_texts(there.pairs, tokenizer, 5000)


def test_both_sides_give_the_same_vectors(there):
    ours, theirs = encoding.our_model(there.base, "float32"), encoding.library_model(there.base, "float32")
    texts = materials.draw_texts(there.pairs, ours.tokenizer, 40)
    a, b = encoding.our_encode(ours)(texts), encoding.library_encode(theirs, 8)(texts)
    assert np.allclose(a, b, atol=1e-5)
    assert encoding.least_cosine([a], [b]) > encoding.AGREEMENT
    theirs.tokenizer.backend_tokenizer.post_processor = None
    bare = encoding.library_encode(theirs, 8)(texts)
    assert encoding.least_cosine([a], [bare]) < encoding.AGREEMENT, "without BOS and EOS they would differ"


def test_comparison_in_bfloat16_says_what_that_costs(there, tmp_path):
    (tmp_path / "hardware.json").write_text('{"dtype": "bfloat16"}')
    effort = materials.SHORT._replace(texts=200)
    rows = encoding.compare_encoding(there._replace(hardware=tmp_path / "hardware.json"), effort)
    assert [row.goal for row in rows[:2]] == list(encoding.GOALS) and math.isnan(rows[2].goal)
    assert (
        rows[0].ours == "last_token, bfloat16" and "(as demanded); ours in bfloat16 against float32: 0." in rows[0].note
    )


def test_missing_inputs_are_asked_of_snakemake(made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copy(made / "config.yaml", tmp_path)
    asked = []

    def run(words, **options):
        asked.append(words)
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match="Snakemake could not make work/demo/models/SmolLM2-135M-Instruct"):
        materials.prepare([Path("config.yaml")])
    assert asked[0][-1] == "work/demo/hardware.json" and "work/demo/pairs" in asked[0]


# -- training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mini", [None, 4])
def test_both_trainers_learn_the_same_from_texts_that_are_cut(mini, there):
    rows = training.compare_epoch(there, materials.Epoch(20, 8, mini, 40), 2)
    assert [row.rival.split(" (")[0] for row in rows] == ["trainer, defaults", "trainer, best settings"]
    assert rows[0].goal == (2.0 if mini is None else 1.3) and math.isnan(rows[1].goal)
    for found in rows:
        assert "the same curve" in found.note and "2 steps an epoch" in found.note and found.limit > found.ratio > 0
    assert "tried: float32" in rows[1].note and "tried" not in rows[0].note


# -- limits ---------------------------------------------------------------------------------------------


def test_useful_work_is_counted_without_padding(there):
    texts = ["dog", "quick brown fox"]
    job = limits.encoding_job(there, "last_token", texts)
    config = load_config(Path("config.yaml"))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(there.base)
    lengths = [2 + len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    # 2 layers of width 32 with 2 of 4 heads for keys and values, 64 wide within
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    expected = sum(length * (2 * weights + 4 * 2 * 32 * length) for length in lengths)
    expected -= 2 * (sum(lengths) - 2) * (2 * 32 * 32 + 3 * 32 * 64)  # of the last layer, for all tokens but EOS
    assert config.bases == [there.base.name] and job.useful.tokens == {"llm": sum(lengths)}
    assert job.useful.flops == pytest.approx(expected)


def test_echo_reads_about_twice_as_much_and_causal2vec_also_the_encoder(there):
    texts = ["quick brown fox jumps lazy dog short rather different longer sentence"] * 3
    plain, twice, two = (limits.encoding_job(there, m, texts).useful for m in ("last_token", "echo", "causal2vec"))
    assert twice.flops > 1.8 * plain.flops
    assert set(two.tokens) == {"llm", "encoder"} and two.tokens["llm"] == plain.tokens["llm"] + 3


@pytest.mark.parametrize("method", limits.TRAINED)
def test_training_job_takes_a_step_and_its_share_is_of_the_rate(method, there):
    job = limits.training_job(there, method, 8)
    forward = limits.encoding_job(there, method, ["dog"]).useful
    assert job.useful.flops > forward.flops
    found = limits.utilisation(job, "float32", 2)
    assert found["work"] == "training" and found["seconds_min"] <= found["seconds"] <= found["seconds_max"]
    # Not below one: a model as small as this multiplies matrices so small that their rate comes and goes.
    rate = (found["rate_before"] + found["rate_after"]) / 2
    assert found["share"] == pytest.approx(found["achieved_gflops"] / rate) and found["rate_before"] > 0
    assert found["achieved_gflops"] == pytest.approx(job.useful.flops / found["seconds"] / 1e9)


def test_share_is_of_the_mean_rate_before_and_after():
    assert limits.least_seconds(400e9, [100.0, 300.0]) == pytest.approx(2.0)


# -- curves ------------------------------------------------------------------------------------------------


def test_curves_are_drawn_for_what_was_measured(tmp_path):
    points = [
        scaling.point("batches", "memory", series, x, [y], "MB")
        for series, values in {"cached": (100, 101), "plain": (100, 200)}.items()
        for x, y in zip((64, 128), values, strict=True)
    ]
    scaling.write_curves(points, comparison.Pages(ABOUT, tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"scaling.csv", "scaling_batches.svg", "scaling_batches.png"}
    assert "With gradient caching it should stay." in (tmp_path / "scaling_batches.svg").read_text()
    assert pd.read_csv(tmp_path / "scaling.csv")["y"].tolist() == [100, 101, 100, 200]


# -- the workflow ------------------------------------------------------------------------------------------


def test_planned_study_has_the_stated_size():
    config = load_config(workflow.large_study())
    assert len(runs_of(config)) == workflow.METHODS * workflow.SEEDS
    assert config.evaluation.shards == workflow.SHARDS


def test_a_plan_is_timed_beside_snakemakes_own(there):
    [found] = workflow.compare_workflow(there, materials.SHORT)
    assert found.ours_median > found.rival_median > 0.5 and found.limit > found.ratio > 0
    ours, bare = (int(count.replace(",", "")) for count in re.findall(r"[\d,]*\d{3}\b", found.note)[:2])
    assert bare == workflow.METHODS * workflow.SEEDS * (workflow.SHARDS + 1) + 2 and bare < ours < 1.05 * bare


def test_both_sides_of_the_evaluation_give_the_same_scores(there, task_data):
    """The same model, read by mteb and by this suite, here with random weights, whose ties are the hardest case."""
    names = ["WordSim353STS", "ICD10ChapterClassification", "AWSOperationReranking"]
    cold, warm = encoding.compare_evaluation(there._replace(tasks=task_data), materials.SHORT, names)
    assert "part by at most 0.000 points" in cold.note
    assert cold.ratio > 0 and warm.ours_median > cold.ours_median > 0


# -- the command -------------------------------------------------------------------------------------------


def bench(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "causal2vec.bench", *words],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_help_names_the_sections():
    done = bench("--help")
    assert done.returncode == 0 and "encoding, limits, training, evaluation, workflow, scaling" in " ".join(
        done.stdout.split()
    )


def test_unknown_section_is_one_sentence():
    done = bench("--only", "encoding,speed")
    assert done.returncode == 2
    assert done.stderr == (
        "error: --only has 'speed', which is no section; name some of encoding, limits, training, evaluation, "
        "workflow, scaling\n"
    )


def test_short_run_writes_tables_and_figures(made):
    done = bench(
        "--config", "config.yaml", "--short", "--only", "encoding,limits,scaling", "--output", "out", folder=made
    )
    assert done.returncode == 0, done.stderr
    out = made / "out"
    rows = pd.read_csv(out / "bench.csv")
    assert rows["goal"].tolist()[:2] == [3.5, 1.8] and (rows["ratio"] > 0).all() and (rows["limit"] > 0).all()
    assert "lowest cosine of vectors in float32 1.0000" in (out / "bench.md").read_text()
    shares = pd.read_csv(out / "limits.csv")
    assert list(zip(shares["work"], shares["method"], strict=True)) == [
        *(("encoding", method) for method in limits.METHODS),
        *(("training", method) for method in limits.TRAINED),
    ]
    assert re.search(r"matrices: \d+ GFLOP/s in float32, \d+ GFLOP/s in bfloat16\.", (out / "limits.md").read_text())
    points = pd.read_csv(out / "scaling.csv")
    assert set(points["curve"]) == {"texts", "lengths", "batches"}
    memory = points[(points["curve"] == "texts") & (points["quantity"] == "memory")].set_index(["series", "x"])["y"]
    assert memory["of which vectors", 1000] == pytest.approx(1000 * 32 * 4 / 1e6)
    assert (points["y_min"] <= points["y"]).all() and (points[points["quantity"] != "memory"]["y"] > 0).all()
