"""What no line of this project may do: run code from data, unpack without looking, hand words to a shell."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

FILES = sorted(path for folder in ("causal2vec", "baselines", "workflow") for path in (ROOT / folder).rglob("*.py"))

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "pty", "commands"}
"""Modules that run code from data, or hand words to a shell."""

CALLS = {
    "eval": "runs code",
    "exec": "runs code",
    "compile": "makes code",
    "__import__": "imports by name; importlib.import_module is easier to find",
    "os.system": "hands words to a shell",
    "os.popen": "hands words to a shell",
    "subprocess.getoutput": "hands words to a shell",
    "subprocess.getstatusoutput": "hands words to a shell",
    "shutil.unpack_archive": "unpacks without looking",
    "pandas.read_pickle": "runs code from data",
    "yaml.load": "may run code from data; use safe_load",
    "yaml.load_all": "may run code from data; use safe_load_all",
    "yaml.unsafe_load": "runs code from data",
    "yaml.full_load": "may run code from data; use safe_load",
    "joblib.load": "runs code from data",
    "torch.jit.load": "runs code from data",
    "torch.hub.load": "runs code from the network",
    "tempfile.mktemp": "may be raced",
}
METHODS = {"extractall", "extract", "unpack_archive", "read_pickle", "to_pickle", "unsafe_load"}
"""Methods by these names, of whatever object."""

LOOKS_FIRST = r"causal2vec/data/corpora/archives\.py:\d+: extract .*"
"""Unpacks what it has looked at, as tests/data/test_archives_hostile.py shows."""

FORBIDDEN_ARGUMENTS = {"shell": "hands words to a shell", "allow_pickle": "runs code from data"}
"""Keyword arguments that must not be anything but False."""


def aliases(tree: ast.AST) -> dict[str, str]:
    """What each imported name of a file stands for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(name.asname or name.name.split(".")[0]): name.name if name.asname else name.name.split(".")[0]
                      for name in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {(name.asname or name.name): f"{node.module}.{name.name}" for name in node.names}
    return found


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """``a.b.c`` for the function of a call, with aliases resolved; empty where it is no plain name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return ""


def is_constant(node: ast.AST | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def faults(code: str) -> Iterator[str]:
    """Every fault of a file as ``line: what``."""
    tree = ast.parse(code)
    names = aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and {name.name for name in node.names} <= {"UnpicklingError"}:
            continue  # to catch it runs nothing
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{node.lineno}: imports {name}" for name in modules if name.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {fault}" for fault in faults_of_call(node, names))
        elif isinstance(node, ast.Attribute) and node.attr in ("Unpickler", "UnsafeLoader", "FullLoader"):
            yield f"{node.lineno}: {node.attr} runs code from data"
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            for key, value in zip(keys, node.values, strict=True):
                if key in ("trust_remote_code", "allow_pickle", "shell") and is_constant(value, True):
                    yield f"{node.lineno}: {key} is True"


def faults_of_call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = dotted(node.func, names)
    arguments = {word.arg: word.value for word in node.keywords if word.arg}
    if name in CALLS:
        yield f"{name} {CALLS[name]}"
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS and name not in CALLS:
        yield f"{node.func.attr} runs code from data or unpacks without looking"
    if name == "torch.load" and not is_constant(arguments.get("weights_only"), True):
        yield "torch.load without weights_only=True runs code from data"
    if name in ("numpy.load", "np.load") and len(node.args) > 2:
        yield "numpy.load with allow_pickle by position"
    for key, why in FORBIDDEN_ARGUMENTS.items():
        if key in arguments and not is_constant(arguments[key], False):
            yield f"{key} {why}"
    if is_constant(arguments.get("weights_only"), False):
        yield "weights_only is False"
    if is_constant(arguments.get("trust_remote_code"), True):
        yield "trust_remote_code is True, whatever the user said"


PLANTED = [
    "import pickle",
    "from dill import loads",
    "import torch\ntorch.load(p)",
    "import torch\ntorch.load(p, weights_only=False)",
    "import torch as t\nt.load(p, weights_only=flag)",
    "from torch import load\nload(p)",
    "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    "from yaml import unsafe_load as read\nread(text)",
    "import yaml\nLOADER = yaml.FullLoader",
    "import numpy as np\nnp.load(p, allow_pickle=True)",
    "import numpy\nnumpy.load(p, None, True)",
    "import pandas as pd\npd.read_pickle(p)",
    "frame.to_pickle(p)",
    "eval(text)",
    "exec(text)",
    "__import__(name)",
    "import os\nos.system(words)",
    "from os import system\nsystem(words)",
    "import subprocess\nsubprocess.run(words, shell=True)",
    "import subprocess\nsubprocess.run(words, shell=flag)",
    "run(**{'shell': True})",
    "open_model(path, trust_remote_code=True)",
    "options = {'trust_remote_code': True}",
    "import tarfile\ntarfile.open(p).extractall(d)",
    "with zipfile.ZipFile(p) as z:\n    z.extractall(d)",
    "z.extract(m)",
    "import shutil\nshutil.unpack_archive(p, d)",
    "import joblib\njoblib.load(p)",
    "import pickle as json",
    "from pickle import UnpicklingError, loads",
]

HARMLESS = """
import re, subprocess, numpy as np, torch, yaml, joblib
from pickle import UnpicklingError
from safetensors.torch import load
PATTERN = re.compile("x")
torch.load(p, map_location="cpu", weights_only=True)
yaml.safe_load(text)
np.load(p, allow_pickle=False)
subprocess.run(["ls"], shell=False)
load(data)
open_model(path, trust_remote_code=trusted)
model.eval()
module.exec_module(x)
joblib.Parallel(n_jobs=2)
"""


@pytest.mark.parametrize("code", PLANTED)
def test_planted_faults_are_found(code):
    assert list(faults(code))


def test_harmless_code_is_left_alone():
    assert list(faults(HARMLESS)) == []


@pytest.mark.parametrize("folder", ["causal2vec", "baselines", "workflow"])
def test_no_file_runs_code_from_data(folder):
    files = [path for path in FILES if path.relative_to(ROOT).parts[0] == folder]
    assert len(files) > 4
    found = [f"{path.relative_to(ROOT)}:{fault}" for path in files for fault in faults(path.read_text("utf-8"))]
    assert [fault for fault in found if not re.fullmatch(LOOKS_FIRST, fault)] == []


def test_only_safetensors_are_written():
    """``torch.save`` is left to the trainer's own checkpoints of optimiser and generator states."""
    writers = set()
    for path in FILES:
        tree = ast.parse(path.read_text("utf-8"))
        names = aliases(tree)
        if any(isinstance(node, ast.Call) and dotted(node.func, names) == "torch.save" for node in ast.walk(tree)):
            writers.add(path.relative_to(ROOT).as_posix())
    assert all(name.startswith("causal2vec/training/") for name in writers), writers


def test_snakefiles_and_profiles_hand_nothing_from_data_to_a_shell():
    """Rules run scripts; none has a shell command."""
    for path in [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk"), ROOT / "workflow" / "Snakefile"]:
        lines = [line.strip() for line in Path(path).read_text("utf-8").splitlines()]
        assert not [line for line in lines if line.startswith(("shell:", "shell("))], path
