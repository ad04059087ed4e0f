"""The profiles as files, and what is said when Slurm has not what they ask for. Needs no Slurm."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from causal2vec.errors import UserError
from causal2vec.runtime.workflow import check_partitions

PROFILES = ["default", "slurm", "kubernetes"]


def text(profile: str) -> str:
    return (ROOT / "profiles" / profile / "profile.yaml").read_text()


def rules() -> set[str]:
    files = [ROOT / "workflow" / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    return set(re.findall(r"^ *rule (\w+):", "".join(path.read_text() for path in files), re.MULTILINE))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_setting_says_why(profile):
    lines = text(profile).splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"[a-z][\w-]*: \S", line) and not line.startswith("printshellcmds"):
            assert " # " in line or before.startswith("#"), line


def test_slurm_profile_names_rules_that_exist():
    profile = yaml.safe_load(text("slurm"))
    named = {*profile["set-resources"], *profile["set-threads"], *profile["groups"], profile["slurm-array-jobs"]}
    assert named <= rules()


def test_arrays_are_safe_from_the_plugins_limit():
    """Fewer jobs than are ready, and the plugin waits for ever for the rest of an array (its issue 473)."""
    profile = yaml.safe_load(text("slurm"))
    assert profile["jobs"] == "unlimited"
    assert int(profile["max-jobs-per-timespan"].split("/")[0]) >= 10_000


def test_slurm_profile_can_be_planned_without_slurm():
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet", "--profile", "profiles/slurm"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def sinfo(tmp_path, monkeypatch):
    """A command sinfo that answers what it is told to."""

    def answer(words: str, status: int = 0) -> None:
        (tmp_path / "sinfo").write_text(f"#!/bin/sh\n{words}\nexit {status}\n")
        (tmp_path / "sinfo").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return answer


@pytest.mark.parametrize(
    ("there", "wanted", "sentence"),
    [
        ("main* gpu", ["gpv"], "Slurm has no partition 'gpv' (did you mean 'gpu'?); correct slurm_partition under"),
        ("main* gpu", ["gpu", "huge"], "no partition 'huge' (there are: gpu, main)"),
        ("main* gpu", ["gpu,huge"], "no partition 'huge'"),
        ("cpu gpu", ["gpu", ""], "no default partition (cpu, gpu); set slurm_partition under default-resources"),
    ],
)
def test_absent_partition_is_named_with_its_remedy(sinfo, there, wanted, sentence):
    sinfo(f"echo {there}")
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_partitions(wanted)


@pytest.mark.parametrize("wanted", [[], [""], ["main"], ["gpu,main"]])
def test_present_partitions_pass(sinfo, wanted):
    sinfo("echo main* gpu")
    check_partitions(wanted)


def test_silent_slurm_is_one_sentence(sinfo):
    sinfo("echo 'cannot reach the controller' >&2", status=1)
    with pytest.raises(UserError, match="Slurm does not answer: cannot reach the controller"):
        check_partitions(["main"])


def test_no_slurm_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no Slurm on this machine"):
        check_partitions(["main"])
