"""Costs that were measured before, so that a new method costs only its own time.

Methods are compared by times of one run, in which they take turns. One that is added later takes turns with a method of
before, and its times are set to the machine as it was then: divided by how much slower the method of before was this
time. What does not depend on the machine's mood (tokens, FLOPs, memory, energy) stays as measured.
"""

from __future__ import annotations

import logging
import statistics
from pathlib import Path
from typing import Any

from causal2vec.efficiency.worker import Model
from causal2vec.efficiency.workloads import Workload
from causal2vec.runtime.files import read_record, sha256_json, write_record
from causal2vec.runtime.seals import content

logger = logging.getLogger(__name__)

TIMES = ("seconds_per_1000_texts", "latency_ms")
RATES = ("texts_per_second",)

Rows = list[dict[str, Any] | None]
"""One per workload; None where there was nothing to measure."""


class Kept:
    """The rows of models, a file each, by all that decides them.

    Args:
        folder: Of code and settings that are the same; None keeps nothing.
        how: How it is measured: what else must be the same.
        workloads: What is measured.
    """

    def __init__(self, folder: Path | None, how: dict[str, Any], workloads: list[Workload]) -> None:
        self.folder, self.how = folder, [how, sha256_json(workloads)]

    def read(self, model: Model) -> Rows | None:
        """A model's rows, if it was measured in the same way."""
        record = read_record(self._file(model)) if self.folder else None
        # As pairs, since a record's keys are sorted and columns are not.
        return None if record is None else [row and dict(row) for row in record["rows"]]

    def write(self, model: Model, rows: Rows, beside: str | None, drift: float) -> None:
        """Keep a model's rows, and which model it took turns with."""
        if self.folder:
            pairs = [row and list(row.items()) for row in rows]
            write_record(self._file(model), {"rows": pairs, "beside": beside, "drift": drift})

    def _file(self, model: Model) -> Path:
        assert self.folder is not None
        known = model._replace(path=content(Path(model.path)))
        return self.folder / f"{model.method}-{sha256_json([*self.how, known])[:16]}.json"


def drift_of(before: Rows, now: Rows) -> float:
    """How much slower the machine was now than before, by one model's seconds: the median over the workloads."""
    name = TIMES[0]
    ratios = [there[name] / here[name] for here, there in zip(before, now, strict=True) if here and there]
    return float(statistics.median(ratios))


def as_then(row: dict[str, Any], drift: float) -> dict[str, Any]:
    """A row with its times as they would have been on the machine as it was before."""
    factors = {**dict.fromkeys(TIMES, 1 / drift), **dict.fromkeys(RATES, drift)}
    scaled = {
        f"{name}{part}": round(row[f"{name}{part}"] * factor, 3)
        for name, factor in factors.items()
        for part in ("", "_min", "_max")
    }
    return {**row, **scaled}
