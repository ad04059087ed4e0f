"""All checks of a finished results folder, from the bytes up to the report; nothing in it is changed."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causal2vec.errors import UserError
from causal2vec.evaluation.items import TOLERANCE, Items
from causal2vec.models.trust import content_revision
from causal2vec.reporting.analysis.claims.ledger import load_claims
from causal2vec.reporting.analysis.statistics import compute_statistics
from causal2vec.reporting.analysis.statistics.items import read_frame
from causal2vec.reporting.analysis.study import ELSEWHERE, EXTERNAL, load_study
from causal2vec.reporting.check.cells import csv_rows, differing_rows, first_difference
from causal2vec.reporting.check.checksums import AGAIN, MARKERS, SUMS, Findings, check_checksums
from causal2vec.reporting.read.benchmarks import load_benchmarks
from causal2vec.reporting.read.schema import SCORE_KEY
from causal2vec.reporting.read.scores import RECORDS, collect_training, filed_scores, frame_of, read_scores, scores_csv
from causal2vec.reporting.show.claims import write_claims
from causal2vec.reporting.show.report.page import report_study
from causal2vec.reporting.show.tables.build import write_tables
from causal2vec.reporting.show.tables.layout import load_layout
from causal2vec.runtime.files import read_json, sha256_file
from causal2vec.runtime.manifest import IDENTITY, git_state, identity_hash

SCORE_FILES = (
    "scores.csv",
    "efficiency.csv",
    "efficiency_published.csv",
    "efficiency_law.csv",
    "training.json",
    "audit.json",
    "manifest.json",
    EXTERNAL,
)
"""What tables, claims and the report are made of, besides the statistics."""

STATISTICS_TOLERANCE = 1e-9
"""How far numbers of the statistics may be apart: they are written with ten digits, and another machine may round the
last of them otherwise. On the machine that made them they are equal."""

RERUN = (
    "run snakemake again, or name the layout, claims, imported results and costs that the run had (--layout, --claims, "
    "--external, --external-efficiency)"
)
EVALUATE = "evaluate this model again and gather the scores"

Run = tuple[str, str, int, str]
"""Method, base, seed and task."""

Scores = dict[Run, dict[tuple[str, str], float]]
"""Run -> (split, subset) -> score."""


def verify_results(
    results: Path,
    *,
    layout: Path,
    claims: Path,
    external: Path | None = None,
    external_efficiency: Path | None = None,
    models: bool = True,
    workers: int = 1,
) -> Findings:
    """Check a finished results folder.

    In this order, as what fails is not asked again: every file against its checksum, with files that are missing or
    extra; models against their revisions; the manifest against itself; scores against mteb's files and against the
    items; statistics, tables, claims and report against what the scores give.

    Args:
        results: The folder, wherever it is.
        layout: The file that says which tables there are.
        claims: The file of the papers' claims.
        external: The imported results that the tables show beside ours, if they are not those that the folder keeps.
        external_efficiency: The costs that were measured elsewhere, likewise.
        models: Whether to check the models; without, a copy without them can be checked.
        workers: Files that are read at once, and processes for the statistics.

    Returns:
        What was found; `Findings.lines` says it.

    Raises:
        UserError: There is no such folder, or a file besides the results cannot be read.
    """
    if not (results / "scores.csv").is_file() and not (results / SUMS).is_file():
        raise UserError(f"{results} is no finished results folder (no scores.csv, no {SUMS}); name another one")
    kept, costs = results / EXTERNAL, results / ELSEWHERE
    given = {
        "external": kept if external is None and kept.is_file() else external,
        "external_efficiency": costs if external_efficiency is None and costs.is_file() else external_efficiency,
    }
    findings = Findings()
    check_checksums(results, findings, models=models, workers=workers)
    manifest = _check_manifest(results, findings)
    if models:
        _check_models(results, findings, manifest)
    known = set(manifest.get("models", {}).values())
    for folder in sorted((results / "mteb" / "results").glob("*/*")):
        name = folder.relative_to(results).as_posix()
        if known and folder.is_dir() and folder.name not in known and not findings.failed("manifest.json", name):
            findings.add(name, "holds scores of a revision that manifest.json does not list")
    _check_scores(results, findings)
    before = len(findings.failures)
    if not findings.skip("statistics, tables, claims and report were not made again", *SCORE_FILES):
        _check_made(results, findings, manifest, (layout, claims), given, workers)
    here, there = git_state()["commit"], (manifest.get("git") or {}).get("commit")
    if len(findings.failures) > before and here != there:  # other code may make other tables
        findings.notes.append(f"these results were made by commit {there}, and are checked by commit {here}")
    return findings


def _check_manifest(results: Path, findings: Findings) -> dict[str, Any]:
    """Hold the manifest's id against its content, and its hash of the scores against ``scores.csv``.

    Returns:
        The manifest; empty where it cannot be read.
    """
    name = "manifest.json"
    try:
        manifest: dict[str, Any] = read_json(results / name)
        made = identity_hash({key: manifest[key] for key in IDENTITY})
    except UserError as error:
        if not findings.failed(name):
            findings.add_error(name, error, results)
        return {}
    except (KeyError, TypeError) as error:
        findings.add(name, f"says nothing of {error}")
        return {}
    if made != manifest.get("id"):
        findings.add(name, f"its id is {manifest.get('id')!r}, but its content gives {made!r}")
    scores = results / "scores.csv"
    if not findings.failed("scores.csv", name) and sha256_file(scores) != manifest["scores_sha256"]:
        findings.add("scores.csv", f"is not the file whose SHA-256 {name} holds")
    return manifest


def _check_models(results: Path, findings: Findings, manifest: dict[str, Any]) -> None:
    """Hold every model's files against the revision in its manifest, and that against the study's and mteb's."""
    trained, listed = [], manifest.get("models", {})
    folders = sorted(path.parent for path in (results / "models").glob("*/*/*/manifest.json"))
    for folder in folders:
        name, path = folder.relative_to(results).as_posix(), "/".join(folder.parts[-3:])
        try:
            own = dict(read_json(folder / "manifest.json"))
        except (UserError, ValueError, TypeError):
            own = {}
        if own.get("trained"):
            trained.append(folder)
        if findings.failed(name):
            continue
        found, said, expected = content_revision(folder), str(own.get("revision")), str(listed.get(path))
        if found != said:
            findings.add(name, f"its files give revision {found[:12]}…, but its manifest.json says {said[:12]}…")
        elif manifest and not findings.failed("manifest.json") and found != expected:
            findings.add(name, f"has revision {found[:12]}…, but the study's manifest.json says {expected[:12]}…")
    for name in (f"models/{path}" for path in listed):
        if not (results / name / "manifest.json").is_file() and not findings.failed(name, "manifest.json"):
            findings.add(name, "is missing, but manifest.json lists it")
    findings.count(len(folders), "model")
    if findings.skip("training.json was not held against the models' own records", "models"):
        return
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        collect_training(trained, made / "training.json")
        _compare_file(results, made, "training.json", findings, source="models' own training.json", remedy=AGAIN)


