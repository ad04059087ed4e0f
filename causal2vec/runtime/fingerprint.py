"""A fingerprint of all code behind a script: Snakemake tracks the script itself, not what it imports.

What a script imports, what that imports, and so on: modules of this project and of the user's own methods, wherever
in a file the import stands, and the data files beside them, or beside the package, that they name. Installed libraries
are left out; the versions of those on which numbers depend are parameters of their rules. An import by a name that is
put together at run time is not seen: the class that a configuration names (`methods.*.module`) is a root of its own.

Correctness goes before thrift. Code that only logs, locks or explains errors is in as well, so that a change to it
makes numbers again that come out the same. Comments, docstrings, type-checking imports and the words of an error
change nothing.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import os
import re
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.errors import UserError
from causal2vec.runtime.files import read_record, write_record

PROJECT = ("causal2vec", "baselines")
"""Packages that count wherever they are installed; others count unless they are installed libraries."""

KEPT = Path(".snakemake/causal2vec.code.json")
"""What was read from each file, by its time and size: a plan, and each of its jobs, reads two hundred."""

_BY = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
_STANDARD = tuple(sysconfig.get_path(key) + os.sep for key in ("stdlib", "platstdlib"))


class Code(NamedTuple):
    """What one file says."""

    meaning: str
    """SHA-256 of its syntax tree; of its bytes, if it is no Python file."""
    imports: list[str]
    """Dotted names that it imports or mentions; some are attributes of a module, and not modules."""
    beside: list[str]
    """Files in its folder that it names, and those of the checkout."""


@cache
def fingerprint(*roots: str | Path) -> str:
    """SHA-256 (16 digits) over the meaning of scripts and modules, and of all that they import.

    Raises:
        UserError: A module is not there.
    """
    digest = hashlib.sha256()
    for name, meaning in sorted((name, meaning) for name, meaning in closure(*roots).values()):
        digest.update(f"{name}\0{meaning}\n".encode())
    return digest.hexdigest()[:16]


def closure(*roots: str | Path) -> dict[Path, tuple[str, str]]:
    """The files behind scripts (paths) and modules (dotted names): name and meaning of each.

    Raises:
        UserError: A module is not there.
    """
    own = frozenset({*PROJECT, *(root.partition(".")[0] for root in roots if isinstance(root, str))})
    left: list[tuple[Path, str]] = []
    for root in roots:
        files = [(root, root.name)] if isinstance(root, Path) else _files_of(root, own)
        if isinstance(root, str) and (not files or files[-1][1] != root):
            raise UserError(f"the Python module {root} is not installed; run 'make env'")
        left += files
    found: dict[Path, tuple[str, str]] = {}
    while left:
        path, name = left.pop()
        if path in found:
            continue
        code = _code_of(path, name)
        found[path] = (name, code.meaning)
        for imported in code.imports:
            left += _files_of(imported, own)
        for file in code.beside:
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            left.append((path.parent / file, f"{package}.{file.removesuffix('.py')}"))
    _keep()
    return found


def file_of(module: str) -> Path | None:
    """The file of a module, found without importing it; ``None`` where there is none."""
    files = _files_of(module, frozenset({module.partition(".")[0]}))
    return files[-1][0] if files and files[-1][1] == module else None


@cache
def _files_of(name: str, own: frozenset[str]) -> list[tuple[Path, str]]:
    """The files that an import of a dotted name runs, with their names; empty for a library's."""
    parts = name.split(".")
    found = []
    for place in _places_of(parts[0], own):
        for depth in range(1, len(parts) + 1):
            module = place.joinpath(*parts[1:depth])
            file = next(filter(_is_file, (module / "__init__.py", module.with_name(f"{module.name}.py"))), None)
            found += [(file, ".".join(parts[:depth]))] if file else []
    return found


@cache
def _is_file(path: Path) -> bool:
    return path.is_file()


