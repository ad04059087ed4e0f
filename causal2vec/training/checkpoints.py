"""Checkpoints that are whole or do not count: a kill in the middle of writing one must not spoil the training.

The trainer writes a checkpoint's files one by one. A last file, which lists the others, makes it count; the
checkpoint before is removed only after that.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from causal2vec.errors import UserError
from causal2vec.files import read_json, write_json

MARK = "whole.json"
"""Lists a checkpoint's files with their sizes in bytes; written last."""

KEEP = 2
"""Checkpoints to keep (``save_total_limit``): the newest may not be whole yet."""


def mark_whole(checkpoint: Path) -> None:
    """Say that a checkpoint is complete, once all of its files are on disk."""
    sizes = {}
    for path in sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != MARK):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.relative_to(checkpoint).as_posix()] = path.stat().st_size
    write_json(checkpoint / MARK, sizes)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint has its mark, and every file that the mark lists at its full size."""
    try:
        sizes = read_json(checkpoint / MARK)
    except UserError:
        return False
    return all((checkpoint / n).is_file() and (checkpoint / n).stat().st_size == size for n, size in sizes.items())


def last_checkpoint(state: Path) -> str | None:
    """The newest whole checkpoint in a training's state folder; broken ones are removed.

    Returns:
        Its path as transformers' trainer wants it for ``resume_from_checkpoint``; ``None`` where there is none.
    """
    found = [path for path in state.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    for path in sorted(found, key=step_of, reverse=True):
        if is_whole(path):
            return str(path)
        shutil.rmtree(path, ignore_errors=True)
    return None


def step_of(checkpoint: Path | str) -> int:
    """The number of steps that were done when a checkpoint was written."""
    return int(Path(checkpoint).name.rpartition("-")[2])
