"""Code behind a rule: all of it, however it is imported, the user's own as well, and nothing that has no meaning."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from causal2vec.errors import UserError
from causal2vec.runtime import fingerprint as code
from causal2vec.runtime.fingerprint import closure, fingerprint

SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
RULES = "\n".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
PINNED = {"fetch_package", "fetch_model", "fetch_tasks", "fetch_texts", "fetch_pairs", "write_fetch_manifest"}
"""What these bring is pinned by commit or SHA-256: code cannot change it, and a node may lack the network to try."""
ALWAYS = {"plan", "calibrate", "verify"}
"""Without outputs: they work whenever they are asked."""


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    forget()
    yield
    forget()


def forget() -> None:
    """What one process takes for granted: that its files stay as they are."""
    for function in (code.fingerprint, code._files_of, code._places_of, code._is_file):
        function.cache_clear()
    code._read.clear()


def names(*roots) -> set[str]:
    return {name for name, _ in closure(*roots).values()}


def test_fingerprint_follows_meaning(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def of(text: str) -> str:
        (tmp_path / "some_stage.py").write_text(text)
        forget()
        return fingerprint("some_stage")

    first = of("def f(x):\n    if not x:\n        raise ValueError('none')\n    return 1\n")
    assert (
        of("# why\ndef f(x):\n    '''Doc.'''\n    if not x:\n        raise ValueError('empty!')\n    return 1\n")
        == first
    )
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import causal2vec.{}\n"
    assert of(typed.format("files")) == of(typed.format("locks"))
    assert of("def f(x):\n    if not x:\n        raise ValueError('none')\n    return 2\n") != first


def test_what_a_users_method_imports_counts_however_it_does(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        "mine/__init__.py": "",
        "mine/method.py": "import json, numpy\nfrom . import near\nfrom .deep.pooling import mean\nimport flat\n",
        "mine/near.py": "def f():\n    from no_init import lazily\n",
        "mine/deep/__init__.py": "",
        "mine/deep/pooling.py": "from mine.deep import *\nfrom causal2vec import embedder\nTABLE = 'table.json'\n",
        "mine/deep/table.json": "{}",
        "mine/unused.py": "raise RuntimeError('imported')",
        "no_init/lazily.py": "",
        "flat.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    used = {path for path in files if path != "mine/unused.py"}
    found = closure("mine.method")
    assert {str(path.relative_to(tmp_path)) for path in found if path.is_relative_to(tmp_path)} == used
    assert "causal2vec.embedder" in names("mine.method") and "numpy" not in names("mine.method")
    before = fingerprint("mine.method")
    for name in files:
        (tmp_path / name).write_text(files[name] + ("\nX = 1\n" if name.endswith(".py") else " "))
        forget()
        assert (fingerprint("mine.method") != before) == (name in used), name
        (tmp_path / name).write_text(files[name])
        forget()


def test_module_that_is_not_there_is_named():
    for name in ("nowhere_at_all", "causal2vec.nowhere", "sys", "numpy.nowhere"):
        with pytest.raises(UserError, match=f"the Python module {name} is not installed"):
            fingerprint(name)


def test_every_rule_that_makes_something_follows_its_code():
    for rule in re.split(r"(?m)^rule ", RULES)[1:]:
        if script := re.search(r"scripts/(\w+)\.py", rule):
            followed = re.search(rf'code=code_(of|with_method)\("{script[1]}"', rule)
            assert bool(followed) != (script[1] in PINNED | ALWAYS), rule.partition(":")[0]


def test_what_a_script_loads_is_in_its_closure():
    """Modules as Python itself loads them, for the imports that stand at the top."""
    program = """
import ast, json, sys
loaded = {}
for path in sys.argv[1:]:
    before = set(sys.modules)
    for node in ast.parse(open(path).read()).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            exec(compile(ast.Module([node], []), path, "exec"), {})
    ours = ("causal2vec", "baselines")
    loaded[path] = [name for name in set(sys.modules) - before if name.partition(".")[0] in ours]
    for name in list(sys.modules):
        if name.partition(".")[0] in ours:
            del sys.modules[name]
