"""Folders and files from strangers, in mteb's results layout: found and read without following them anywhere."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError

MAX_BYTES = 50 * 2**20
"""Larger result files are skipped; mteb's own have some kilobytes."""

MAX_MODELS = 200
"""More models than a table can show are refused."""


def model_folders(root: Path) -> list[Path]:
    """The models' folders of ``results/<model>/<revision>/<Task>.json``, with or without ``results``, sorted.

    Also ``root`` itself, where it is one model's folder.

    Raises:
        UserError: The folder is missing, is not in this layout or holds more than `MAX_MODELS` models.
    """
    try:
        top = root / "results" if (root / "results").is_dir() else root
        inside = root.resolve()
        children = folders(top, inside)
        if len(children) > MAX_MODELS:
            raise UserError(
                f"{root} holds {len(children)} models, more than the {MAX_MODELS} that a table can show; copy the "
                "folders of those to compare into a folder of their own and name that"
            )
        models = [child for child in children if any(result_files(f) for f in folders(child, inside))]
        if not models and any(result_files(child) for child in children):
            models = [top]
    except OSError as error:
        raise UserError(f"{root} is not a readable folder ({error.strerror}); name another folder") from error
    if not models:
        raise UserError(
            f"{root} is not in mteb's layout, results/<org>__<model>/<revision>/<Task>.json; name another folder"
        )
    return models


def folders(parent: Path, inside: Path) -> list[Path]:
    """The folders in ``parent``, sorted, but for hidden ones and links that lead out of ``inside`` (resolved)."""
    return sorted(p for p in parent.iterdir() if not p.name.startswith(".") and p.is_dir() and _within(p, inside))


def _within(path: Path, inside: Path) -> bool:
    """Whether a path, with its links followed, stays in the imported folder."""
    try:
        return path.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):  # a link that leads nowhere or round in a circle
        return False


def result_files(folder: Path, wanted: Collection[str] | None = None) -> list[Path]:
    """The result files in a revision's folder, sorted; only those of the ``wanted`` tasks, if given."""
    found = [path for path in folder.glob("*.json") if path.name != "model_meta.json"]
    return sorted(path for path in found if wanted is None or path.stem in wanted)


def read_result(path: Path, inside: Path) -> dict[str, Any]:
    """A result file as JSON, if it is a plain file inside ``inside`` (resolved).

    Raises:
        ValueError: Why it cannot be used, to follow the file's name.
    """
    if not _within(path, inside) or not path.is_file():
        raise ValueError("leads out of the folder or is not a plain file")
    try:
        size = path.stat().st_size
        raw = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError:
        raise ValueError("cannot be read") from None
    if size > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES // 2**20} MB")
    try:
        result = json.loads(raw)
    except (ValueError, RecursionError):  # the latter where it is nested without end
        raise ValueError("is not valid JSON") from None
    if not isinstance(result, dict) or not isinstance(result.get("scores"), dict):
        raise ValueError("has no 'scores' as mteb writes them")
    return result


def plain(name: str) -> str:
    """A file's name without what would break a line or fill a page."""
    text = "".join(c if c.isprintable() else " " for c in name)
    return text if len(text) <= 120 else f"{text[:119]}…"
