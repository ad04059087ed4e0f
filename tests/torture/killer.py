"""Kill a run's whole process group at a chosen kind of moment, again and again, with the same command in between."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import study
from conftest import work_of

from causal2vec.runtime.files import read_record

POLL = 0.01
PATIENCE = 300.0

DRAFTS = {
    "unpacking": ("work/shared/fetch_package/*/.*.draft*",),
    "preparing": ("work/shared/prepare_model/*/.*.draft*",),
    "writing pairs": ("work/shared/prepare_pairs/*/.pairs.*.draft*",),
    "checkpoint": ("work/tiny/state/*/*/checkpoint-*",),
    "saving": ("results/tiny/models/*/*/.*.draft*",),
    "finishing tasks": ("work/tiny/evaluation/*/*/*/.*.draft*",),
    "gathering": ("results/tiny/.*.draft*", "results/tiny/mteb/results/*/.*.draft*"),
}
"""What is there only while something is being written: a kill right then is the worst there is."""

WITHIN = {
    "unpacking": "fetch_package", "preparing": "prepare_model", "writing pairs": "prepare_pairs",
    "checkpoint": "train_model", "saving": "train_model", "finishing tasks": "evaluate_model",
    "gathering": "collect_scores",
}  # fmt: skip
"""The rule that each of these is a moment of; it is waited for first, as a later kill may find the job done."""


class Kill(NamedTuple):
    """One kill: what it waited for, how long after that it came, and which rules' jobs were running."""

    waited_for: str
    delay: float
    running: tuple[str, ...]


def plan(kills: int, chance: random.Random) -> list[str]:
    """What to wait for before each kill: each of `MOMENTS` in turn, the surplus by chance, as they come in a run."""
    rounds, rest = divmod(kills, len(MOMENTS))
    chosen = [*MOMENTS * rounds, *chance.sample(MOMENTS, rest)]
    return sorted(chosen, key=MOMENTS.index)


MOMENTS = (
    "fetch_package", "unpacking", "prepare_model", "preparing", "prepare_tasks", "collect_task_texts", "prepare_pairs",
    "writing pairs", "pretrain_mntp", "checkpoint", "train_model", "saving", "evaluate_model", "finishing tasks",
    "measure_efficiency", "collect_scores", "gathering", "collect_training", "write_manifest", "compute_statistics",
    "make_tables", "make_plots", "check_claims", "write_report",
)  # fmt: skip


def torture(
    folder: Path,
    planned: list[str],
    chance: random.Random,
    log: Path,
    words: tuple[str, ...] = (),
    *,
    within_first: bool = True,
    **environment: str,
) -> list[Kill]:
    """Run the study in ``folder`` to its end, killed whenever one of the planned moments comes, as often as planned.

    ``within_first``: a moment within a job is waited for before the job itself, see `WITHIN`.

    Returns:
        What was killed where. Fewer than asked for if a moment did not come so often.
    """
    done: list[Kill] = []
    left = Counter(planned)
    before: dict[str, int] = {}
    reached: dict[str, int] = {}
    while True:
        began = time.time()
        process = study.start(folder, *words, log=log, **environment)
        kill = _kill_at(process, folder, left, chance, began, within_first)
        status = process.wait(timeout=PATIENCE)
        if kill is None:
            assert status == 0, f"after {len(done)} kills the same command ended with {status}; see {log}"
            return done
        done.append(kill)
        left -= Counter([kill.waited_for])
        now = finished(folder)
        lost = {name for name in before if now.get(name) != before[name]}
        assert not lost, f"finished work was lost or done again: {sorted(lost)}"
        before = now
        steps = progress(folder)
        back = {name: (old, steps[name]) for name, old in reached.items() if steps.get(name, old) < old}
        assert not back, f"a training or evaluation went back: {back}"
        reached = steps


def finished(folder: Path) -> dict[str, int]:
    """When every artefact that is finished, and of which Snakemake knows that it is, was made."""
    found = {}
    for seal in (work_of(folder) / "seals").rglob("*.seal"):
        record = read_record(seal)
        assert record is not None, f"{seal} is damaged"
        found[str(seal.relative_to(work_of(folder) / "seals").with_suffix(""))] = record["made"]
    for mark in (folder / ".snakemake" / "incomplete").rglob("*"):
        if mark.is_file():
            encoded = (
                mark.relative_to(folder / ".snakemake" / "incomplete").as_posix().replace("@", "").replace("/", "")
            )
            found.pop(base64.urlsafe_b64decode(encoded).decode(), None)
    return found


