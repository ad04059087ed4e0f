"""``scores.csv`` against mteb's own files and against the item-level results, and which of the three is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causal2vec.errors import UserError
from causal2vec.evaluation.items import TOLERANCE
from causal2vec.reporting.check.cells import csv_rows, differing_rows
from causal2vec.reporting.check.findings import Findings
from causal2vec.reporting.check.items import Run, Scores, close, item_scores
from causal2vec.reporting.read.schema import SCORE_KEY
from causal2vec.reporting.read.scores import RECORDS, filed_scores, frame_of, read_scores, scores_csv

EVALUATE = "evaluate this model again and gather the scores"


@dataclass
class _Filed:
    """What the mteb tree tells.

    Attributes:
        rows: Rows as ``scores.csv`` should have them.
        paths: Run -> mteb's file, relative to the results folder.
        untold: Runs whose file is not to be believed.
        whole: Whether every run of the tree is known, so that what it lacks should not be in ``scores.csv``.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    paths: dict[Run, str] = field(default_factory=dict)
    untold: set[Run] = field(default_factory=set)
    whole: bool = True


def check_scores(results: Path, findings: Findings) -> None:
    """Check every score: equal to mteb's, and main scores recomputed from their items within `TOLERANCE`.

    Where the three disagree, the file that stands alone is the one that is named.
    """
    try:
        frame = read_scores(results / "scores.csv")
    except UserError as error:
        findings.add_error("scores.csv", error, results)
        findings.notes.append("no score was checked, as scores.csv cannot be read")
        return
    filed = _read_tree(results, findings)
    stored, told = _main(frame.to_dict("records")), _main(filed.rows)
    computed = {task: item_scores(results, task, findings) for task in sorted(set(frame["task"]))}
    _outvote(findings, filed, stored, told, computed)
    _check_rows(results, findings, frame, filed)
    for task, found in computed.items():
        if found is not None:
            _check_items(findings, task, stored, told, found)
    _count(findings, frame, filed, stored, computed)


def _read_tree(results: Path, findings: Findings) -> _Filed:
    """Read the mteb tree; a file that is not what its checksum says is not believed."""
    found = _Filed()
    broken = [name for name in findings.failures if name.startswith("mteb/") and name.endswith(f"/{RECORDS}")]
    found.whole = not broken and (results / "mteb").is_dir()
    try:
        for filed in filed_scores(results / "mteb"):
            name = filed.path.relative_to(results).as_posix()
            if f"{name.rpartition('/')[0]}/{RECORDS}" in broken:
                continue
            found.paths[filed.key] = name
            if filed.rows is None and not findings.failed(name):
                findings.add(name, "holds no usable scores of its task", EVALUATE)
            if findings.failed(name):
                found.untold.add(filed.key)
            else:
                found.rows += filed.rows or []
    except UserError as error:
        if not broken:
            findings.add("mteb", str(error).replace(f"{results}/", ""))
        return _Filed(whole=False)
    return found


def _main(rows: Iterable[Any]) -> Scores:
    """Main scores by run, then by split and subset."""
    found: Scores = defaultdict(dict)
    for row in rows:
        if row["metric"] == "main_score":
            found[_run(row)][row["split"], row["subset"]] = row["value"]
    return found


def _run(row: Any) -> Run:
    return row["method"], row["base"], int(row["seed"]), row["task"]


def _outvote(
    findings: Findings, filed: _Filed, stored: Scores, told: Scores, computed: dict[str, Scores | None]
) -> None:
    """Where items and ``scores.csv`` agree and mteb's file does not, it is that file which is wrong."""
    for run, parts in list(told.items()):
        items = (computed.get(run[3]) or {}).get(run, {})
        for part, value in parts.items():
            have = stored.get(run, {}).get(part)
            if have in (None, value) or part not in items or not close(items[part], have) or close(items[part], value):
                continue
            what = f"its main_score ({'/'.join(part)}) is {value!r}, but scores.csv says {have!r} and so do the items"
            findings.add(filed.paths[run], what)
            filed.untold.add(run)
            del told[run]
            break
    filed.rows = [row for row in filed.rows if _run(row) not in filed.untold]


