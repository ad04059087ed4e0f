"""What a stage is given and what it says: the records that it sends while it runs, and the time it has left."""

from __future__ import annotations

import math
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from causal2vec.bench.gpu.shapes import Size
from causal2vec.efficiency.machine import peak_mb, reset_peak, timed
from causal2vec.errors import one_line

GOOD, BAD, UNTRIED = "as expected", "NOT AS EXPECTED", "not tried"


RESERVE = 4.0
"""Seconds that a stage keeps for what follows its repetitions."""


class Check(NamedTuple):
    """One line of ``checks.md``."""

    subject: str
    expected: str
    found: str
    verdict: str


class Measured(NamedTuple):
    """One line of ``gpu.md``: ours beside the rival; rates are such that more is better, NaN where there is none."""

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
    share: float
    """Achieved share of the measured matrix-multiply rate."""
    share_goal: float
    matmul_tflops: float
    ours_mb: float
    """Peak of allocated memory."""
    rival_mb: float
    repetitions: int
    note: str


class Cost(NamedTuple):
    """One kind of operator in a profile of ours."""

    work: str
    kind: str
    seconds: float
    share: float


class Row(NamedTuple):
    """A line of ``efficiency.csv``."""

    values: dict[str, Any]


class Rate(NamedTuple):
    """FLOP/s by the plan's formulas that some work achieved; ``kind`` is ``training`` or ``encoding``."""

    kind: str
    flops: float
    work: str


class Note(NamedTuple):
    """A sentence about a stage: why it ended early, or what the machine lacks."""

    stage: str
    text: str


Record = Check | Measured | Cost | Row | Rate | Note


class Stage:
    """What a stage's function works with.

    Args:
        size: What is measured.
        tell: Takes each record as soon as it is there.
        seconds: After which the stage is stopped, whatever it does.
    """

    def __init__(self, size: Size, tell: Callable[[Record], None], seconds: float = math.inf) -> None:
        self.size, self.tell, self._end = size, tell, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def check(self, subject: str, expected: str, found: str, good: bool | None) -> None:
        """Tell a check's outcome; None: it could not be tried."""
        self.tell(Check(subject, expected, found, UNTRIED if good is None else GOOD if good else BAD))

    @contextmanager
    def attempt(self, subject: str) -> Iterator[None]:
        """A check within it that fails altogether is told as one that is not as expected; the next ones follow."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.check(subject, "no failure", f"{type(error).__name__}: {one_line(error)[:200]}", False)

    def close(self, subject: str, found: float, least: float, where: str = "") -> None:
        """Tell of a cosine that must be high."""
        self.check(subject, f"cosine of {least:g} at least", f"{found:.7f}{where}", found >= least)

    def near(self, subject: str, found: float, most: float) -> None:
        """Tell of a difference that must be low."""
        self.check(subject, f"at most {most:g} apart", f"{found:.1e}", found <= most)


class Side(NamedTuple):
    """A contender: what it does in each repetition, given the repetition's number."""

    name: str
    run: Callable[[int], Any]


class Turn(NamedTuple):
    """Every repetition of one side: seconds, what came out, and the peak of memory in MB."""

    seconds: list[float]
    results: list[Any]
    peak_mb: float

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


def take_turns(stage: Stage, sides: list[Side]) -> list[Turn]:
    """Run all sides warm, in turns, as often as the size says or as time allows; on a GPU timed by its own events."""
    device = stage.size.device
    turns: list[Turn] = [Turn([], [], 0.0) for _ in sides]
    for number in range(stage.size.repetitions):
        start = time.monotonic()
        for place, side in enumerate(sides):
            reset_peak(device)
            box: list[Any] = []
            turns[place].seconds.append(timed(lambda: box.append(side.run(number)), device))  # noqa: B023
            turns[place].results.append(box[0])
            turns[place] = turns[place]._replace(peak_mb=max(turns[place].peak_mb, peak_mb(device, 0.0)))
        if stage.left() < 1.5 * (time.monotonic() - start) + RESERVE:
            break
    return turns


class Share(NamedTuple):
    """FLOPs that each repetition needs, the goal of what they achieve, and the matrix-multiply rate in FLOP/s."""

    flops: list[float]
    goal: float
    rate: float


def compare(
    work: str,
    sides: list[Side],
    turns: list[Turn],
    amounts: list[float],
    *,
    unit: str,
    goal: float,
    share: Share,
    note: str,
) -> Measured:
    """Ours, the first side, beside the rival, the second.

    Args:
        amounts: Units of work of each repetition, the same for both.
        unit: What they are.
        goal: Of the ratio.
        share: See `Share`.
        note: What was checked.
    """
    fast, slow = ([a / s for a, s in zip(amounts, turn.seconds, strict=False)] for turn in turns)
    achieved = sum(share.flops[: len(fast)]) / sum(turns[0].seconds)
    middle = [statistics.median(rates) for rates in (fast, slow)]
    return Measured(
        work, sides[0].name, sides[1].name, f"{unit}/s",
        middle[0], min(fast), max(fast), middle[1], min(slow), max(slow),
        middle[0] / middle[1], goal, achieved / share.rate, share.goal, share.rate / 1e12,
        turns[0].peak_mb, turns[1].peak_mb, len(fast), note,
    )  # fmt: skip
