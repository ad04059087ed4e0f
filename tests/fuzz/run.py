"""Run a harness for some seconds: ``python tests/fuzz/run.py archives --seconds 120 --seed 1``.

Prints how many inputs were tried. A failure is printed with its traceback and the input, and ends with status 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HARNESSES = ("archives", "results")


class Outcome(NamedTuple):
    """What became of a run: inputs tried, whether all was well, the fuzzer's own report."""

    executions: int
    good: bool
    report: str


def installed() -> bool:
    """Whether atheris is here; it has no wheels for every platform."""
    return importlib.util.find_spec("atheris") is not None


def run(harness: str, seconds: int, seed: int) -> Outcome:
    """Try inputs for about this long; the same seed tries the same ones, as far as the machine's speed allows."""
    folder = Path(__file__).parent
    path = os.pathsep.join([str(folder.parents[1]), os.environ.get("PYTHONPATH", "")])
    memory = Path("/dev/shm")  # thousands of small files a second
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None) as scratch:
        words = [f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=60", "-rss_limit_mb=3000", "-max_len=600"]
        done = subprocess.run(
            [sys.executable, folder / f"{harness}.py", *words, f"-artifact_prefix={scratch}/", "-print_final_stats=1"],
            capture_output=True,
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": path},
            timeout=seconds + 240,
            check=False,
        )
        report = (done.stdout + done.stderr).decode("utf-8", "replace")
        kept = [f"input {file.read_bytes()!r}" for file in Path(scratch).glob("[cot]*-*")]
    counted = re.search(r"stat::number_of_executed_units: (\d+)", report)
    return Outcome(int(counted[1]) if counted else 0, done.returncode == 0, "\n".join([report, *kept]))


def main() -> None:
    """Parse the command line and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("harness", choices=HARNESSES)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not installed():
        sys.exit("error: the fuzzer atheris is not installed here; run 'make env'")
    outcome = run(options.harness, options.seconds, options.seed)
    words = f"{options.harness}: {outcome.executions} inputs in {options.seconds} s, seed {options.seed}"
    sys.stdout.write(f"{words}, {'no failure' if outcome.good else 'a failure'}\n")
    if not outcome.good:
        sys.exit(outcome.report)


if __name__ == "__main__":
    main()