def _check_rows(results: Path, findings: Findings, frame: pd.DataFrame, filed: _Filed) -> None:
    """Hold the rows of ``scores.csv`` against those that the mteb tree gives, where it is to be believed."""
    text = (results / "scores.csv").read_text(encoding="utf-8")
    heading, *rows = csv_rows(text)
    _, *made = csv_rows(scores_csv(frame_of(filed.rows)))
    runs = [_run(row) for row in frame[SCORE_KEY].to_dict("records")]
    told = {_run(row)[:3] for row in filed.rows}
    chosen = [i for i, run in enumerate(runs) if run not in filed.untold and (filed.whole or run[:3] in told)]
    place = differing_rows(
        [heading, *(rows[i] for i in chosen)], [heading, *made], numbers=[1, *(i + 2 for i in chosen)]
    )
    if place:
        findings.add("scores.csv", f"{place}, by mteb's own files")


def _check_items(findings: Findings, task: str, stored: Scores, told: Scores, found: Scores) -> None:
    """Hold the items' scores of one task against mteb's, or against ``scores.csv`` where mteb's file failed."""
    where = f"items/{task}.parquet"
    wrong: list[str] = []
    runs = [run for run in stored if run[3] == task]
    for run in sorted(runs):
        named = f"method '{run[0]}', base '{run[1]}', seed {run[2]}"
        reference = told.get(run) or (None if findings.failed("scores.csv") else stored[run])
        if run not in found:
            wrong.append(f"lacks the items of {named}")
        elif reference is not None:
            wrong += [f"its items of {named} {said}" for said in _differences(found[run], reference)]
    wrong += [
        f"holds items of method '{run[0]}', base '{run[1]}', seed {run[2]}, of which there are no scores"
        for run in sorted(found.keys() - set(runs))
        if not findings.failed("scores.csv")
    ]
    if wrong:
        findings.add(where, f"{wrong[0]}{f' (and {len(wrong) - 1:,} more)' if len(wrong) > 1 else ''}", EVALUATE)


def _differences(found: dict[tuple[str, str], float], reference: dict[tuple[str, str], float]) -> list[str]:
    """In words, where the scores of a run's items are not its scores."""
    if not found.keys() & reference.keys():
        # The items of other tasks, of whose scores this one is the mean, such as CQADupstackRetrieval.
        found, reference = ({("all", "parts"): float(np.mean(list(s.values())))} for s in (found, reference))
    return [
        f"give {'/'.join(part)} a score of {found[part]:.6f}, but it is {value:.6f}"
        if part in found
        else f"lack {'/'.join(part)}"
        for part, value in sorted(reference.items())
        if part not in found or not close(found[part], value)
    ]


def _count(
    findings: Findings, frame: pd.DataFrame, filed: _Filed, stored: Scores, computed: dict[str, Scores | None]
) -> None:
    held = sum(len(parts) for run, parts in stored.items() if computed[run[3]] is not None)
    main = sum(map(len, stored.values()))
    bare = [task for task, found in computed.items() if found is None and not findings.failed(f"items/{task}.parquet")]
    for task in bare:
        count = sum(len(parts) for run, parts in stored.items() if run[3] == task)
        findings.notes.append(
            f"{task} has no item-level results, so its {count:,} main scores cannot be recomputed; they were held "
            "against mteb's files only"
        )
    remark = (
        f"{held:,} of {main:,} main scores recomputed from items within {TOLERANCE:g}, {main - held:,} not recomputable"
    )
    findings.count(len(frame), "score", remark)
    if not filed.whole or filed.untold:
        findings.notes.append("scores whose mteb files failed were not held against these")
