"""`make gpu` on a processor: every stage at small shapes, and what becomes of stages that fail."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time

import pytest
from conftest import ROOT

from causal2vec.bench.gpu import bundle, report, run, training
from causal2vec.bench.gpu.shapes import FULL, TINY
from causal2vec.bench.gpu.stage import BAD, GOOD, UNTRIED, Stage
from causal2vec.errors import UserError
from causal2vec.plan.rates import TABLE
from causal2vec.reporting.read.schema import read_efficiency

# -- all stages, for real ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """`--gpu --tiny`: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("gpu") / "results"
    words = ["-m", "causal2vec.bench", "--gpu", "--tiny", "--output", str(folder)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def test_a_trial_finds_what_is_expected(trial):
    text = (trial[0] / "checks.md").read_text()
    verdicts = re.findall(r"\| ([^|]+) \|$", text, re.MULTILINE)[2:]
    assert len(verdicts) > 15 and set(verdicts) == {GOOD, UNTRIED}, text
    assert f"{len(verdicts)} checks, 0 not as expected" in text
    assert not re.search(r"^- (vectors|learning|encode|long|shared|training|efficiency): ", text, re.MULTILINE), text


@pytest.mark.parametrize("name", [plan.name for plan in run.STAGES])
def test_every_stage_has_something_to_say(trial, name):
    said = re.search(rf"gpu: {name}: \d+ s at most\n(.*?)^\S+ gpu: {name}: done after", trial[1], re.DOTALL | re.M)
    assert said and " gpu: " in said[1], trial[1]


def test_a_trial_leaves_tables(trial):
    with (trial[0] / "gpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["unit"] for row in rows] == ["texts/s"] * 3 + ["pairs/s"]
    assert all(float(row["ours_median"]) > 0 and float(row["rival_median"]) > 0 for row in rows)
    page = (trial[0] / "gpu.md").read_text()
    assert "- Card: none: the processor" in page and "- Commit: " in page
    assert all(row["work"] in page for row in rows) and "What each method costs" in page
    costs = read_efficiency(trial[0] / "efficiency.csv")  # as a study reads it beside its own
    assert len(set(costs.method)) == 6 and set(costs.base) == {TINY.base}
    behind = costs[(costs.method == "echo") & (costs.setting == "examples") & (costs.reuse == "no")]
    assert behind.prompt_tokens.nunique() == 2, "examples of two lengths are two rows"


# -- stages that fail --------------------------------------------------------------------------------------


def fails(stage):
    stage.check("before the failure", "told", "told", True)
    raise ValueError("no such\nthing")


def exhausts(stage):
    stage.check("before the memory is full", "told", "told", True)
    raise MemoryError("all of it")


def overruns(stage):
    stage.check("before the limit", "told", "told", True)
    time.sleep(600)


def dies(stage):
    stage.check("before the end", "told", "told", True)
    time.sleep(0.5)
    os._exit(9)


def stops(stage):
    stage.check("the last one", "told", "told", False)


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures")
    plans = [run.Plan(f.__name__, f"{__name__}.{f.__name__}", 1) for f in (fails, exhausts, overruns, dies, stops)]
    plans[2] = plans[2]._replace(part=0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "PRELOADED", ["torch", "transformers.utils", __name__])
        run._context.cache_clear()
        found = run.measure(folder, minutes=1.5, size=TINY, stages=plans)
        run._context.cache_clear()
    assert len(found.of(report.Check)) == 5, "what a stage said before it ended is kept, and the next one runs"
    return (folder / "checks.md").read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fails", r"failed: ValueError: no such thing"),
        ("exhausts", r"ran out of memory \(all of it\)"),
        ("overruns", r"stopped at its limit of \d+ s"),
        ("dies", r"process died \(exit status 9\)"),
    ],
)
def test_a_stage_that_fails_says_so_in_one_sentence(failures, name, words):
    assert len(re.findall(rf"^- {name}: .*{words}.*$", failures, re.MULTILINE)) == 1, failures
    assert failures.count(f"- {name}: ") == 1


def test_the_stage_behind_failures_runs(failures):
    assert f"| the last one | told | told | {BAD} |" in failures
    assert "5 checks, 1 not as expected" in failures


def test_unknown_stages_and_absent_gpus_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"'encodes', which is no stage.*'encode'"):
        run.measure(tmp_path, "encodes", size=TINY)
    monkeypatch.setattr("causal2vec.runtime.gpus.local_gpus", lambda: 0)
    with pytest.raises(UserError, match=r"no NVIDIA GPU.*--tiny"):
        run.measure(tmp_path)


# -- what time allows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "batch"), [(100.0, 512), (16.0, 256), (3.0, 128)])
def test_a_step_is_as_large_as_time_allows(seconds, batch, monkeypatch):
    stage = Stage(FULL, lambda record: None, seconds)
    monkeypatch.setattr(stage, "left", lambda: seconds)
    assert training._fits(stage, 4.0, 128) == batch


@pytest.mark.parametrize(("seconds", "tried"), [(1000.0, [64, 128]), (0.0, [128])])
def test_mini_batches_are_tried_largest_first_as_time_allows(seconds, tried, monkeypatch):
    stage = Stage(FULL._replace(device="cpu"), lambda record: None, seconds)
    monkeypatch.setattr(stage, "left", lambda: seconds)
    steps = []
    found = training._tried(stage, lambda mini, pairs: steps.append((mini, pairs)), 128)
    assert sorted(found) == tried and steps == [(64, 128), *((mini, 128) for mini in reversed(tried))]


# -- publishing --------------------------------------------------------------------------------------------


