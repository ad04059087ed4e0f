"""What must stay light: importing the parts that plan, prepare and report."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "config.rules",
        "errors",
        "runtime.files",
        "runtime.fingerprint",
        "data.corpora",
        "runtime.manifest",
        "runtime.workflow",
        "data.pairs.prepare",
        "evaluation.tasks",
        "reporting.analysis.study",
    ],
)
def test_import_does_not_drag_torch_in(module):
    code = f"import sys, causal2vec.{module}; sys.exit('torch' in sys.modules or 'mteb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