@dataclass
class _Tree:
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


def _check_scores(results: Path, findings: Findings) -> None:
    """Check every score: equal to mteb's, and main scores recomputed from their items within `TOLERANCE`.

    Where the three disagree, the file that stands alone is the one that is named.
    """
    try:
        frame = read_scores(results / "scores.csv")
    except UserError as error:
        findings.add_error("scores.csv", error, results)
        findings.notes.append("no score was checked, as scores.csv cannot be read")
        return
    tree = _read_tree(results, findings)
    stored, told = _main(frame.to_dict("records")), _main(tree.rows)
    computed = {task: _item_scores(results, task, findings) for task in sorted(set(frame["task"]))}
    _outvote(findings, tree, stored, told, computed)
    _check_rows(results, findings, frame, tree)
    for task, found in computed.items():
        if found is not None:
            _check_items(findings, task, stored, told, found)
    main, held = sum(map(len, stored.values())), 0
    for task, found in computed.items():
        count = sum(len(parts) for run, parts in stored.items() if run[3] == task)
        if found is not None:
            held += count
        elif not findings.failed(f"items/{task}.parquet"):
            findings.notes.append(
                f"{task} has no item-level results, so its {count:,} main scores cannot be recomputed; they were held "
                "against mteb's files only"
            )
    recomputed = f"{held:,} of {main:,} main scores recomputed from items within {TOLERANCE:g}"
    findings.count(len(frame), "score", f"{recomputed}, {main - held:,} not recomputable")
    if not tree.whole or tree.untold:
        findings.notes.append("scores whose mteb files failed were not held against these")


