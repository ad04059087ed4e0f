"""Checkpoints that are whole or do not count: a kill in the middle of writing one must not spoil the training.

The trainer writes a checkpoint's files one by one. A last file, which lists the others, makes it count; the
checkpoint before is removed only after that.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from causal2vec.runtime.files import read_record, sha256_file, write_record

MARK = "whole.json"
"""Lists a checkpoint's files with their sizes in bytes and SHA-256; written last."""

KEEP = 2
"""Checkpoints to keep (``save_total_limit``): the newest may not be whole yet."""


def mark_whole(checkpoint: Path) -> None:
    """Say that a checkpoint is complete, once all of its files are on disk."""
    files = {}
    for path in sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != MARK):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.relative_to(checkpoint).as_posix()] = [path.stat().st_size, sha256_file(path)]
    write_record(checkpoint / MARK, {"files": files})


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint has its mark, and every file that the mark lists, byte by byte."""
    record = read_record(checkpoint / MARK)
    return record is not None and all(
        (checkpoint / name).is_file()
        and (checkpoint / name).stat().st_size == size
        and sha256_file(checkpoint / name) == checksum
        for name, (size, checksum) in record["files"].items()
    )


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
