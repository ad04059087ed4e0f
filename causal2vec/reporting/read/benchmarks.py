"""Known benchmarks: which tasks they have, of which type, and what part of each task counts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from causal2vec.reporting.read.types import ordered_types


@cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("benchmarks.yaml").read_text(encoding="utf-8"))
    return found


@cache
def load_benchmarks() -> dict[str, list[str]]:
    """Benchmark -> its tasks, in the order of their types; do not change what is returned."""
    return dict(_data()["benchmarks"])


@cache
def task_types() -> dict[str, str]:
    """Task -> its type, for every task of a known benchmark."""
    return {task: kind for kind, tasks in _data()["types"].items() for task in tasks}


def benchmark_part(task: str) -> tuple[str, str] | None:
    """The split and the subset of a known task that its benchmark counts; None for a task of no known benchmark."""
    if task not in task_types():
        return None
    return _data()["splits"].get(task, "test"), _data()["subsets"].get(task, "default")


def types_of(tasks: Iterable[str]) -> dict[str, list[str]]:
    """Task type -> those of ``tasks`` that have it, types in display order; unknown tasks are left out."""
    kinds = task_types()
    known = [task for task in tasks if task in kinds]
    return {kind: [t for t in known if kinds[t] == kind] for kind in ordered_types({kinds[t] for t in known})}
