"""Two runs of one study, on one machine or two: what differed, how far the scores are apart, and whether that fits.

On one kind of machine, with the same settings and versions, a run gives the same bytes. Elsewhere sums are added in
another order and rounded otherwise, and scores move a little; how far they may is stated here, in one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.reporting.read.schema import SCORE_KEY
from causal2vec.reporting.read.scores import IDENTITY, RECORDS, read_records, read_scores
from causal2vec.reporting.read.visible import one_line
from causal2vec.runtime.files import read_json

SAME_WEIGHTS = 0.2
"""Points (score × 100) by which a task's score may differ where the weights and the number format are the same and only
the arithmetic of the evaluation differs: machine, threads, batches, versions. Measured in float32 (docs/speed.md):
other batches move main scores by 0.18 points at most and 0.03 in the mean over 12 tasks."""

OTHER_WEIGHTS = 0.5
"""The same where the models were trained anew in the same number format: rounding also changes the weights, step by
step. Measured (docs/verify.md): another number of threads changed weights by 7e-7 in 60 steps, and no main score of
seven tasks; what is more is allowance for longer trainings and other processors."""

OTHER_FORMAT = 1.5
"""The same where another number format was computed in. Measured (docs/verify.md): evaluating in bfloat16, not float32,
moves seven tasks by 1.11 points at most (a clustering of 144 texts) and by 0.34 in the mean. That training in it moves
no more is an assumption."""

ITEMS = 1.0
"""A task's score may always move by so many test items: where one of 50 texts tips over, that alone is 2 points."""

_NO_CAUSE = ("title", "scale_note", "reporting", "resources", "statistics", "efficiency")
"""Sections of the configuration that change no score."""

_FORMATS = ("dtype", "hardware.dtype", "evaluation.dtype")
"""The facts that say in which number format was computed."""

_MACHINE = ("device", "device_name", "dtype", "threads", "system")
"""What of a machine's description changes the last digits of sums; cores and memory do not."""


