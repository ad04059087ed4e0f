"""How long a graph of jobs takes on so many devices: list scheduling, longest remaining path first."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import NamedTuple

from causal2vec.errors import UserError


class Task(NamedTuple):
    """A job for the schedule: seconds on ``devices`` devices at once (0: it needs none), after ``needs``."""

    seconds: float
    devices: int
    needs: tuple[str, ...]


def longest_path(tasks: Mapping[str, Task]) -> tuple[float, list[str]]:
    """Seconds and jobs of the critical path: what no number of devices can shorten."""
    ends: dict[str, tuple[float, str | None]] = {}
    for name in _ordered(tasks):
        before = max(tasks[name].needs, key=lambda need: ends[need][0], default=None)
        ends[name] = ((ends[before][0] if before else 0.0) + tasks[name].seconds, before)
    if not ends:
        return 0.0, []
    last: str | None = max(ends, key=lambda name: ends[name][0])
    seconds, path = ends[str(last)][0], []
    while last is not None:
        path.append(last)
        last = ends[last][1]
    return seconds, path[::-1]


def makespan(tasks: Mapping[str, Task], devices: int) -> float:
    """Seconds until all is done, when a free device takes the ready job with the longest way ahead of it.

    Greedy, so within a factor of two of the best (Graham 1969); a job for several devices waits until they are free.

    Raises:
        UserError: There is no device, or a job asks for more than there are.
    """
    if devices < 1:
        raise UserError(f"gpus is {devices}, but at least one is needed; set it to a positive number")
    for name, task in tasks.items():
        if task.devices > devices:
            raise UserError(
                f"gpus is {devices}, but the job '{name}' runs on {task.devices} at once; raise gpus, or lower "
                "distributed.processes"
            )
    ahead = _ahead(tasks)
    missing = {name: len(set(task.needs)) for name, task in tasks.items()}
    followers = _followers(tasks)
    ready = [(-ahead[name], name) for name, count in missing.items() if count == 0]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    free, now = devices, 0.0
    while ready or running:
        waiting = []
        while ready:
            entry = heapq.heappop(ready)
            task = tasks[entry[1]]
            if task.devices <= free:
                free -= task.devices
                heapq.heappush(running, (now + task.seconds, entry[1]))
            else:
                waiting.append(entry)
        for entry in waiting:
            heapq.heappush(ready, entry)
        now, done = heapq.heappop(running)
        free += tasks[done].devices
        for follower in followers[done]:
            missing[follower] -= 1
            if missing[follower] == 0:
                heapq.heappush(ready, (-ahead[follower], follower))
    return now


def _followers(tasks: Mapping[str, Task]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in tasks}
    for name, task in tasks.items():
        for need in dict.fromkeys(task.needs):
            found[need].append(name)
    return found


def _ordered(tasks: Mapping[str, Task]) -> list[str]:
    """Every job after those it needs."""
    missing = {name: len(set(task.needs)) for name, task in tasks.items()}
    followers = _followers(tasks)
    order = [name for name, count in missing.items() if count == 0]
    for name in order:
        for follower in followers[name]:
            missing[follower] -= 1
            if missing[follower] == 0:
                order.append(follower)
    return order


def _ahead(tasks: Mapping[str, Task]) -> dict[str, float]:
    """Seconds of the longest path that starts with a job."""
    followers = _followers(tasks)
    ahead: dict[str, float] = {}
    for name in reversed(_ordered(tasks)):
        ahead[name] = tasks[name].seconds + max((ahead[f] for f in followers[name]), default=0.0)
    return ahead