def _read_tree(results: Path, findings: Findings) -> _Tree:
    """Read the mteb tree; a file that is not what its checksum says is not believed."""
    broken = [name for name in findings.failures if name.startswith("mteb/") and name.endswith(f"/{RECORDS}")]
    tree = _Tree(whole=not broken and (results / "mteb").is_dir())
    try:
        for filed in filed_scores(results / "mteb"):
            name = filed.path.relative_to(results).as_posix()
            if f"{name.rpartition('/')[0]}/{RECORDS}" in broken:
                continue
            tree.paths[filed.key] = name
            if filed.rows is None and not findings.failed(name):
                findings.add(name, "holds no usable scores of its task", EVALUATE)
            if findings.failed(name):
                tree.untold.add(filed.key)
            else:
                tree.rows += filed.rows or []
    except UserError as error:
        if not broken:
            findings.add("mteb", str(error).replace(f"{results}/", ""))
        return _Tree(whole=False)
    return tree


def _run(row: Any) -> Run:
    return row["method"], row["base"], int(row["seed"]), row["task"]


def _main(rows: Iterable[Any]) -> Scores:
    """Main scores by run, then by split and subset."""
    found: Scores = defaultdict(dict)
    for row in rows:
        if row["metric"] == "main_score":
            found[_run(row)][row["split"], row["subset"]] = row["value"]
    return found


def _item_scores(results: Path, task: str, findings: Findings) -> Scores | None:
    """The score of every run, split and subset of a task, by the same functions as mteb's.

    Returns:
        None where there are no items, or none that can be read; that they cannot is recorded.
    """
    name = f"items/{task}.parquet"
    if not (results / name).is_file():
        return None
    found: Scores = defaultdict(dict)
    columns = ["draw", "item", "prediction", "target"]
    try:
        groups: Any = read_frame(results / name).groupby(["method", "base", "seed", "split", "subset"])
        for (method, base, seed, split, subset), part in groups:
            items = Items(str(part["metric"].iloc[0]), **part[columns].to_dict("list"))
            found[method, base, int(seed), task][split, subset] = items.score()
    except (UserError, ValueError) as error:
        findings.add_error(name, error, results)
        return None
    return found


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE


def _outvote(findings: Findings, tree: _Tree, stored: Scores, told: Scores, computed: dict[str, Scores | None]) -> None:
    """Where items and ``scores.csv`` agree and mteb's file does not, it is that file which is wrong."""
    for run, parts in list(told.items()):
        items = (computed.get(run[3]) or {}).get(run, {})
        for part, value in parts.items():
            have = stored.get(run, {}).get(part)
            if (
                have in (None, value)
                or part not in items
                or not _close(items[part], have)
                or _close(items[part], value)
            ):
                continue
            what = f"its main_score ({'/'.join(part)}) is {value!r}, but scores.csv says {have!r} and so do the items"
            findings.add(tree.paths[run], what)
            tree.untold.add(run)
            del told[run]
            break
    tree.rows = [row for row in tree.rows if _run(row) not in tree.untold]


def _check_rows(results: Path, findings: Findings, frame: pd.DataFrame, tree: _Tree) -> None:
    """Hold the rows of ``scores.csv`` against those that the mteb tree gives, where it is to be believed."""
    heading, *rows = csv_rows((results / "scores.csv").read_text(encoding="utf-8"))
    _, *made = csv_rows(scores_csv(frame_of(tree.rows)))
    runs = [_run(row) for row in frame[SCORE_KEY].to_dict("records")]
    told = {_run(row)[:3] for row in tree.rows}
    chosen = [i for i, run in enumerate(runs) if run not in tree.untold and (tree.whole or run[:3] in told)]
    numbers = [1, *(i + 2 for i in chosen)]
    if place := differing_rows([heading, *(rows[i] for i in chosen)], [heading, *made], numbers=numbers):
        findings.add("scores.csv", f"{place}, by mteb's own files")