@cache
def _places_of(top: str, own: frozenset[str]) -> list[Path]:
    """Where a top module lies, without ``.py`` (a namespace package at several places); nowhere for a library's."""
    try:
        spec = importlib.util.find_spec(top)  # only of the top: for one further down, Python imports those above it
    except (ImportError, ValueError):
        return []
    places = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    if spec and not places and spec.has_location and spec.origin:
        places = [Path(spec.origin).with_suffix("")]
    return [place for place in places if top in own or not _is_library(place)]


def _is_library(place: Path) -> bool:
    return str(place).startswith(_STANDARD) or bool({"site-packages", "dist-packages"} & set(place.parts))


_read: dict[str, Any] = {}
"""By file: time, size, name and `Code`; from `KEPT`, and read since."""
_known = {"from": "", "new": False}


def _code_of(path: Path, name: str) -> Code:
    """What a file says, read again only if its time or size has changed."""
    _recall()
    facts = [(stat := path.stat()).st_mtime_ns, stat.st_size, name]
    entry = _read.get(str(path))
    if entry and entry[:3] == facts:
        return Code(*entry[3])
    code = _parse(path, name) if path.suffix == ".py" else Code(hashlib.sha256(path.read_bytes()).hexdigest(), [], [])
    _read[str(path)] = [*facts, list(code)]
    _known["new"] = True
    return code


def _recall() -> None:
    if _known["from"] == str(Path.cwd()):
        return
    _known["from"] = str(Path.cwd())
    kept = read_record(KEPT)
    if kept and kept["by"] == _BY:
        _read.update(kept["files"])


def _keep() -> None:
    """Write down what was read, where Snakemake keeps such things; a place that cannot be written does not matter."""
    if not _known["new"] or not KEPT.parent.is_dir():
        return
    with contextlib.suppress(OSError):
        write_record(KEPT, {"by": _BY, "files": _read})
        _known["new"] = False


def _parse(path: Path, name: str) -> Code:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    reader = _Reader(package, path.parent)
    tree = reader.visit(ast.parse(path.read_text(encoding="utf-8")))
    meaning = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return Code(meaning, sorted(reader.imports), sorted(reader.beside))


class _Reader(ast.NodeTransformer):
    """Notes what a file imports and names, and takes out what has no meaning."""

    def __init__(self, package: list[str], folder: Path) -> None:
        self.package, self.folder = package, folder
        self.imports: set[str] = set()
        self.beside: set[str] = set()

    def generic_visit(self, node: ast.AST) -> ast.AST:
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
        return super().generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        test = node.test
        checked = test.id if isinstance(test, ast.Name) else getattr(test, "attr", "")
        if checked == "TYPE_CHECKING":
            node.body = [ast.Pass()]
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        self.imports |= {alias.name for alias in node.names}
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        above = self.package[: len(self.package) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        self.imports |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        self.generic_visit(node)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                inner.value = ""
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        if isinstance(value, str) and len(value) < 100 and re.fullmatch(r"[A-Za-z_][\w-]*(\.[\w-]+)*", value):
            if value.partition(".")[0] in PROJECT and "." in value:
                self.imports.add(value)
            self._note_file(value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """``CHECKOUT / "NAME"``, a file beside the package."""
        left, right = node.left, node.right
        if isinstance(left, ast.Name) and left.id == "CHECKOUT" and isinstance(right, ast.Constant):
            name = "../" * len(self.package) + str(right.value)
            if (self.folder / name).is_file():
                self.beside.add(name)
        return self.generic_visit(node)

    def _note_file(self, value: str) -> None:
        """A file beside the module, or all files of a folder that holds no code."""
        place = self.folder / value
        if place.is_file() and value != "__init__.py":  # which every import of the package runs anyway
            self.beside.add(value)
        elif place.is_dir() and not any(place.rglob("*.py")):
            self.beside |= {
                file.relative_to(self.folder).as_posix()
                for file in place.rglob("*")
                if file.is_file() and "__pycache__" not in file.parts
            }


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a mere constant, such as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
