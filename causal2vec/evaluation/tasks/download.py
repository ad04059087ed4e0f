"""The data sets of official tasks, downloaded without loading them: a collection of millions fits any login node."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.evaluation.tasks.registry import PACKAGED_TASKS, get_tasks, parts_of
from causal2vec.fetch.client import reason
from causal2vec.fetch.hub import from_cache, obtain
from causal2vec.runtime.files import read_json, write_json


def fetch_tasks(names: list[str], output: Path, state: Path) -> None:
    """Download the repositories behind the official tasks among ``names``, each at the commit that mteb pins.

    Args:
        names: Tasks and benchmarks as in ``evaluation.tasks``; packaged tasks are passed over.
        output: What came, per task and part: commit, files, sizes, SHA-256. `read_from_cache` reads it.
        state: Where finished tasks are remembered until all are there; an interrupted fetch goes on from them.

    Raises:
        UserError: A task is unknown or its data cannot be had.
    """
    import mteb

    official = [name for name in names if name not in PACKAGED_TASKS]
    tasks = {
        task.metadata.name: {part.metadata.name: _fetch_part(part, state) for part in parts_of(task)}
        for task in get_tasks(official)
    }
    write_json(output, {"mteb": mteb.__version__, "tasks": tasks})
    shutil.rmtree(state, ignore_errors=True)


def read_from_cache(task: Any, fetched: Path) -> None:
    """Let a task read the files that `fetch_tasks` brought, after comparing them with their checksums.

    datasets looks into its own cache when offline, which does not tell revisions apart; a folder of files cannot be
    mixed up. The task's name and pinned revision stay what they are.

    Raises:
        UserError: A file is damaged, or is gone and cannot be had again.
    """
    known = read_json(fetched)["tasks"].get(task.metadata.name, {})
    for part in parts_of(task):
        facts = known.get(part.metadata.name)
        if not facts or facts["loads_itself"]:
            continue
        folder = from_cache(facts, kind="dataset", where=f"evaluation.tasks: {part.metadata.name}")
        dataset = {**part.metadata.dataset, "path": str(folder)}
        part.metadata = part.metadata.model_copy(update={"dataset": dataset})


def _fetch_part(task: Any, state: Path) -> dict[str, Any]:
    """Download one task's repository; what it brought."""
    meta = task.metadata
    repository, revision = meta.dataset["path"], meta.dataset["revision"]
    done = state / f"{meta.name}_{revision[:12]}.json"
    if done.is_file():
        return dict(read_json(done))
    _, brought = obtain(repository, revision, kind="dataset", where=f"evaluation.tasks: {meta.name}")
    facts = {**brought, "loads_itself": _loads_itself(task)}
    if facts["loads_itself"]:
        _load_once(task, f"evaluation.tasks: {meta.name}: {repository}@{revision}")
    write_json(done, facts)
    return facts


def _load_once(task: Any, what: str) -> None:
    """Fill the caches with whatever a task asks for."""
    try:
        task.load_data()
    except Exception as error:  # code of mteb's, which may ask anything of any server
        raise UserError(f"{what} {reason(error, 'dataset')}") from error
    task.unload_data()


def _loads_itself(task: Any) -> bool:
    """Whether a task has a way of its own to get its data, so that its repository may not be all of it."""
    return type(task).load_data.__module__.startswith("mteb.tasks.")
