"""Contenders take turns, so that a machine that slows down does so for all of them; medians with their range."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Contender(NamedTuple):
    """One side of a comparison.

    Attributes:
        name: What the table calls it.
        run: Does the work once; what it returns is handed to the caller's check (vectors, losses, scores).
        warm: Makes ready for ``run``, untimed, once before everything.
    """

    name: str
    run: Callable[[], Any]
    warm: Callable[[], Any] | None = None


class Timing(NamedTuple):
    """Seconds of every repetition of one contender, and what its last run returned."""

    name: str
    seconds: list[float]
    result: Any

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


class Row(NamedTuple):
    """One comparison, as the tables show it. Rates and ratios are such that more is better."""

    work: str
    ours: str
    rival: str
    unit: str
    ours_median: float
    ours_min: float
    ours_max: float
    rival_median: float
    rival_min: float
    rival_max: float
    ratio: float
    goal: float
    limit: float | None
    """The ratio that this machine's matrix-multiply rate would allow at most; None: not a matter of FLOPs."""
    note: str
    """What was checked (how near vectors, losses, scores are) and what stands in the way of the goal."""


def take_turns(contenders: list[Contender], repetitions: int) -> dict[str, Timing]:
    """Run all contenders ``repetitions`` times, one after the other within each repetition."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    results: dict[str, Any] = {}
    for contender in contenders:
        if contender.warm:
            contender.warm()
    for _ in range(repetitions):
        for contender in contenders:
            start = time.perf_counter()
            results[contender.name] = contender.run()
            seconds[contender.name].append(time.perf_counter() - start)
    return {name: Timing(name, seconds[name], results[name]) for name in seconds}


def row(
    work: str, ours: Timing, rival: Timing, *, amount: float, unit: str, goal: float, limit: float | None, note: str
) -> Row:
    """A comparison of ``amount`` units of work, for example texts, done by both; the ratio is of medians."""
    fast, slow = ([amount / s for s in timing.seconds] for timing in (ours, rival))
    return Row(
        work, ours.name, rival.name, f"{unit}/s",
        statistics.median(fast), min(fast), max(fast),
        statistics.median(slow), min(slow), max(slow),
        rival.median / ours.median, goal, limit, note,
    )  # fmt: skip
