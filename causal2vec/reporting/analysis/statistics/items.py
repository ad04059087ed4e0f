"""Item-level results of one task, read from its file and checked, so that entries can be paired item by item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causal2vec.errors import UserError, one_line
from causal2vec.reporting.analysis.summary import Entry

METRICS = ("mean", "spearman", "max_ap", "v_measure")
"""How a part's score is computed from its items."""

Run = tuple[Entry, int]
"""An entry and its seed."""

COLUMNS = ["method", "base", "seed", "split", "subset", "metric", "draw", "item", "prediction", "target"]
"""Columns of an item file."""

_TEXTS = ["method", "base", "split", "subset", "metric", "draw", "item"]


@dataclass(frozen=True)
class Draw:
    """One similarity function, one cluster run, or simply all items.

    Attributes:
        name: What the file calls it.
        item: (rows,) which of the block's items each row is about.
        target: (rows,) gold score, class or label; NaN for the metric "mean".
        prediction: (runs, rows) what each run says.
    """

    name: str
    item: np.ndarray
    target: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class Block:
    """Runs that were tested on the very same items: one draw of items serves them all.

    Attributes:
        runs: The runs, in the order of the predictions' rows.
        items: How many different items.
        draws: One or more draws.
    """

    runs: list[Run]
    items: int
    draws: list[Draw]


@dataclass(frozen=True)
class Part:
    """A split and subset of a task, with a score of its own.

    Attributes:
        split: The split.
        subset: The subset.
        metric: One of `METRICS`.
        blocks: Seeds that share their items share a block; other seeds have their own.
    """

    split: str
    subset: str
    metric: str
    blocks: list[Block]

    @property
    def runs(self) -> list[Run]:
        """All runs with items for this part."""
        return [run for block in self.blocks for run in block.runs]


def read_items(path: Path) -> list[Part]:
    """Read and check the items of one task; the order of the file's rows is irrelevant.

    Raises:
        UserError: The file is unreadable, a column is missing, a value is wrong, or two entries of the same seed
            were not tested on the same items.
    """
    frame = read_frame(path)
    parts = frame[["split", "subset"]].drop_duplicates().sort_values(["split", "subset"])
    return [
        _part(path, split, subset, frame[(frame["split"] == split) & (frame["subset"] == subset)])
        for split, subset in parts.itertuples(index=False)
    ]


def read_frame(path: Path) -> pd.DataFrame:
    """Read and check the values of an item file, as they are.

    Raises:
        UserError: The file is unreadable, a column is missing or a value is wrong.
    """
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; make it first or name another file") from error
    except Exception as error:  # pyarrow has many kinds for a file that is not Parquet
        raise UserError(
            f"{path} is not a readable Parquet file ({one_line(error)}); collect the scores again"
        ) from error
    for name in COLUMNS:
        if name not in frame.columns:
            raise UserError(f"{path}: column {name!r} is missing; collect the scores again")
        if frame[name].isna().any() and name not in ("prediction", "target"):
            raise UserError(f"{path}, column {name!r}: a value is missing; collect the scores again")
    if frame.empty:
        raise UserError(f"{path} has no rows; collect the scores again")
    for name in ("prediction", "target", "seed"):
        if not pd.api.types.is_numeric_dtype(frame[name]):
            raise UserError(f"{path}, column {name!r}: does not hold numbers; collect the scores again")
    for name in _TEXTS:
        frame[name] = frame[name].astype(str)
    _check_values(path, frame)
    return frame


def _check_values(path: Path, frame: pd.DataFrame) -> None:
    _refuse(path, frame, "metric", ~frame["metric"].isin(METRICS), f"is none of {', '.join(METRICS)}")
    _refuse(path, frame, "prediction", ~np.isfinite(frame["prediction"]), "is not a finite number")
    needed = frame["metric"] != "mean"
    _refuse(path, frame, "target", needed & ~np.isfinite(frame["target"]), "is not a finite number")
    ranked = frame["metric"] == "max_ap"
    _refuse(path, frame, "target", ranked & ~frame["target"].isin([0, 1]), "is neither 0 nor 1")


def _refuse(path: Path, frame: pd.DataFrame, column: str, wrong: pd.Series, why: str) -> None:
    if wrong.any():
        row = frame[wrong].iloc[0]
        raise UserError(
            f"{path}, column {column!r}: {str(row[column])!r} for item {row['item']!r} of method {row['method']!r}, "
            f"base {row['base']!r}, seed {row['seed']} {why}; evaluate this model again"
        )


