"""What a process does before it computes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from conftest import ROOT

from causal2vec.runtime.machine import _processor

PROGRAMS = """
import sys, torch
from causal2vec.runtime.machine import keep_few_programs
if sys.argv[1] == "few":
    keep_few_programs()
def held():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024
weight, rows = torch.ones(1536, 576, dtype=torch.bfloat16), torch.ones(464, 576, dtype=torch.bfloat16)
with torch.inference_mode():
    torch.nn.functional.linear(rows, weight)
    before = held()
    for count in range(64, 464):
        torch.nn.functional.linear(rows[:count], weight)
print(held() - before)
"""
"""What 400 products of as many shapes leave behind, in MB."""

FAULTS = """
import resource, sys, torch
from causal2vec.runtime.machine import keep_freed_memory
if sys.argv[1] == "keeps":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
x = torch.ones(10_000_000)  # 40 MB: more than glibc would ever keep
def sums():
    for _ in range(20):
        y = x + x
        del y
sums()
before = faults()
sums()
print(faults() - before)
"""


def run(script: str, word: str) -> float:
    # A training in this process has set it for itself.
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_CACHE_CAPACITY")}
    done = subprocess.run(
        [sys.executable, "-c", script, word], cwd=ROOT, env=clean, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
def test_memory_of_a_freed_tensor_is_there_for_the_next():
    as_it_is, kept = run(FAULTS, "gives back"), run(FAULTS, "keeps")
    assert kept < 100 and as_it_is > 10 * kept + 1000, (as_it_is, kept)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_programs_for_ever_new_shapes_do_not_fill_the_memory():
    all_of_them, few = run(PROGRAMS, "all"), run(PROGRAMS, "few")
    if all_of_them < 100:
        pytest.skip("this processor has no programs for bfloat16 that would be kept")
    assert few < 0.7 * all_of_them, (few, all_of_them)


def test_processors_that_call_themselves_alike_are_told_apart(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(
        "".join(f"processor\t: {n}\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\n" for n in (0, 1))
    )
    assert _processor(info) == "AMD EPYC (family 25, model 17)"
    info.write_text("processor\t: 0\nmodel name\t: An ARM\nCPU part\t: 0xd0c\n")
    assert _processor(info) == "An ARM"
    assert _processor(tmp_path / "none") == (platform.processor() or platform.machine())
