"""Killed anywhere, as often as one likes: the same command ends in the same bytes, and finished work is kept.

``make torture`` kills at least 30 times (TORTURE_KILLS, TORTURE_SEED); ``make test`` a few times.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import killer
import pytest
import study

SEED = int(os.environ.get("TORTURE_SEED", "0"))
KILLS = int(os.environ.get("TORTURE_KILLS", "34"))

TIMED = ("efficiency", "training", "savings", "predictions")
"""Tables and figures that show measured seconds; two undisturbed runs part in them, too."""

COMPARED = ("scores.csv", "items", "tables", "statistics", "models", "mteb")


@pytest.fixture(scope="module")
def undisturbed(tiny, packages_folder, tmp_path_factory) -> Path:
    folder = study.prepare(tmp_path_factory.mktemp("whole") / "study", study.configuration(tiny), packages_folder)
    done = study.run(folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def compare(folder: Path, whole: Path) -> int:
    """All files that must be the same, byte by byte; how many they are."""
    names = {path.relative_to(whole) for top in COMPARED for path in files(whole / "results" / top)}
    assert names == {path.relative_to(folder) for top in COMPARED for path in files(folder / "results" / top)}
    for name in sorted(names):
        if name.name == "training.json" or name.name == "run_settings.jsonl":
            continue  # seconds, and when it was
        if name.parts[1] == "mteb" and "evaluation_time" in (whole / name).read_text():
            continue
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    return len(names)


def files(place: Path) -> list[Path]:
    found = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return [path for path in found if not any(word in path.name for word in (*TIMED, ".snakemake_timestamp"))
            or path.name == "training.json"]  # fmt: skip


def strays(folder: Path, temporary: Path) -> list[Path]:
    """What a killed run may have left and a finished one must not have."""
    found = [*folder.rglob(".*.draft*"), *(folder / ".snakemake" / "locks").glob("*")]
    found += [*(folder / ".snakemake" / "scripts").glob("tmp*"), *temporary.glob("c2v-*")]
    found += [path for path in (folder / "work" / "state").rglob("*") if path.is_file()]
    return found


A_FEW = ["checkpoint", "saving", "evaluate_model", "gathering", "make_tables"]


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.torture)], ids=["a few", "many"])
def test_killed_runs_end_in_the_same_bytes(many, undisturbed, tiny, packages_folder, tmp_path):
    chance = random.Random(SEED)
    planned = killer.plan(KILLS, chance) if many else A_FEW
    packages = None if many else packages_folder  # else they are downloaded and unpacked through the kills, too
    folder = study.prepare(tmp_path / "study", study.configuration(tiny), packages)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = killer.torture(folder, planned, chance, tmp_path / "log.txt", TMPDIR=str(temporary))
    compared = compare(folder, undisturbed)
    report = f"seed {SEED}: {len(done)} kills, {compared} files the same\n\n{killer.table(done)}\n"
    Path(os.environ.get("TORTURE_REPORT", tmp_path / "report.md")).write_text(report)
    assert not strays(folder, temporary)
    assert len(done) >= (30 if many else len(A_FEW)), report
