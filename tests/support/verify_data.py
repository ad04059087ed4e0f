"""A finished results folder of made-up scores: models, mteb's files, items, and all that is made of them."""

import json

import pandas as pd
import yaml
from conftest import ROOT
from synthetic import write_study
from test_report import SVG

from causal2vec.models.trust import content_revision
from causal2vec.reporting.analysis.claims.ledger import load_claims
from causal2vec.reporting.analysis.statistics import compute_statistics
from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.check.checksums import write_checksums
from causal2vec.reporting.read.scores import collect_scores, collect_training
from causal2vec.reporting.show.claims import write_claims
from causal2vec.reporting.show.report.page import report_study
from causal2vec.reporting.show.tables.build import write_tables
from causal2vec.reporting.show.tables.layout import load_layout
from causal2vec.runtime.files import read_json, sha256_file, sha256_json, write_json, write_text

TASKS = {"NFCorpus": "Retrieval", "STS12": "STS", "SprintDuplicateQuestions": "PairClassification"}
BARE = "SummEval"
"""A task without items."""


def shown(folder):
    """A layout of few tables and a file of few claims, as the others take most of the time."""
    layout = yaml.safe_load((ROOT / "config" / "tables.yaml").read_text())
    kept = ("main", "tasks", "statistics", "efficiency", "training")
    write_text(folder / "tables.yaml", yaml.safe_dump({"tables": {name: layout["tables"][name] for name in kept}}))
    claims = yaml.safe_load((ROOT / "config" / "claims.yaml").read_text())
    write_text(folder / "claims.yaml", yaml.safe_dump({**claims, "claims": claims["claims"][:6]}))
    return {"layout": folder / "tables.yaml", "claims": folder / "claims.yaml"}


def finished_results(folder, created="2026-01-31", **changes):
    """Write a small results folder as a whole run leaves it; ``changes`` go into the evaluations' records."""
    given = write_study(
        folder / "given", methods=("causal2vec", "echo"), tasks=TASKS | {BARE: "Summarization"}, items=12,
        untrained=False, control=False, without_items=(BARE,),
    )  # fmt: skip
    results = folder / "results"
    scores = pd.read_csv(given / "scores.csv")
    training = {(r["method"], r["base"], r["seed"]): r for r in read_json(given / "training.json")}
    jobs, models = [], {}
    for run, own in scores.groupby(["method", "base", "seed"]):
        path = f"{run[0]}/{run[1]}/seed{run[2]}"
        models[path] = _model(results / "models" / path, run, training[run])
        jobs.append(_job(folder / "jobs" / run[0], run, own, models[path], changes))
    collect_scores(jobs, results / "mteb", results / "scores.csv")
    for name in ("items", "efficiency.csv"):
        (given / name).rename(results / name)
    collect_training(list((results / "models").glob("*/*/*")), results / "training.json")
    _manifest(given, results, models, created)
    _make(results, **shown(folder))
    write_checksums(results)
    return results


def _model(folder, run, record):
    """Files that look like a model's, and their revision."""
    write_text(folder / "model.safetensors", f"weights of {run}")
    write_text(folder / "modules.json", "[]")
    write_json(folder / "training.json", record)
    revision = content_revision(folder)
    write_json(folder / "manifest.json", {"revision": revision, "trained": True, "method": run[0]})
    return revision


def _job(folder, run, scores, revision, changes):
    """An evaluation job with mteb's files."""
    method, base, seed = run
    model = f"causal2vec-suite/{method}__{base}__seed{seed}"
    place = folder / "results" / model.replace("/", "__") / revision
    tasks = {}
    for row in scores.itertuples():
        entry = {"main_score": row.value, "other_metric": row.value / 2, "hf_subset": row.subset}
        write_json(place / f"{row.task}.json", {"mteb_version": row.mteb_version, "scores": {row.split: [entry]}})
        about = {"task_type": row.task_type, "data_revision": row.data_revision, "seconds": 1.5}
        tasks[row.task] = {**about, "items": {f"{row.split}/{row.subset}": row.items}}
    write_json(place / "model_meta.json", {"name": model, "revision": revision})
    record = {"method": method, "base": base, "seed": int(seed), "model": model, "revision": revision, "tasks": tasks}
    made = {"dtype": "float32", "device": "cpu", "attention": "sdpa", "batch_tokens": 1024}
    write_json(folder / "record.json", {**record, **made, **changes})
    return folder


def _manifest(given, results, models, created):
    manifest = read_json(given / "manifest.json")
    manifest["config"]["statistics"] = {"resamples": 100, "seed": 0}
    identity = {
        "config": manifest["config"], "order": list(manifest["config"]["methods"]), "versions": manifest["versions"],
        "dtype": "float32", "pairs": {"train.parquet": "0" * 64}, "sources": {}, "models": models,
        "scores_sha256": sha256_file(results / "scores.csv"),
    }  # fmt: skip
    write_json(
        results / "manifest.json",
        {**manifest, **identity, "id": sha256_json(identity)[:12], "created": created, "order": identity["order"]},
    )


def _make(results, layout, claims):
    """Statistics, tables, claims, a figure and the report."""
    study = load_study(results)
    compute_statistics(
        results, results / "statistics", bases=study.bases, order=study.order,
        resamples=100,
    )  # fmt: skip
    study = load_study(results)
    write_tables(study, results / "tables", load_layout(layout))
    write_claims(study, load_claims(claims), results / "claims")
    write_text(results / "plots" / "forest.svg", SVG)
    report_study(study, layout, claims, results / "plots", results / "report.html")


def edit_json(path, change):
    """Change a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    write_json(path, value)