@dataclass(frozen=True)
class TaskDistance:
    """How far two runs are apart on one task, in points.

    Attributes:
        task: The task.
        largest: The absolute difference of main scores that is largest, or farthest beyond its limit.
        where: Of which run.
        mean: The mean of all differences.
        limit: What may be for this run.
    """

    task: str
    largest: float
    where: str
    mean: float
    limit: float

    @property
    def within(self) -> bool:
        """Whether all runs are within their limits."""
        return self.largest <= self.limit + 1e-9


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` found.

    Attributes:
        causes: Facts that differ and decide scores: name, value here, value there.
        others: Facts that differ and decide no score.
        weights: The runs whose models differ.
        tasks: How far apart the scores are.
        odd: Scores that only one of the runs has, in words.
        equal: Whether all scores, of all metrics, are equal to the last bit.
    """

    causes: list[tuple[str, str, str]]
    others: list[tuple[str, str, str]]
    weights: list[str]
    tasks: list[TaskDistance]
    odd: list[str]
    equal: bool

    @property
    def unexplained(self) -> bool:
        """Whether weights or scores differ although nothing that decides them does."""
        return not self.causes and not (self.equal and not self.weights)

    @property
    def reproduced(self) -> bool:
        """Whether the scores are equal, or as near as what differs lets one expect."""
        return not self.unexplained and all(task.within for task in self.tasks) and bool(self.tasks)

    def lines(self) -> list[str]:
        """One line per fact that differs, one per task, and the verdict."""
        lines = [
            *(f"differs: {name}: {here} / {there}" for name, here, there in self.causes),
            *(f"differs, which changes no score: {name}: {here} / {there}" for name, here, there in self.others),
            *([f"weights differ: {', '.join(self.weights)}"] if self.weights else []),
            *self.odd,
            *(
                f"{t.task}: at most {t.largest:.3f} points ({t.where}), {t.mean:.3f} in the mean; "
                f"{'within' if t.within else 'BEYOND'} {t.limit:g}"
                for t in self.tasks
            ),
            self._verdict(),
        ]
        return [one_line(line) for line in lines]

    def _verdict(self) -> str:
        if self.unexplained:
            what = "the weights" if self.weights else "the scores"
            return f"NOT reproducible: nothing that decides {what} differs between the two runs, but they do"
        if not self.tasks:
            return "NOT reproduced: the two runs have no score in common"
        if self.equal:
            return f"reproduced: all scores of {len(self.tasks)} tasks are equal to the last bit"
        beyond = [task.task for task in self.tasks if not task.within]
        largest = max(task.largest for task in self.tasks)
        if beyond:
            return f"NOT reproduced: at most {largest:.3f} points apart, beyond tolerance on {', '.join(beyond)}"
        return f"reproduced: scores of {len(self.tasks)} tasks are at most {largest:.3f} points apart, within tolerance"


def compare_runs(here: Path, there: Path) -> Comparison:
    """Compare two results folders: their manifests, and their scores.

    Args:
        here: One results folder, with ``scores.csv`` and ``manifest.json``; ``mteb/`` tells batches, where it is there.
        there: The other one.

    Raises:
        UserError: A file of either is missing or unusable.
    """
    manifests = [_manifest(folder) for folder in (here, there)]
    facts = [_facts(manifest, folder) for manifest, folder in zip(manifests, (here, there), strict=True)]
    causes, others = (_differing(*(fact[kind] for fact in facts)) for kind in ("causes", "others"))
    dirt = [(manifest.get("git") or {}).get("dirty") for manifest in manifests]
    if any(dirt):
        causes.append(("code", *("changes that are not committed" if d else "as committed" for d in dirt)))  # type: ignore[arg-type]
    models = [manifest.get("models") or {} for manifest in manifests]
    weights = sorted(name for name in models[0].keys() & models[1].keys() if models[0][name] != models[1][name])
    frames = [read_scores(folder / "scores.csv") for folder in (here, there)]
    rows = [dict(zip(f[SCORE_KEY].itertuples(index=False, name=None), f["value"], strict=True)) for f in frames]
    limit = 0.0 if not causes else OTHER_FORMAT if {name for name, *_ in causes} & set(_FORMATS) else SAME_WEIGHTS
    tasks = _distances(frames, set(weights), limit)
    return Comparison(causes, others, weights, tasks, _odd(rows, here, there), rows[0] == rows[1])


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
        raise UserError(f"{path} is no manifest of a run (it has no config); name the results folder of a finished run")
    return found


def _facts(manifest: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """What decides scores and what does not, each fact by its name."""
    config = manifest["config"]
    hardware = manifest.get("hardware") or {}
    git = manifest.get("git") or {}
    causes = {
        "config": {name: value for name, value in config.items() if name not in _NO_CAUSE},
        "hardware": {name: hardware.get(name) for name in _MACHINE},
        "evaluation": _evaluation(folder),
        "commit": git.get("commit"),
        **{name: manifest.get(name) for name in ("dtype", "versions", "python", "lock_sha256", "pairs", "sources")},
    }
    others = {
        "config": {name: value for name, value in config.items() if name in _NO_CAUSE},
        "hardware": {name: value for name, value in hardware.items() if name not in (*_MACHINE, "gflops")},
        "created": manifest.get("created"),
    }
    return {"causes": dict(_flat(causes)), "others": dict(_flat(others))}


def _evaluation(folder: Path) -> dict[str, str]:
    """Batches, number format and the like of the evaluations, by the records in the mteb tree."""
    found: dict[str, set[str]] = {}
    for path in sorted((folder / "mteb" / "results").glob(f"*/*/{RECORDS}")):
        for record in read_records(path):
            for name in IDENTITY:
                if record.get(name) is not None:
                    found.setdefault(name, set()).add(str(record[name]))
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, by their dotted names."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _differing(here: dict[str, Any], there: dict[str, Any]) -> list[tuple[str, str, str]]:
    names = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    return [(name, _said(here.get(name)), _said(there.get(name))) for name in names]


def _said(value: Any) -> str:
    text = "none" if value in (None, {}) else " ".join(str(value).split())
    return text if len(text) <= 70 else f"{text[:69]}…"


def _distances(frames: list[pd.DataFrame], weights: set[str], allowed: float) -> list[TaskDistance]:
    """How far apart the main scores are that both runs have, task by task.

    Args:
        frames: Both runs' scores.
        weights: The runs whose models differ.
        allowed: By how many points scores of the same weights may differ.
    """
    both: Any = frames[0].merge(frames[1][[*SCORE_KEY, "value"]], on=SCORE_KEY, suffixes=("", "_there"))
    fewest = frames[0].groupby("task")["items"].min()
    distances = []
    for task, rows in both[both["metric"] == "main_score"].sort_values(SCORE_KEY).groupby("task"):
        found: list[tuple[float, float, str]] = []
        for row in rows.itertuples():
            anew = OTHER_WEIGHTS if f"{row.method}/{row.base}/seed{row.seed}" in weights else 0.0
            limit = max(allowed, anew, 100 * ITEMS / max(fewest[task], 1)) if allowed else 0.0
            apart = 100 * abs(row.value - row.value_there)
            found.append((apart, limit, f"{row.method} on {row.base}, seed {row.seed}"))
        worst = max(found, key=lambda one: one[0] - one[1])
        apart, limit, where = worst if worst[0] > worst[1] else max(found)
        distances.append(TaskDistance(task, apart, where, sum(one for one, *_ in found) / len(found), limit))
    return distances


def _odd(rows: list[dict[Any, float]], here: Path, there: Path) -> list[str]:
    """Which main scores only one of the runs has."""
    found = []
    for own, other, folder in ((rows[0], rows[1], here), (rows[1], rows[0], there)):
        keys = sorted(key for key in own.keys() - other.keys() if key[-1] == "main_score")
        if keys:
            method, base, seed, task, *_ = keys[0]
            more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
            found.append(f"only in {folder}: {task} of {method} on {base}, seed {seed}{more}")
    return found