def progress(folder: Path) -> dict[str, int]:
    """Steps in the newest whole checkpoint, and number of finished tasks, by state folder."""
    found = {}
    for mark in (work_of(folder) / "state").rglob("whole.json"):
        step = int(mark.parent.name.rpartition("-")[2])
        key = str(mark.parent.parent.relative_to(folder))
        found[key] = max(found.get(key, 0), step)
    for records in (work_of(folder) / "state").rglob("records"):
        found[str(records.relative_to(folder))] = len(list(records.glob("*.json")))
    return found


def running(group: int) -> tuple[str, ...]:
    """Rules whose jobs are at work, by the scripts that Snakemake runs."""
    names: set[str] = set()
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(group).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                for word in process.cmdline():
                    if found := re.search(r"\.snakemake/scripts/tmp\w+\.(\w+)\.py$", word):
                        names.add(found[1])
    return tuple(sorted(names))


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _kill_at(
    process: subprocess.Popen,
    folder: Path,
    moments: Counter[str],
    chance: random.Random,
    began: float,
    within_first: bool,
) -> Kill | None:
    """Wait for one of the moments and a little longer, then kill; ``None`` if the run has ended before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return None
        if moment := _come(moments, process.pid, folder, began, within_first):
            delay = chance.uniform(0, 0.05 if moment in DRAFTS else 4 if moment in SLOW else 0.5)
            time.sleep(delay)
            names = running(process.pid)
            if process.poll() is not None:
                return None
            os.killpg(process.pid, signal.SIGKILL)
            _wait_for_group(process.pid)
            return Kill(moment, round(delay, 3), names)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(f"none of {', '.join(moments)} came within {PATIENCE:.0f} s, nor the end")


SLOW = ("prepare_model", "prepare_tasks", "pretrain_mntp", "train_model", "evaluate_model", "measure_efficiency")


def _come(moments: Counter[str], group: int, folder: Path, began: float, within_first: bool) -> str | None:
    """The moment that has come: a draft is there that this run has begun, or a job of a rule is at work."""
    drafts = [moment for moment in moments if moment in DRAFTS]
    for _ in range(5):  # they come and go more quickly than all processes can be looked at
        if found := next((draft for draft in drafts if _is_written(draft, folder, began)), None):
            return found
        time.sleep(POLL / 5)
    rules = set(running(group)) - ({WITHIN[draft] for draft in drafts} if within_first else set())
    return next((moment for moment in moments if moment in rules), None)


def _is_written(moment: str, folder: Path, began: float) -> bool:
    for path in itertools.chain.from_iterable(folder.glob(pattern) for pattern in DRAFTS[moment]):
        try:
            if path.stat().st_mtime >= began:
                return True
        except FileNotFoundError:
            continue
    return False


def _wait_for_group(group: int) -> None:
    """Until the kernel has removed every process of a group that was killed."""
    while any(_group(process.pid) == group and process.status() != "zombie" for process in _alive()):
        time.sleep(POLL)


def _alive() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            process.status()
        except psutil.Error:
            continue
        yield process


def strays(folder: Path, temporary: Path) -> list[Path]:
    """What a killed run may have left and a finished one must not have."""
    found = [*folder.rglob(".*.draft*"), *(folder / ".snakemake" / "locks").glob("*")]
    found += [*(folder / ".snakemake" / "scripts").glob("tmp*")]
    found += [path for path in temporary.glob("*") if not _pythons_own(path)]
    found += [path for path in (work_of(folder) / "state").rglob("*") if path.is_file()]
    return found


def _pythons_own(path: Path) -> bool:
    """Python tries whether it can write to a temporary folder (`tempfile._get_default_tempdir`); killed just then, it
    leaves the file, of four bytes at most, there for good."""
    named = re.fullmatch(r"[a-z0-9_]{8}", path.name) and path.is_file()
    return bool(named) and path.read_bytes() in (b"", b"blat")


def table(kills: list[Kill]) -> str:
    """What was killed where, how often, in Markdown."""
    moments, rules = Counter(kill.waited_for for kill in kills), Counter(name for k in kills for name in k.running)
    lines = [
        "| moment waited for | kills |",
        "|---|---|",
        *(f"| {name} | {moments[name]} |" for name in MOMENTS if moments[name]),
    ]
    lines += ["", "| rule at work when killed | kills |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {count} |" for name, count in rules.most_common())])
