"""Killed anywhere, as often as one likes: the same command ends in the same bytes, and finished work is kept.

``make torture`` kills at least 30 times (TORTURE_KILLS, TORTURE_SEED); tests/project/test_workflow.py, a few times.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import killer
import pytest
import study
from conftest import results_of

SEED = int(os.environ.get("TORTURE_SEED", "0"))
KILLS = int(os.environ.get("TORTURE_KILLS", "34"))

STAGES = {
    "fetch_package", "unpacking", "prepare_model", "prepare_tasks", "prepare_pairs", "pretrain_mntp", "train_model",
    "checkpoint", "saving", "evaluate_model", "collect_scores", "gathering", "compute_statistics", "make_tables",
    "make_plots", "write_report",
}  # fmt: skip
"""Moments without which a run would not have been killed anywhere; others are over too quickly to be sure of."""

FOLDERS = 4
"""A moment that a study did not come to often enough, for its job was done, is waited for in another study."""

TIMED = ("efficiency", "training", "savings", "predictions")
"""Tables and figures that show measured seconds; two undisturbed runs part in them, too."""

COMPARED = ("scores.csv", "items", "tables", "statistics", "models", "mteb")


def compare(folder: Path, whole: Path) -> int:
    """All files that must be the same, byte by byte; how many they are."""
    names = {path.relative_to(whole) for top in COMPARED for path in files(results_of(whole) / top)}
    assert names == {path.relative_to(folder) for top in COMPARED for path in files(results_of(folder) / top)}
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
    temporary.mkdir()
    done: list[killer.Kill] = []
    for number in range(1, FOLDERS + 1):
        left = Counter(killer.plan(KILLS, random.Random(SEED))) - Counter(kill.waited_for for kill in done)
        if not left:
            break
        folder = study.prepare(tmp_path / f"study{number}", study.configuration(tiny), None)
        done += killer.torture(
            folder,
            [*left.elements()],
            chance,
            tmp_path / f"log{number}.txt",
            within_first=number == 1,
            TMPDIR=str(temporary),
        )
        compared = compare(folder, undisturbed)
        report = f"seed {SEED}: {len(done)} kills, {number} studies, {compared} files the same in each\n\n"
        Path(os.environ.get("TORTURE_REPORT", tmp_path / "report.md")).write_text(f"{report}{killer.table(done)}\n")
        assert not killer.strays(folder, temporary)
    assert len(done) >= 30 and {kill.waited_for for kill in done} >= STAGES, report + killer.table(done)
