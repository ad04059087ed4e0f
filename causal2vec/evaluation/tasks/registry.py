"""Find tasks by name: packaged tasks, mteb's own tasks, and benchmarks that stand for many."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.config.settings import PACKAGED_TASKS, OwnTask
from causal2vec.data.tasks.own import RECORD
from causal2vec.errors import UserError, hint

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

__all__ = ["PACKAGED_TASKS", "get_tasks", "mteb_names", "parts_of"]


def get_tasks(
    names: list[str], data: Path | None = None, only: list[str] | None = None, own: Mapping[str, OwnTask] | None = None
) -> list[AbsTask]:
    """New task objects for ``names``, each once, in order.

    A name is a packaged task or one of the user's own (read from ``data``, the folder that `build_task_data` wrote, if
    at all; one of ``own`` need not be there yet), a task of mteb, a benchmark of mteb such as "MTEB(eng, v1)", which
    stands for its tasks with the languages that it selects, or one of these tasks as "MTEB(eng, v1)/STS17"; by its own
    name alone a task comes with all of its languages.
    ``only`` keeps some of what the names stand for.

    Raises:
        UserError: A name is unknown; the message offers close matches.
    """
    found: dict[str, AbsTask] = {}
    for name in names:
        for task in _tasks_of(name, data, own or {}):
            found.setdefault(task.metadata.name, task)
    return [task for name, task in found.items() if only is None or name in only]


def _tasks_of(name: str, data: Path | None, own: Mapping[str, OwnTask]) -> list[Any]:
    if name in PACKAGED_TASKS:
        from causal2vec.evaluation.tasks.packaged import TASK_CLASSES

        task = TASK_CLASSES[name]()
        task.data_folder = data
        return [task]
    if data and (data / name / RECORD).is_file():
        from causal2vec.evaluation.tasks.packaged import prepared_task

        return [prepared_task(name, data)]
    if name in own:
        from causal2vec.evaluation.tasks.packaged import own_task

        return [own_task(name, own[name], "not prepared", data)]
    import mteb

    tasks, benchmarks = mteb_names()
    if name in tasks:
        return [mteb.get_task(name)]
    if name in benchmarks:
        return list(mteb.get_benchmark(name).tasks)
    benchmark, _, part = name.rpartition("/")
    if benchmark in benchmarks:
        own_version = {task.metadata.name: task for task in mteb.get_benchmark(benchmark).tasks}
        if part not in own_version:
            raise UserError(f"the benchmark {benchmark!r} has no task {part!r}{hint(part, list(own_version))}")
        return [own_version[part]]
    known = [*PACKAGED_TASKS, *tasks, *benchmarks]
    lowered = {entry.lower(): entry for entry in known}
    close = [lowered[entry] for entry in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    offer = f"did you mean {' or '.join(map(repr, close))}?" if close else "docs/data.md lists the packaged ones"
    raise UserError(f"there is no task or benchmark {name!r}; {offer}")


def parts_of(task: Any) -> list[Any]:
    """The tasks behind an aggregate such as CQADupstackRetrieval, or the task itself."""
    return list(task.tasks) if getattr(task, "is_aggregate", False) else [task]


def mteb_names() -> tuple[set[str], set[str]]:
    """Names of mteb's tasks and of its benchmarks with their aliases."""
    import mteb
    from mteb import tasks
    from mteb.abstasks import AbsTask

    benchmarks = mteb.get_benchmarks()
    aliases = {alias for benchmark in benchmarks for alias in benchmark.aliases or ()}
    classes = [entry for entry in vars(tasks).values() if isinstance(entry, type) and issubclass(entry, AbsTask)]
    return {task.metadata.name for task in classes}, {benchmark.name for benchmark in benchmarks} | aliases
