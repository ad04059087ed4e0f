"""What an evaluation has finished waits in its state folder, with checksums, until all of its tasks are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causal2vec.evaluation.tasks.download import parts_of
from causal2vec.runtime.files import read_record, sha256_file


def record_of(task: Any, state: Path) -> Path:
    """Where a finished task's record waits."""
    return state / "records" / f"{task.metadata.name}.json"


def is_done(task: Any, state: Path) -> bool:
    """Whether an earlier, interrupted evaluation finished this task, and its files are what they were then."""
    record = read_record(record_of(task, state))
    return record is not None and record["files"] == checksums(task, state)


def checksums(task: Any, state: Path) -> dict[str, str]:
    """SHA-256 of what a finished task has left: mteb's results and the items."""
    names = [task.metadata.name, *(part.metadata.name for part in parts_of(task))]
    found = [path for name in names for path in (state / "results").glob(f"*/*/{name}.json")]
    found += (state / "items").glob(f"{task.metadata.name}.parquet")
    return {path.relative_to(state).as_posix(): sha256_file(path) for path in sorted(set(found))}
