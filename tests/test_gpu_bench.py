"""``--gpu``: the whole of it in small on the processor, stages that go wrong, the bundle, and what becomes of a run."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from causal2vec.bench.gpu import bundle, report
from causal2vec.bench.gpu.run import Plan, measure
from causal2vec.bench.gpu.shapes import METHODS, TINY
from causal2vec.bench.gpu.stage import GOOD, UNTRIED, Check, Stage
from causal2vec.errors import UserError
from causal2vec.files import read_yaml
from causal2vec.packing import Layout
from causal2vec.plan.rates import ASSUMED, TABLE, _known, add_measured
from causal2vec.reporting.schema import read_efficiency

ROOT = Path(__file__).parents[1]
BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("snakemake", "mteb"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
"""
CHECKS = 21
NEEDS_A_GPU = {
    "kernels of norms, activations and rotations", "qwen3: flash-attn beside sdpa, bfloat16",
    "memory of encoding, as planned", "memory of a training step, beside the rival's",
    "memory of a training step, as planned",
}  # fmt: skip


def environment(*first: Path) -> dict[str, str]:
    path = os.pathsep.join([*map(str, first), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory) -> Path:
    """The folder of a tiny run, on a machine without snakemake and mteb."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "sitecustomize.py").write_text(BLOCKED)
    words = [sys.executable, "-m", "causal2vec.bench", "--gpu", "--tiny", "--output", str(folder / "out")]
    done = subprocess.run(words, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    blocked = [sys.executable, "-c", "import mteb"]
    assert "is blocked" in subprocess.run(blocked, env=environment(folder), capture_output=True, text=True).stderr
    return folder / "out"


def rows_of(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.timeout(300)
def test_a_tiny_run_finds_every_check_as_expected(tiny_run):
    verdicts = {subject: verdict for subject, *_, verdict in rows_of(tiny_run / "checks.md")}
    assert len(verdicts) == CHECKS
    assert {subject for subject, verdict in verdicts.items() if verdict == UNTRIED} == NEEDS_A_GPU
    assert all(verdict == GOOD for subject, verdict in verdicts.items() if subject not in NEEDS_A_GPU)


def test_a_tiny_run_measures_everything(tiny_run):
    measured = pd.read_csv(tiny_run / "gpu.csv")
    assert len(measured) == 4 and (measured.ours_median > 0).all() and (measured.rival_median > 0).all()
    assert not measured.note.str.contains("BELOW|APART").any()
    costs = read_efficiency(tiny_run / "efficiency.csv")
    assert set(costs.method) == set(METHODS) and set(costs.base) == {TINY.base}
    assert (tiny_run / "profile.csv").is_file() and (tiny_run / "accelerators.yaml").is_file()
    assert "The stage" not in (tiny_run / "gpu.md").read_text(), "a stage ended early"


# -- stages that go wrong ----------------------------------------------------------------------------------


def raises(stage: Stage) -> None:
    stage.check("before the fault", "kept", "kept", True)
    raise ValueError("nonsense")


def overruns(stage: Stage) -> None:
    stage.check("before the limit", "kept", "kept", True)
    time.sleep(120)


def lacks_memory(stage: Stage) -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB")


def dies(stage: Stage) -> None:
    os.kill(os.getpid(), 9)


def works(stage: Stage) -> None:
    stage.check("after all", "done", "done", True)


def test_a_stage_that_goes_wrong_says_so_in_one_sentence_and_the_next_one_runs(tmp_path):
    plans = [("raises", 20.0), ("lacks_memory", 20.0), ("dies", 20.0), ("overruns", 8.0), ("works", 20.0)]
    stages = [Plan(name, f"{__name__}.{name}", part) for name, part in plans]
    found = measure(tmp_path, minutes=0.6, size=TINY, stages=stages)
    notes = {note.stage: note.text for note in found.of(report.Note)}
    assert list(notes) == ["raises", "lacks_memory", "dies", "overruns"]
    assert "ValueError: nonsense" in notes["raises"] and "out of memory" in notes["lacks_memory"]
    assert "died" in notes["dies"] and "limit" in notes["overruns"]
    assert [check.subject for check in found.of(Check)] == ["before the fault", "before the limit", "after all"]
    page = (tmp_path / "checks.md").read_text()
    assert all(text in page for text in notes.values()) and "after all" in page


def test_a_stage_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"'encoding'.*did you mean 'encode'"):
        measure(tmp_path, only="encoding", size=TINY)


# -- the bundle --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_bundle(tmp_path_factory) -> Path:
    """A bundle whose wheels are stand-ins, unpacked elsewhere."""
    folder = tmp_path_factory.mktemp("bundle")

    def download(wheels: Path) -> None:
        wheels.mkdir()
        (wheels / "datasets-1-py3-none-any.whl").write_bytes(b"")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "download", download)
        archive = bundle.make_bundle(folder / "made" / "gpu-bundle")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / "gpu-bundle"


def test_a_bundle_holds_what_a_bare_machine_needs(made_bundle):
    for name in ("causal2vec/bench/gpu/run.py", "causal2vec/plan/accelerators.yaml", "baselines/echo.py", "LICENSE"):
        assert (made_bundle / "source" / name).is_file(), name
    assert (made_bundle / "source" / report.COMMIT).read_text().strip() == report.commit()
    assert list((made_bundle / "wheels").glob("*.whl")) and os.access(made_bundle / "run.sh", os.X_OK)
    assert not list(made_bundle.rglob("__pycache__"))
    assert {pin.partition("==")[0] for pin in bundle.pins()} == set(bundle.PACKAGES)


def test_a_bundle_runs_its_own_sources_and_not_a_checkout_in_the_current_folder(made_bundle, tmp_path):
    (made_bundle / "packages").mkdir(exist_ok=True)
    (made_bundle / "packages" / ".done").touch()
    (tmp_path / "causal2vec").mkdir()
    (tmp_path / "causal2vec" / "__init__.py").write_text("raise SystemExit('shadowed')")
    own = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run = [made_bundle / "run.sh", "--tiny", "--only", "nothing"]
    done = subprocess.run(run, cwd=tmp_path, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no stage" in done.stderr and "shadowed" not in done.stderr + done.stdout


# -- what becomes of a run ---------------------------------------------------------------------------------


def test_a_run_is_published_in_the_place_of_the_last_one(tiny_run, tmp_path):
    page, table = tmp_path / "gpu.md", tmp_path / "accelerators.yaml"
    table.write_text(TABLE.read_text())
    (tmp_path / "run").mkdir()
    for path in tiny_run.iterdir():
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    page.write_text((ROOT / "docs" / "gpu.md").read_text())
    for _ in range(2):
        report.publish(tmp_path / "run", page, table)
        text = page.read_text()
        assert text.count("### Measured on a GPU") == 1 and text.count("### Checked on a GPU") == 1
    assert "not measured yet" not in text and text.startswith("# On a GPU")
    assert (tmp_path / "gpu" / "efficiency.csv").read_text() == (tiny_run / "efficiency.csv").read_text()
    assert "measured:" in table.read_text() and TABLE.read_text() in table.read_text()


@pytest.mark.parametrize(("missing", "remedy"), [("gpu.md", "run of --gpu"), (report.BEGIN, "put them back")])
def test_what_cannot_be_published_is_refused(missing, remedy, tmp_path):
    for name in ("gpu.md", "checks.md"):
        if name != missing:
            (tmp_path / name).write_text("# a run\n")
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "gpu.md").read_text().replace(missing, ""))
    with pytest.raises(UserError, match=remedy):
        report.publish(tmp_path, page, tmp_path / "table.yaml")


def test_a_plan_knows_which_rates_were_measured(tmp_path):
    table, run = tmp_path / "table.yaml", tmp_path / "run.yaml"
    table.write_text(TABLE.read_text())
    known = "card: 'NVIDIA H100 80GB HBM3', date: '2026-11-28', commit: abcdef0"
    run.write_text(
        f"H100: {{name: x, memory: 1.0e+9, device: cuda, measured: {{{known}, training: null, encoding: 4.0e+14}}}}"
    )
    add_measured(run, table)
    row = read_yaml(table, "")["H100"]
    found = _known("H100", row)
    assert found.encoding == 4e14 and "2026-11-28" in found.sources[1] and "abcdef0" in found.sources[1]
    assert found.training == pytest.approx(989e12 * 0.35) and found.sources[0] == ASSUMED
    before = TABLE.read_text().splitlines()
    changed = [line for line in table.read_text().splitlines() if line not in before]
    assert len(changed) == 1 and changed[0].startswith("H100:"), "all else is as it was, remarks included"


def test_a_new_card_needs_both_rates(tmp_path):
    table, run = tmp_path / "table.yaml", tmp_path / "run.yaml"
    table.write_text(TABLE.read_text())
    measured = "measured: {card: B9, date: '2026-11-28', commit: abc, training: 1.0e+14, encoding: null}"
    run.write_text(f"B9: {{name: B9, memory: 1.0e+9, device: cuda, {measured}}}")
    with pytest.raises(UserError, match="no rate of encoding"):
        add_measured(run, table)
    run.write_text(run.read_text().replace("null", "2.0e+14"))
    add_measured(run, table)
    assert _known("B9", read_yaml(table, "")["B9"]).encoding == 2e14


# -- what a GPU is spared ----------------------------------------------------------------------------------


def test_a_layout_asks_the_copy_on_the_processor():
    real = torch.tensor([[0, 1, 1], [1, 1, 1]])
    there = torch.zeros_like(real)  # what a GPU would have to be waited for
    there.on_host = real
    found, expected = Layout(there, causal=True), Layout(real, causal=True)
    assert torch.equal(found.index, expected.index) and torch.equal(found.positions, expected.positions)


@pytest.mark.parametrize("half", [False, True])
def test_adapters_that_add_in_place_have_the_same_gradients(half):
    from peft import LoraConfig

    from causal2vec.training.adapter import Adapter

    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=False).requires_grad_(False)
    layer = layer.bfloat16() if half else layer
    adapter = Adapter(layer, "default", LoraConfig(r=4, lora_alpha=8), r=4, lora_alpha=8)
    adapter.lora_A.float(), adapter.lora_B.float()
    nn.init.normal_(adapter.lora_B["default"].weight)
    states = torch.randn(2, 5, 24, dtype=layer.weight.dtype)
    found = []
    for forward in (adapter.forward, lambda x: adapter.in_place(x, "default")):
        x = states.clone().requires_grad_()
        adapter.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            made = forward(x)
        made.float().square().sum().backward()
        weights = [adapter.lora_A["default"].weight, adapter.lora_B["default"].weight]
        found.append([made.detach().float(), x.grad.float(), *(w.grad.clone() for w in weights)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=3e-2 if half else 1e-5, atol=3e-1 if half else 1e-4)


TRITON = """
import torch, math
from causal2vec import gpu_layers, gpu_kernels

torch.cuda.device_of = lambda tensor: torch.no_grad()
torch.manual_seed(0)
for tokens in (7, 16):
    gate, up = (torch.randn(tokens, 96, requires_grad=True) for _ in range(2))
    made = gpu_layers.gated(gate, up)
    expected = torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(made, expected)
    g = torch.randn_like(made)
    for a, b in zip(torch.autograd.grad(made, (gate, up), g), torch.autograd.grad(expected, (gate, up), g)):
        torch.testing.assert_close(a, b)
    states = torch.randn(1, tokens, 6, 16).transpose(1, 2).requires_grad_()
    angles = torch.randn(1, tokens, 8).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    made = gpu_layers.rotated(states, cos, sin)
    half = torch.cat([-states[..., 8:], states[..., :8]], -1)
    expected = states * cos[:, None] + half * sin[:, None]
    torch.testing.assert_close(made, expected)
    g = torch.randn_like(made)
    torch.testing.assert_close(torch.autograd.grad(made, states, g)[0], torch.autograd.grad(expected, states, g)[0])
print("all equal")
"""


def test_kernels_compute_what_they_replace():
    """In Triton's interpreter, which needs no GPU."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", TRITON], env={**environment(), "TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    if "0 active drivers" in done.stderr:
        pytest.skip("this Triton wants a driver even to interpret")
    assert "all equal" in done.stdout, done.stderr[-2000:]
