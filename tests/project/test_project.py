"""The project itself: environment, style, types, and a plan that is quick to make."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from importlib.metadata import distributions

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DOCS = sorted((ROOT / "docs").glob("*.md"))

LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-test.lock"]
LOCKED = [line for lock in LOCKS for line in lock.read_text().splitlines() if not line.startswith("#")]
LOCK = dict(re.match(r"([\w.-]+)==([^\s;]+)", line).groups() for line in LOCKED)


def run(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, **options, check=False
    )


def test_locks_pin_everything_exactly_and_alike():
    assert all(re.fullmatch(r"[\w.-]+==[\w.!-]+( ; .+)?", line) for line in LOCKED)
    assert LOCK["torch"] == "2.13.0"
    assert len({line.partition(" ;")[0] for line in LOCKED}) == len(LOCK), "the locks differ: run 'make lock'"
    assert not {name for name in LOCK if name.startswith(("nvidia-", "cuda-"))} - {"nvidia-ml-py"}


def test_lock_fits_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(LOCK[requirement.name.lower()]), line


def test_conda_environment_is_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python.split("=")[1])
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == [f"-r {lock.name}" for lock in LOCKS]


def container_files() -> dict[str, dict[str, str]]:
    """What each container copies: source to target, relative to the project's folder in the container."""
    home = "/opt/causal2vec-suite/"
    docker = {}
    for words in re.findall(r"^COPY (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        *sources, target = words.split()
        docker |= {source: source if target == "./" else target for source in sources}
    section = re.search(r"^%files\n((?: .+\n)+)", (ROOT / "apptainer.def").read_text(), re.MULTILINE)[1]
    apptainer = dict(line.split() for line in section.splitlines())
    return {"docker": docker, "apptainer": {key: value.removeprefix(home) for key, value in apptainer.items()}}


def test_containers_copy_the_same_and_install_the_lock():
    files = container_files()
    assert files["docker"] == files["apptainer"]
    assert all(source == target and (ROOT / source).exists() for source, target in files["docker"].items())
    python = {dependency for dependency in (ROOT / "environment.yml").read_text().split() if "python=" in dependency}
    docker, apptainer = (ROOT / "Dockerfile").read_text(), (ROOT / "apptainer.def").read_text()
    base = python.pop().replace("=", ":") + "-slim"
    assert f"FROM {base}\n" in docker and f"From: {base}\n" in apptainer
    installs = [
        "python -m pip install -r requirements.lock",
        "python -m pip install --no-deps --no-build-isolation -e .",
    ]
    assert re.findall(r"^RUN (.+)$", docker, re.MULTILINE) == installs
    assert re.findall(r"^ +(python .+)$", apptainer, re.MULTILINE) == installs


def test_what_containers_copy_is_enough_to_plan_a_run(tmp_path):
    for source in container_files()["docker"]:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_installed_is_what_is_locked():
    locked = {r.name: str(r.specifier)[2:] for r in map(Requirement, LOCKED) if not r.marker or r.marker.evaluate()}
    installed = {canonicalize_name(d.name): d.version.partition("+")[0] for d in distributions()}
    del installed["causal2vec-suite"]
    assert installed == locked, "remove .venv and run 'make env'"


@pytest.mark.parametrize(
    ("said", "status", "ends", "words"),
    [
        ("No known vulnerabilities found", 0, 0, "Known vulnerabilities: none."),
        ("a Dependency not found and could not be audited\nNo known ...", 0, 0, "1 packages were NOT looked up"),
        ("Traceback\nConnectionError: https://me:pa55word@proxy", 1, 0, "NOT looked up"),
        ("Found 1 known vulnerability in 1 package\nb 1.0 PYSEC-1 1.1\na could not be audited", 1, 2, "PYSEC-1"),
    ],
    ids=["none", "unknown", "no service", "found"],
)
def test_audit_fails_on_a_vulnerability_and_says_what_was_not_looked_up(said, status, ends, words, tmp_path):
    for program in ("python", "pytest", "pip-licenses", "pip-audit"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    (tmp_path / "pip-audit").write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {status}\n")
    done = subprocess.run(
        ["make", "-o", "env", "audit", f"BIN={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == ends and words in done.stdout
    assert "pa55word" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("License-Expression: MIT", True),
        ("Classifier: License :: OSI Approved :: BSD License", True),
        ("License-Expression: MIT OR GPL-2.0-only", False),
        ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)", False),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", False),
        ("License: proprietary", False),
        ("Summary: names none", False),
    ],
)
def test_audit_stops_at_a_licence_that_is_not_allowed(licence, allowed, tmp_path):
    info = tmp_path / "made_up-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: made-up\nVersion: 1.0\n{licence}\n")
    done = run("piplicenses", "--packages", "made-up", env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)})
    assert (done.returncode == 0) is allowed and "made-up" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("deptry", "."),
        ("snakefmt", "--check", "Snakefile", "workflow"),
        ("snakemake", "--lint"),
    ],
    ids=["ruff", "ruff-format", "mypy", "deptry", "snakefmt", "snakemake-lint"],
)
def test_style_and_types(words):
    done = run(*words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_plan_is_quick_and_does_not_import_torch():
    start = time.perf_counter()
    done = run("snakemake", "-n", "--forceall", "--quiet", "rules", env={"PATH": "/usr/bin:/bin", "PYTHONVERBOSE": "0"})
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 5
    planned = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "snakemake", "-n", "--forceall"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = set(re.findall(r"\|\s+([\w.]+)$", planned.stderr, re.MULTILINE))
    assert "causal2vec.config" in imported
    assert not imported & {"torch", "transformers", "mteb", "sentence_transformers", "datasets", "scipy"}
    counts = dict(re.findall(r"^(\w+)\s+(\d+)$", planned.stdout, re.MULTILINE))
    assert (counts["train_model"], counts["evaluate_model"], counts["pretrain_mntp"]) == ("14", "14", "1")


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("budget: {stepps: 3}", "unknown key 'budget.stepps' (did you mean 'steps'?)"),
        ("methods: {mine: {module: nowhere.Mine}}", "methods.mine.module: no Python module 'nowhere'"),
        ("evaluation: {prompts: nowhere.yaml}", "nowhere.yaml does not exist"),
    ],
)
def test_bad_configuration_stops_the_plan_with_one_sentence(overlay, words, tmp_path):
    path = tmp_path / "overlay.yaml"
    path.write_text(overlay)
    done = run("snakemake", "-n", "--configfile", "config/demo.yaml", str(path))
    assert done.returncode != 0
    assert words in done.stderr
    assert "demo.yaml" in done.stderr or "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["training", "evaluation", "efficiency", "reporting"])
