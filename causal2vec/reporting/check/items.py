"""Main scores, computed again from item-level results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.evaluation.items import TOLERANCE, Items
from causal2vec.reporting.analysis.statistics.items import read_frame
from causal2vec.reporting.check.findings import Findings

Run = tuple[str, str, int, str]
"""Method, base, seed and task."""

Scores = dict[Run, dict[tuple[str, str], float]]
"""Run -> (split, subset) -> score."""


def item_scores(results: Path, task: str, findings: Findings) -> Scores | None:
    """The score of every run, split and subset of a task, by the same functions as mteb's.

    Returns:
        None where there are no items, or none that can be read; that they cannot is recorded.
    """
    name = f"items/{task}.parquet"
    if not (results / name).is_file():
        return None
    try:
        frame = read_frame(results / name)
        groups: Any = frame.groupby(["method", "base", "seed", "split", "subset"], sort=True)
        found: Scores = {}
        for (method, base, seed, split, subset), part in groups:
            found.setdefault((method, base, int(seed), task), {})[split, subset] = score_of(part)
    except (UserError, ValueError) as error:
        findings.add_error(name, UserError(str(error)), results)
        return None
    return found


def score_of(part: pd.DataFrame) -> float:
    """The score that items of one run, split and subset give, with the columns of a file of items."""
    items = Items(
        str(part["metric"].iloc[0]),
        draw=part["draw"].tolist(),
        item=part["item"].tolist(),
        prediction=part["prediction"].tolist(),
        target=part["target"].tolist(),
    )
    return items.score()


def close(one: float, other: float) -> bool:
    """Whether two scores are equal within `TOLERANCE`."""
    return abs(one - other) <= TOLERANCE