def _part(path: Path, split: str, subset: str, frame: pd.DataFrame) -> Part:
    metrics = sorted(frame["metric"].unique())
    where = f"{path}, split {split!r}, subset {subset!r}"
    if len(metrics) > 1:
        raise UserError(f"{where}: holds the metrics {' and '.join(metrics)}; evaluate all models again the same way")
    names = np.sort(frame["item"].unique())
    draws = np.sort(frame["draw"].unique())
    rows = _Rows(
        item=np.searchsorted(names, frame["item"]),
        draw=np.searchsorted(draws, frame["draw"]),
        target=frame["target"].to_numpy(float),
        prediction=frame["prediction"].to_numpy(float),
    )
    # Runs with equal rows share a block; runs of one seed must, or their scores would not be about the same test.
    shared: list[tuple[_Rows, list[Run], list[np.ndarray]]] = []
    first: dict[int, tuple[Entry, _Rows]] = {}
    for (method, base, seed), index in _runs(frame):
        own = rows.taken(index)
        entry = (str(method), str(base))
        if metrics[0] != "v_measure":
            _check_once(where, entry, seed, own, names, draws)
        other, theirs = first.setdefault(seed, (entry, own))
        if not own.same(theirs):
            raise UserError(_mismatch(where, seed, (entry, own), (other, theirs), names, draws))
        for reference, runs, predictions in shared:
            if own.same(reference):
                runs.append((entry, seed))
                predictions.append(own.prediction)
                break
        else:
            shared.append((own, [(entry, seed)], [own.prediction]))
    return Part(split, subset, metrics[0], [_block(*parts, draws) for parts in shared])


@dataclass(frozen=True)
class _Rows:
    item: np.ndarray
    draw: np.ndarray
    target: np.ndarray
    prediction: np.ndarray

    def taken(self, index: np.ndarray) -> _Rows:
        """Some rows, sorted, so that equal contents give equal arrays."""
        order = np.lexsort((self.prediction[index], self.target[index], self.item[index], self.draw[index]))
        index = index[order]
        return _Rows(self.item[index], self.draw[index], self.target[index], self.prediction[index])

    def same(self, other: _Rows) -> bool:
        """Whether these are the same draws of the same items with the same targets."""
        return (
            np.array_equal(self.item, other.item)
            and np.array_equal(self.draw, other.draw)
            and np.array_equal(self.target, other.target, equal_nan=True)
        )


def _runs(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str, int], np.ndarray]]:
    groups: Any = frame.groupby(["seed", "method", "base"], sort=True).indices
    for (seed, method, base), index in groups.items():
        yield (method, base, int(seed)), index


def _check_once(where: str, entry: Entry, seed: int, rows: _Rows, names: np.ndarray, draws: np.ndarray) -> None:
    twice = np.flatnonzero((np.diff(rows.item) == 0) & (np.diff(rows.draw) == 0))
    named = f"{where}: method {entry[0]!r}, base {entry[1]!r}, seed {seed}"
    if len(twice):
        raise UserError(f"{named} has item {names[rows.item[twice[0]]]!r} twice; evaluate this model again")
    sizes = np.bincount(rows.draw)
    first, *others = np.split(np.stack([rows.item, rows.target]), np.cumsum(sizes[sizes > 0])[:-1], axis=1)
    for number, other in zip(np.flatnonzero(sizes)[1:], others, strict=True):
        if not np.array_equal(first, other, equal_nan=True):
            raise UserError(f"{named} has other items in draw {draws[number]!r}; evaluate this model again")


def _mismatch(
    where: str, seed: int, one: tuple[Entry, _Rows], two: tuple[Entry, _Rows], names: np.ndarray, draws: np.ndarray
) -> str:
    (first, ours), (second, theirs) = one, two
    rows = [
        sorted(zip(r.draw.tolist(), r.item.tolist(), map(repr, r.target.tolist()), strict=True)) for r in (ours, theirs)
    ]
    odd = min(set(rows[0]) ^ set(rows[1]), default=(0, 0, ""))
    draw = f" of draw {draws[odd[0]]!r}" if len(draws) > 1 else ""
    return (
        f"{where}, seed {seed}: method {first[0]!r} on {first[1]!r} and method {second[0]!r} on {second[1]!r} differ "
        f"in item {str(names[odd[1]])!r}{draw}, or in its target, so they cannot be paired; evaluate both again"
    )


def _block(rows: _Rows, runs: list[Run], predictions: list[np.ndarray], names: np.ndarray) -> Block:
    present, item = np.unique(rows.item, return_inverse=True)
    prediction = np.stack(predictions)
    draws = []
    for number in np.unique(rows.draw):
        inside = rows.draw == number
        draws.append(Draw(str(names[number]), item[inside], rows.target[inside], prediction[:, inside]))
    return Block(runs, len(present), draws)
