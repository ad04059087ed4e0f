"""The bench: who is timed when, what the table says of it, and one short run of the real thing on tiny models."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from causal2vec.bench import curves, encoding, limits, materials, profiling, report
from causal2vec.bench.scaling import Point
from causal2vec.bench.timing import Contender, Timing, row, take_turns
from causal2vec.config import load_config
from causal2vec.errors import UserError

WORDS = [
    "quick",
    "brown",
    "fox",
    "jumps",
    "lazy",
    "dog",
    "short",
    "rather",
    "different",
    "longer",
    "sentence",
    "padding",
    "treated",
    "batches",
    "mix",
    "texts",
]
ABOUT = {"Machine": "a machine", "Date": "2000-01-01", "Commit": "abc"}


def a_row(ratio: float = 2.0, goal: float = 3.0, limit: float | None = None, note: str = "checked"):
    ours, rival = Timing("ours", [1.0, 2.0, 4.0], None), Timing("theirs", [2.0 * ratio], None)
    return row("work", ours, rival, amount=8, unit="texts", goal=goal, limit=limit, note=note)


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """A work folder as `prepare` wants it, with tiny models in the place of the demo's; and its configuration."""
    home = tmp_path_factory.mktemp("bench")
    plain = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    plain["compute"]["threads"] = 1
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
        Contender(n, lambda n=n: log.append(n) or n.upper(), lambda n=n: log.append(f"warm {n}")) for n in "ab"
    ]
    found = take_turns(contenders, 3)
    assert log == ["warm a", "warm b", "a", "b", "a", "b", "a", "b"]
    assert len(found["a"].seconds) == 3 and found["b"].result == "B"


def test_ratio_is_of_medians_and_rates_are_of_amounts():
    found = a_row(ratio=2.0)
    assert (found.ours_median, found.ours_min, found.ours_max) == (4.0, 2.0, 8.0)
    assert found.ratio == 2.0 and found.rival_median == 2.0 and found.unit == "texts/s"


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
    assert report.met(a_row(ratio, goal, limit)) == said


def test_table_has_the_machine_the_numbers_and_the_notes(tmp_path):
    rows = [a_row(note="lowest cosine 1"), a_row(goal=float("nan"), limit=2.25, note="a | b")]
    report.write_rows(rows, ABOUT, tmp_path)
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
    report.write_rows([alone], ABOUT, tmp_path)
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
    assert encoding._least_cosine([a], [b]) > encoding.AGREEMENT
    bare = encoding.library_encode(theirs, 8, bare=True)(texts)
    assert encoding._least_cosine([a], [bare]) < encoding.AGREEMENT, "without BOS and EOS they would differ"


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


# -- limits and profile ------------------------------------------------------------------------------------


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
    job = limits.training_job(there, method, materials.draw_pairs(there.pairs, 8))
    forward = limits.encoding_job(there, method, ["dog"]).useful
    assert job.useful.flops > forward.flops
    found = limits.utilisation(job, "float32", 2)
    assert found.work == "training" and found.seconds_min <= found.seconds <= found.seconds_max
    # Not below one: a model as small as this multiplies matrices so small that their rate comes and goes.
    rate = (found.rate_before + found.rate_after) / 2
    assert found.share == pytest.approx(found.achieved_gflops / rate) and found.rate_before > 0 < found.rate_after
    assert found.achieved_gflops == pytest.approx(job.useful.flops / found.seconds / 1e9)


def test_share_is_of_the_mean_rate_before_and_after():
    ceiling = limits.Ceiling(Counter(), "float32")
    ceiling.before, ceiling.after = 100.0, 300.0
    assert ceiling.seconds(400e9) == pytest.approx(2.0)


def test_profile_sorts_operators_into_kinds_and_gives_python_the_rest():
    operators = [("aten::mm", 6.0, 3), ("aten::mul", 1.5, 9), ("aten::cat", 1.0, 2), ("aten::view", 0.5, 99)]
    rows = profiling.rows("encoding", operators, 10.0)
    kinds = {r["kind"]: r["share"] for r in rows if r["level"] == "kind"}
    assert kinds == {
        profiling.MULTIPLICATION: 0.6, profiling.OTHER: 0.15, "copies": 0.1, "views and allocation": 0.05,
        profiling.PYTHON: pytest.approx(0.1),
    }  # fmt: skip
    assert profiling.largest_remaining(rows, "encoding")[0]["kind"] == profiling.OTHER
    assert profiling.kind_of("Optimizer.step#AdamW.step") == profiling.PYTHON
    assert profiling.kind_of("aten::_scaled_dot_product_flash_attention_for_cpu") == "attention"


def test_profile_of_a_real_job_accounts_for_all_of_its_time(there):
    rows = profiling.profile(limits.encoding_job(there, "last_token", ["quick brown fox"] * 20))
    kinds = {r["kind"]: r for r in rows if r["level"] == "kind"}
    assert sum(r["share"] for r in kinds.values()) == pytest.approx(1, abs=0.01)
    assert kinds[profiling.MULTIPLICATION]["calls"] > 0 and kinds["attention"]["calls"] > 0


# -- curves ------------------------------------------------------------------------------------------------


def test_curves_are_drawn_for_what_was_measured(tmp_path):
    points = [
        Point("batches", "memory", series, x, "pairs per batch", y, y, y, "MB")
        for series, values in {"cached": (100, 101), "plain": (100, 200)}.items()
        for x, y in zip((64, 128), values, strict=True)
    ]
    paths = curves.write_scaling(points, "a machine", tmp_path)
    assert {p.name for p in paths} == {"scaling.csv", "scaling_batches.svg", "scaling_batches.png"}
    svg = (tmp_path / "scaling_batches.svg").read_text()
    assert "plain: 200 MB at 128 pairs per batch" in svg
    assert pd.read_csv(tmp_path / "scaling.csv")["y"].tolist() == [100, 101, 100, 200]


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
    assert "Largest costs besides matrix multiplication:" in (out / "profile.md").read_text()
    points = pd.read_csv(out / "scaling.csv")
    assert set(points["curve"]) == {"texts", "lengths", "batches", "jobs"}
    memory = points[(points["curve"] == "texts") & (points["quantity"] == "memory")].set_index(["series", "x"])["y"]
    assert memory["of which vectors", 1000] == pytest.approx(1000 * 32 * 4 / 1e6)
    assert (points["y_min"] <= points["y"]).all() and (points[points["quantity"] != "memory"]["y"] > 0).all()
