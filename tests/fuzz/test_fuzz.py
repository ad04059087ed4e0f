"""A short run of each harness; `make fuzz` is the long one."""

import pytest
from run import HARNESSES, installed, run

SECONDS, LEAST = 8, 500
"""How long, and how many inputs at least: a machine does about 1,000 a second, a busy one far fewer."""


@pytest.mark.skipif(not installed(), reason="the fuzzer atheris is not installed here (no wheel for this platform)")
@pytest.mark.parametrize("harness", HARNESSES)
def test_no_input_of_some_seconds_leaves_its_folder_or_ends_without_a_sentence(harness):
    outcome = run(harness, SECONDS, seed=1)
    assert outcome.good, outcome.report[-6000:]
    assert outcome.executions >= LEAST, outcome.report[-2000:]


@pytest.mark.skipif(not installed(), reason="the fuzzer atheris is not installed here (no wheel for this platform)")
def test_the_guard_sees_a_write_that_leaves_the_folder_even_if_its_error_is_caught(tmp_path):
    import subprocess
    import sys
    from pathlib import Path

    (tmp_path / "in").mkdir()
    code = f"""
from guard import guarded
from pathlib import Path
with guarded(Path({str(tmp_path / "in")!r})):
    Path({str(tmp_path / "in" / "a")!r}).write_text("x")
try:
    with guarded(Path({str(tmp_path / "in")!r})):
        Path({str(tmp_path / "in" / ".." / "b")!r}).write_text("x")
except AssertionError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.stdout.startswith("left its folder: open ") and done.stdout.endswith("/b'\n"), done.stderr