def _check_items(findings: Findings, task: str, stored: Scores, told: Scores, found: Scores) -> None:
    """Hold the items' scores of one task against mteb's, or against ``scores.csv`` where mteb's file failed."""
    wrong: list[str] = []
    runs = {run for run in stored if run[3] == task}
    for run in sorted(runs | found.keys()):
        named = f"method '{run[0]}', base '{run[1]}', seed {run[2]}"
        reference = told.get(run) or (None if findings.failed("scores.csv") else stored.get(run))
        if run not in found:
            wrong.append(f"lacks the items of {named}")
        elif reference:
            wrong += [f"its items of {named} {said}" for said in _differences(found[run], reference)]
        elif not findings.failed("scores.csv"):
            wrong.append(f"holds items of {named}, of which there are no scores")
    if wrong:
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        findings.add(f"items/{task}.parquet", f"{wrong[0]}{more}", EVALUATE)


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
        if part not in found or not _close(found[part], value)
    ]


def _check_made(
    results: Path,
    findings: Findings,
    manifest: dict[str, Any],
    asked: tuple[Path, Path],
    given: dict[str, Path | None],
    workers: int,
) -> None:
    """Make statistics, tables, claims and report again, and compare each file with the one that is there.

    What has an input that failed is not made, as it would only differ for the same reason; a note says so.

    Args:
        results: The results folder.
        findings: Takes what is found.
        manifest: Its manifest.
        asked: The layout of the tables and the file of claims.
        given: What stands beside ours, by the names of `load_study`'s parameters.
        workers: Processes for the statistics.
    """
    specs, ledger = load_layout(asked[0]), load_claims(asked[1])
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        try:
            statistics = _statistics(results, made, findings, manifest, workers)
            study = load_study(results, statistics=statistics, **given)
        except UserError as error:
            findings.add("statistics", str(error).replace(f"{results}/", ""))
            return
        tables = write_tables(study, made / "tables", specs)
        verdicts = write_claims(study, ledger, made / "claims")
        _compare(results, made, "tables", findings)
        _compare(results, made, "claims", findings)
        if bad := findings.failed("plots"):
            findings.notes.append(f"report.html was not made again, as {bad} failed, which it shows")
        else:
            report_study(study, *asked, results / "plots", made / "report.html")
            _compare_file(results, made, "report.html", findings)
        findings.count(len(tables), "table")
        findings.count(len(verdicts), "verdict")


def _statistics(results: Path, made: Path, findings: Findings, manifest: dict[str, Any], workers: int) -> Path:
    """Compute the statistics again; the folder that the tables are to be made of."""
    if findings.skip("the statistics were not computed again", "items"):
        return results / "statistics"
    asked = manifest.get("config", {}).get("statistics") or {}
    plain = load_study(results, statistics=made / "none")
    compute_statistics(
        results,
        made / "statistics",
        bases=plain.bases,
        order=plain.order,
        benchmarks=load_benchmarks(),
        resamples=asked.get("resamples", 2000),
        seed=asked.get("seed", 0),
        workers=workers,
    )
    _compare(results, made, "statistics", findings, STATISTICS_TOLERANCE)
    # A changed number there is one fault; the tables are held against what the scores give.
    return (made if findings.failed("statistics") else results) / "statistics"


def _compare(results: Path, made: Path, part: str, findings: Findings, tolerance: float = 0.0) -> None:
    """Compare the files of two folders; files that are too many are named too."""
    names = {path.name for folder in (results, made) for path in (folder / part).glob("*")} - set(MARKERS)
    for name in sorted(names):
        _compare_file(results, made, f"{part}/{name}", findings, tolerance)


def _compare_file(
    results: Path,
    made: Path,
    name: str,
    findings: Findings,
    tolerance: float = 0.0,
    source: str = "scores",
    remedy: str = RERUN,
) -> None:
    if (results / name).is_file() and (made / name).is_file():
        place = first_difference(name, (results / name).read_bytes(), (made / name).read_bytes(), tolerance)
        if place:
            findings.add(name, f"{place}, by the {source}", remedy)
    elif not findings.failed(name):
        extra = (results / name).is_file()
        what = f"is nothing that the {source} give" if extra else f"is missing, but the {source} give such a file"
        findings.add(name, what, remedy)