print(json.dumps(loaded))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, SCRIPTS)], capture_output=True, text=True, check=True
    )
    for path, loaded in json.loads(done.stdout).items():
        assert len(loaded) > 5 and set(loaded) <= names(Path(path)), path


def test_a_change_in_any_module_is_seen_by_the_rules_that_use_it(tmp_path, monkeypatch):
    for folder in ("causal2vec", "baselines", "workflow"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "_places_of", places := lambda top, own: [tmp_path / top] if top in own else [])
    monkeypatch.setattr(places, "cache_clear", lambda: None, raising=False)
    scripts = sorted((tmp_path / "workflow" / "scripts").glob("*.py"))
    before = {script: fingerprint(script) for script in scripts}
    users: dict[Path, set[str]] = {}
    for script in scripts:
        for path in closure(script):
            users.setdefault(path, set()).add(script.stem)
    modules = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".py", ".yaml", ".csv")]
    for path in modules:
        text = path.read_text()
        path.write_text(f"{text}\nCHANGED = 1\n")
        code._read.pop(str(path), None)
        code.fingerprint.cache_clear()
        wanted = users.get(path, set())
        asked = [script for script in scripts if script.stem in wanted] + [s for s in scripts if s.stem not in wanted][
            :2
        ]
        assert {s.stem for s in asked if fingerprint(s) != before[s]} == wanted, path
        path.write_text(text)
        code._read.pop(str(path), None)
    by_name = {path.relative_to(tmp_path).as_posix(): found for path, found in users.items()}
    trained = {"train_model", "pretrain_mntp", "pretrain_simcse"}
    assert trained <= by_name["causal2vec/training/lora.py"]
    assert "train_model" in by_name["causal2vec/training/worker.py"], "started by its name, in another process"
    assert "evaluate_model" in by_name["causal2vec/evaluation/items.py"]
    shown = {"make_tables", "make_plots", "check_claims", "write_report", "compute_statistics"}
    for name in ("evidence", "summary", "compare"):
        assert shown <= by_name[f"causal2vec/reporting/analysis/{name}.py"]
    assert "compute_statistics" in by_name["causal2vec/reporting/read/benchmarks.yaml"]
    assert "make_tables" in by_name["causal2vec/reporting/read/published.csv"]
    assert not by_name["causal2vec/reporting/show/tables/build.py"] & {"train_model", "evaluate_model"}


@pytest.mark.parametrize(
    ("file", "script"), [("CITATION.cff", "write_report"), ("requirements.lock", "write_manifest")]
)
def test_a_file_beside_the_package_counts_where_it_is_read(file, script, tmp_path, monkeypatch):
    for folder in ("causal2vec", "workflow"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "_places_of", places := lambda top, own: [tmp_path / top] if top in own else [])
    monkeypatch.setattr(places, "cache_clear", lambda: None, raising=False)
    scripts = [tmp_path / "workflow" / "scripts" / f"{name}.py" for name in (script, "prepare_pairs")]
    found = []
    for text in ("one", "two"):
        (tmp_path / file).write_text(text)
        forget()
        found.append([fingerprint(path) for path in scripts])
    assert found[0][0] != found[1][0] and found[0][1] == found[1][1]


def test_what_was_read_is_kept_and_read_again_only_where_it_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / "kept_one.py").write_text("import kept_two")
    (tmp_path / "kept_two.py").write_text("x = 1")
    before, read = fingerprint("kept_one"), []
    forget()
    monkeypatch.setitem(code._known, "from", "")
    monkeypatch.setattr(code, "_parse", lambda path, name, parse=code._parse: read.append(name) or parse(path, name))
    assert fingerprint("kept_one") == before and not read
    (tmp_path / "kept_two.py").write_text("x = 22")
    code.fingerprint.cache_clear()
    assert fingerprint("kept_one") != before and read == ["kept_two"]
    whole = code.KEPT.read_text()
    for text in ("{", "[]", whole.replace("kept_two", "kept_too")):
        code.KEPT.write_text(text)
        forget()
        monkeypatch.setitem(code._known, "from", "")
        assert fingerprint("kept_one")