def test_command_line_twins_explain_themselves(module):
    done = run(f"causal2vec.{module}", "--help")
    assert done.returncode == 0
    assert f"python -m causal2vec.{module}" in done.stdout


def test_files_that_the_documents_name_are_there():
    places = r"(?:causal2vec|baselines|config|docs|tests|workflow)"
    for page in [*ROOT.glob("*.md"), *(ROOT / name / "README.md" for name in ("config", "results")), *DOCS]:
        for name in re.findall(rf"`({places}/[\w./-]+|[A-Z]+\.md)`", page.read_text()):
            assert (ROOT / name).exists() or (page.parent / name).exists(), f"{page.name} names {name}"


def test_every_page_is_named_by_the_readme():
    readme = (ROOT / "README.md").read_text()
    pages = [page.relative_to(ROOT).as_posix() for page in [*ROOT.glob("*.md"), *DOCS] if page.name != "README.md"]
    assert not [page for page in pages if f"`{page}`" not in readme]


def test_every_folder_of_the_package_is_in_the_tree_of_the_architecture():
    tree = (ROOT / "docs" / "architecture.md").read_text()
    folders = {path.parent.name for path in (ROOT / "causal2vec").rglob("__init__.py")}
    assert not [name for name in folders if f"{name}/" not in tree]


def test_hook_and_workflow_start_what_is_there():
    [hook] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    program, target = hook["entry"].split()
    assert program == "make" and re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    [job] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert job["steps"][-1]["run"] == ".ci/run" and os.access(ROOT / ".ci" / "run", os.X_OK)
    [python] = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python)


def test_readme_shows_the_table_that_docs_demo_holds():
    """Copied by hand, they would part at the first new run."""

    def rows(path: str) -> list[list[str]]:
        lines = (ROOT / path).read_text().splitlines()
        start = next(i for i, line in enumerate(lines) if re.match(r"\| Method +\| Base", line))
        table = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in table if "--" not in line]

    assert rows("README.md") == rows("docs/demo/main.md") and len(rows("README.md")) == 8
