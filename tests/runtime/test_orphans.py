"""No helper outlives who started it, however that one ends and whatever the helper is computing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

BUSY = """
import os, sys, time
def busy(*_):
    open(os.environ["MARKS"] + f"/{os.getpid()}", "w").close()
    end = time.time() + 120
    while time.time() < end:
        sum(range(100_000))
"""

USERS = {
    "measuring processes": "process_context(['json']).Process(target=busy).start(); busy()",
    "measuring processes, spawned": "process_context([], 'cuda').Process(target=busy).start(); busy()",
    "a pool of one, as the bench has": (
        "ProcessPoolExecutor(max_workers=1, mp_context=process_context(['json'])).submit(busy).result()"
    ),
    "the statistics' processes": (
        "compute.task_statistics = busy\n    compute._run([(Path(__file__), 0, [], 0, 0)] * 2, 2)"
    ),
    "a training's launcher": "_forwarding_signals([sys.executable, '-c', BUSY + 'busy()'])",
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("user", USERS)
def test_helpers_end_with_their_parent(user, number, tmp_path):
    script = tmp_path / "busy_helpers.py"
    script.write_text(f"""{BUSY}
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
BUSY = {BUSY!r}
if __name__ == "__main__":
    from busy_helpers import busy
    from causal2vec.runtime.machine import process_context
    from causal2vec.reporting.analysis.statistics import compute
    from causal2vec.training.launch import _forwarding_signals
    {USERS[user]}
""")
    marks = tmp_path / "marks"
    marks.mkdir()
    environment = {**os.environ, "MARKS": str(marks), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment, stderr=subprocess.DEVNULL)
    helpers: list[psutil.Process] = []
    try:
        wait(lambda: {int(path.name) for path in marks.iterdir()} - {parent.pid}, "a helper is busy")
        helpers = psutil.Process(parent.pid).children(recursive=True)
        assert helpers
        parent.send_signal(number)
        parent.wait(20)
        wait(lambda: not any(alive(helper) for helper in helpers), "all helpers have ended")
    finally:
        for process in [parent, *helpers]:
            process.kill() if process is parent or alive(process) else None


def wait(found, what: str) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_every_process_that_the_suite_starts_is_tied_to_it():
    """All ways to start one are known here; what ends by itself in a moment needs no tie."""
    moments = ("git", "sinfo", "text=True, check=True", "import", "command, capture_output=True", '"-c", code')
    for path in (ROOT / "causal2vec").rglob("*.py"):
        for call in re.findall(r"subprocess\.(?:run|Popen)\((?:[^()]|\([^()]*\))*\)", path.read_text()):
            assert "ends_with_us" in call or any(word in call for word in moments), f"{path}: {call}"
        own = path.parent.name == "runtime" and path.name in ("machine.py", "signals.py", "job.py")
        assert own or not re.search(r"multiprocessing|\bPool\(", path.read_text()), path


def test_measuring_in_a_jobs_own_folder_ends_without_a_word_and_leaves_nothing(tmp_path):
    """multiprocessing removes its own folder at the very end of a process, later than a job removes its own."""
    script = tmp_path / "measuring.py"
    script.write_text("""
import sys
from pathlib import Path
from causal2vec.runtime.machine import process_context
from causal2vec.runtime.job import _scratch
if __name__ == "__main__":
    with _scratch(Path(sys.argv[1])):
        context = process_context(["json"])
        assert context.get_start_method() == "forkserver"
        helper = context.Process(target=print)
        helper.start()
        helper.join()
""")
    short = Path(tempfile.mkdtemp(dir="/tmp"))  # a server's socket has a short path
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(short)}
    command = [sys.executable, str(script), str(tmp_path / "log")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    short.rmdir()
