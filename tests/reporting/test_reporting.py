"""Reporting's command line, and that it needs neither a model library nor long files."""

import subprocess
import sys

from fixtures_reporting import LAYOUT, TYPES, make_job, score_rows, write_frame

from causal2vec.runtime.files import write_json

SCORES = {("causal2vec", "tiny"): [0.5, 0.7, 0.8], ("echo", "tiny"): [0.4, 0.6, 0.9]}


def _run(*arguments, code=None):
    command = [sys.executable, *(["-c", code] if code else ["-m", "causal2vec.reporting"]), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_scores_are_gathered_from_jobs(tmp_path):
    jobs = [make_job(tmp_path / "jobs", "echo", 0, dict.fromkeys(TYPES, 0.5))]
    done = _run("scores", "--jobs", *jobs, "--output", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "scores.csv").read_text().count("main_score") == len(TYPES)
    failed = _run("scores", "--jobs", tmp_path / "none", "--output", tmp_path / "other")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1


def test_tables_come_from_score_files_alone(tmp_path):
    write_frame(score_rows(SCORES), tmp_path / "scores.csv")
    done = _run("tables", "--results", tmp_path, "--output", tmp_path / "t", "--layout", LAYOUT)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "t").glob("*.md")) == [
        "main.md", "published_mteb_eng_v1.md", "tasks.md",
    ]  # fmt: skip
    assert " **60.0** |" in (tmp_path / "t" / "main.md").read_text()
    (tmp_path / "layout.yaml").write_text("tables: {main: {kind: score}}")
    refused = _run("tables", "--results", tmp_path, "--output", tmp_path / "t", "--layout", tmp_path / "layout.yaml")
    assert refused.returncode == 2 and "did you mean 'scores'?" in refused.stderr


def test_a_study_without_training_is_a_study_too(tmp_path):
    write_frame(score_rows(SCORES), tmp_path / "scores.csv")
    write_json(tmp_path / "training.json", [])
    done = _run("tables", "--results", tmp_path, "--output", tmp_path / "t", "--layout", LAYOUT)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "t" / "training.md").exists()


def test_a_compared_base_without_scores_is_refused(tmp_path):
    write_frame(score_rows(SCORES), tmp_path / "scores.csv")
    config = {"bases": ["huge"], "seeds": [0], "methods": {}}
    write_json(tmp_path / "manifest.json", {"id": "12ab", "created": "2026-01-31", "config": config})
    refused = _run("tables", "--results", tmp_path, "--output", tmp_path / "t", "--layout", LAYOUT)
    assert refused.returncode == 2 and "'huge' has no scores; name some of these: tiny" in refused.stderr


def test_reporting_needs_no_model_library():
    code = (
        "import sys, causal2vec.reporting.__main__, causal2vec.reporting.show.figures.draw;"
        "import causal2vec.reporting.show.tables.build, causal2vec.reporting.show.report.page;"
        "import causal2vec.reporting.check.verify, causal2vec.reporting.check.reproduction;"
        "found = {'torch', 'mteb', 'transformers', 'matplotlib.pyplot'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(found)) or 0)"
    )
    done = _run(code=code)
    assert done.returncode == 0, done.stderr


def test_help_is_quick_because_it_loads_nothing_large():
    assert _run(code="import sys, causal2vec.reporting.__main__; sys.exit('pandas' in sys.modules)").returncode == 0
