"""A fingerprint of code that changes with its meaning: Snakemake tracks a rule's script, not what it imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from causal2vec.errors import UserError

READING = (
    "causal2vec.embedder",
    "causal2vec.packing",
    "causal2vec.attention",
    "causal2vec.gpu_attention",
    "causal2vec.last_layer",
    "causal2vec.pieces",
)
"""How any method reads a text: these change every vector's last digits."""

ENCODING = (
    "causal2vec.encoding",
    "causal2vec.layers",
    "causal2vec.linear",
    "causal2vec.gpu_layers",
    "causal2vec.gpu_kernels",
)
"""How many texts are read at a time, on which layers: these do, too, but not what a model learns."""


@cache
def fingerprint(*modules: str) -> str:
    """SHA-256 (16 digits) over the syntax trees of modules, without comments and docstrings.

    A comment or a line break leaves it as it is; a changed loss does not. A package counts with all its modules.

    Raises:
        UserError: A module is not there.
    """
    digest = hashlib.sha256()
    for module in modules:
        for path in _files_of(module):
            digest.update(_meaning(path).encode())
    return digest.hexdigest()[:16]


def _files_of(module: str) -> list[Path]:
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)  # only that: to find a module further down, Python imports those above it
    above = list(spec.submodule_search_locations or ()) if spec else []  # a package may lack an __init__.py
    alone = [Path(spec.origin)] if spec and spec.origin and not above else []
    for place in [*(Path(folder).joinpath(*rest) for folder in above), *alone]:
        if place.is_dir():
            return sorted(place.rglob("*.py"))
        if (file := place.with_suffix(".py")).is_file():
            return [file]
    raise UserError(f"the Python module {module} is not installed; run 'make env'")


@cache
def _meaning(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            del body[0]
    return ast.dump(tree)