@pytest.fixture
def docs(tmp_path):
    """Copies of what publishing changes: the page and the plan's rates."""
    (tmp_path / "docs").mkdir()
    page, table = tmp_path / "docs" / "gpu.md", tmp_path / "accelerators.yaml"
    page.write_text((ROOT / "docs" / "gpu.md").read_text())
    table.write_text(TABLE.read_text())
    return page, table


def results_of_a_gpu(folder, trial):
    """A trial's files, with the rates of a GPU."""
    shutil.copytree(trial[0], folder)
    card = (
        "{name: NVIDIA H100, training: 4.5e+14, encoding: 5.1e+14, memory: 8.5e+10, device: cuda, measured: 2026-11-28}"
    )
    (folder / "accelerators.yaml").write_text(f"H100: {card}\n")
    return folder


def test_publishing_puts_a_run_into_docs_and_plan(trial, docs, tmp_path):
    page, table = docs
    before = page.read_text()
    results = results_of_a_gpu(tmp_path / "run", trial)
    report.publish(results, page, table)
    once = page.read_text()
    assert once.startswith(before.split(report.BEGIN)[0]) and once.count(report.BEGIN) == once.count(report.END) == 1
    assert "Not measured yet." not in once and "### Measured on a GPU" in once and "### Checked on a GPU" in once
    assert (tmp_path / "docs" / "gpu" / "efficiency.csv").read_text() == (results / "efficiency.csv").read_text()
    assert "training: 4.5000e+14, encoding: 5.1000e+14, memory: 8.5000e+10}" in table.read_text()
    report.publish(results, page, table)
    assert page.read_text() == once, "the next run stands in the place of the last"


def test_a_trial_on_a_processor_is_not_published(trial, docs):
    page, table = docs
    before = page.read_text(), table.read_text()
    with pytest.raises(UserError, match="trial on a processor"):
        report.publish(trial[0], page, table)
    page.write_text(before[0].replace(report.END, ""))
    with pytest.raises(UserError, match="lacks the lines"):
        report.publish(trial[0], page, table)
    with pytest.raises(UserError, match=r"holds no gpu\.md"):
        report.publish(page.parent.parent, page, table)
    assert (page.read_text(), table.read_text()) == (before[0].replace(report.END, ""), before[1])
    assert not (page.parent / "gpu").exists()


# -- a bare machine ----------------------------------------------------------------------------------------

BLOCKED = """
import importlib, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"snakemake", "mteb"}:
            raise ImportError(f"{name} is not on this machine")

sys.meta_path.insert(0, Refusing())
from causal2vec.bench.gpu.run import PRELOADED, STAGES
for name in [*PRELOADED, *(plan.function.rpartition(".")[0] for plan in STAGES)]:
    importlib.import_module(name)
"""


def test_no_stage_needs_snakemake_or_mteb():
    done = subprocess.run([sys.executable, "-c", BLOCKED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A bundle without wheels, unpacked elsewhere."""
    home = tmp_path_factory.mktemp("bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "download", lambda folder: None)
        archive = bundle.make_bundle(home / "gpu-bundle")
    with tarfile.open(archive) as file:
        file.extractall(home / "there", filter="data")
    return home / "there" / "gpu-bundle"


def test_a_bundle_holds_sources_their_commit_and_a_start(unpacked):
    source = unpacked / "source"
    assert (source / "causal2vec" / "bench" / "gpu" / "run.py").is_file() and (source / "baselines").is_dir()
    assert (source / "COMMIT").read_text().strip() == report.commit()
    assert os.access(unpacked / "run.sh", os.X_OK)
    assert not list(unpacked.rglob("__pycache__"))


def test_the_bundle_runs_its_own_sources_wherever_it_is_started(unpacked, tmp_path):
    (tmp_path / "causal2vec").mkdir()
    (tmp_path / "causal2vec" / "__init__.py").write_text("raise SystemExit('another checkout')")
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    pip = f'mkdir -p "{unpacked}/packages"; echo "$@"; exit'
    python.write_text(f'#!/bin/sh\nif [ "$2" = pip ]; then {pip}; fi\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    words = ["sh", str(unpacked / "run.sh"), "--only", "nothing", "--tiny", "--output", str(tmp_path / "results")]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "another checkout" not in done.stderr
    assert "'nothing', which is no stage" in done.stderr, "arguments go on"
    assert "--no-index" in done.stdout and str(unpacked / "packages") in done.stdout


def test_a_bundle_takes_the_versions_of_the_lock(monkeypatch):
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in bundle.pins())
    monkeypatch.setattr(bundle, "PACKAGES", ("nowhere",))
    with pytest.raises(UserError, match=r"lacks nowhere; add it"):
        bundle.pins()


# -- kernels -----------------------------------------------------------------------------------------------


KERNELS = """
import torch
from causal2vec.speed.gpu_layers import gated, rotated

def same(ours, theirs, inputs, others=()):
    results = []
    for function in (ours, theirs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = function(*leaves, *others)
        torch.manual_seed(1)
        out.backward(torch.randn(out.shape))
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)

def plain(states, cos, sin):
    first, second = states.chunk(2, dim=-1)
    return states * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]

torch.manual_seed(0)
same(gated, lambda g, u: torch.nn.functional.silu(g) * u, [torch.randn(3, 700), torch.randn(3, 700)])
angles = torch.randn(2, 5, 6).repeat(1, 1, 2)
same(rotated, plain, [torch.randn(2, 5, 3, 12).transpose(1, 2)], (angles.cos(), angles.sin()))
same(rotated, plain, [torch.randn(2, 5, 3, 12).transpose(1, 2)], (angles.cos()[:1], angles.sin()[:1]))
"""


def test_kernels_compute_what_transformers_does_in_tritons_interpreter():
    pytest.importorskip("triton", reason="Triton, which interprets its programs on a processor, is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    words = [sys.executable, "-c", KERNELS]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
