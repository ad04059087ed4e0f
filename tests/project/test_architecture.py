"""The house as its plan has it: rooms, one above another, and no way from a lower one into a higher one."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

ROOMS = (
    "errors", "speed", "runtime", "config", "embedder", "modeling_causal2vec", "baselines", "encoding", "fetch", "data",
    "models", "evaluation", "training", "efficiency", "plan", "reporting.read", "reporting.analysis", "reporting.show",
    "reporting.check", "reporting", "bench",
)  # fmt: skip
"""From bottom to top; docs/architecture.md says what is in each."""

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("causal2vec", "baselines")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def room_of(module: str) -> str:
    """The longest name of a room that a module is in; empty for the package itself."""
    name = module.removeprefix("causal2vec.") if module != "causal2vec" else ""
    inside = [room for room in ROOMS if name == room or name.startswith(f"{room}.")]
    return max(inside, key=len, default="")


def imports_of(path: Path) -> set[str]:
    """The modules of this project that a file imports, wherever in it, but for those that only types need."""
    tree = ast.parse(path.read_text())
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    left_out = {id(inner) for node in typing for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in left_out:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & FILES.keys()


def test_every_module_is_in_a_room():
    strangers = [name for name in FILES if not room_of(name) and name != "causal2vec"]
    assert not strangers, f"no room for {strangers}: put it into one, or name a new one in ROOMS and the docs"


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_downward(room):
    """A room knows itself and those below it, so that it can be read, tested and changed without those above."""
    below = {"", *ROOMS[: ROOMS.index(room) + 1]}
    up = [f"{name} -> {other}" for name, path in FILES.items() if room_of(name) == room
          for other in imports_of(path) if room_of(other) not in below]  # fmt: skip
    assert not up


def test_there_are_no_circles():
    graph = {name: imports_of(path) - {name} for name, path in FILES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_a_package_says_in_a_sentence_what_it_is():
    for name, path in FILES.items():
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            assert text.splitlines()[:1] and text.splitlines()[0].endswith("."), name


def test_functions_take_few_arguments_and_few_turns():
    """Instead of a limit of lines: ruff's rules, which `make lint` holds."""
    import tomllib

    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert {"C90", "PLR0913"} <= set(lint["select"]) and lint["pylint"]["max-args"] <= 8
