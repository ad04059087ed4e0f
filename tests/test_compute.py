"""What a process does before it computes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from conftest import ROOT

FAULTS = """
import resource, sys, torch
from causal2vec.compute import keep_freed_memory
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


def faults(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, word], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
def test_memory_of_a_freed_tensor_is_there_for_the_next():
    as_it_is, kept = faults("gives back"), faults("keeps")
    assert kept < 100 and as_it_is > 10 * kept + 1000, (as_it_is, kept)
