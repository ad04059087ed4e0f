"""Result folders and studies small enough to know every number in them."""

import csv
import json
import math
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from causal2vec.reporting.analysis.compare import compare
from causal2vec.reporting.analysis.evidence import ALL, Difference, Estimate, Evidence, Standing
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import summarise
from causal2vec.reporting.read.schema import EFFICIENCY_COLUMNS, SCORE_COLUMNS
from causal2vec.reporting.show.tables.layout import load_layout

HOSTILE = r"a|b_<x>&%$#{}\`*[~^\"--é"
LAYOUT = Path(__file__).parents[2] / "config" / "tables.yaml"
ORDER = ["causal2vec", "last_token", "echo", "bidirectional", "encoder_only"]
TYPES = {"NFCorpus": "Retrieval", "SciFact": "Retrieval", "STSBenchmark": "STS"}
SCORES = {
    ("causal2vec", 0): [0.5, 0.7, 0.8],
    ("causal2vec", 1): [0.6, 0.7, 0.9],
    ("last_token", 0): [0.5, 0.6, 0.85],
    ("echo", 0): [0.4, 0.6, 0.7],
    ("causal2vec-zero_shot", 0): [0.2, 0.3, 0.25],
    ("echo-zero_shot", 0): [0.3, 0.3, 0.2],
}
LLM, OTHER_LLM = "SmolLM2-135M-Instruct", "Qwen3-0.6B"
SMALL, SHIPPED = "all-MiniLM-L6-v2-2-layers", "all-MiniLM-L6-v2"
CONTROLS = {
    ("encoder_only", SMALL): [0.55, 0.56, 0.62],
    ("encoder_only-zero_shot", SMALL): [0.35, 0.38, 0.45],
    ("encoder_only-zero_shot", SHIPPED): [0.65, 0.6, 0.7],
}
"""The control: one method whose untrained twin stands on two encoders."""


def on_llm(base, extra=0.0):
    """Scores of the methods on one LLM."""
    found = {
        "causal2vec": [0.6, 0.59, 0.75],
        "last_token": [0.48, 0.52, 0.66],
        "echo": [0.52, 0.53, 0.7],
        "bidirectional": [0.5, 0.53, 0.69],
        "last_token-zero_shot": [0.12, 0.1, 0.3],
        "echo-zero_shot": [0.2, 0.25, 0.45],
        "bidirectional-zero_shot": [0.1, 0.12, 0.32],
    }
    return {(method, base): [value + extra for value in values] for method, values in found.items()}


def score_rows(scores, types=TYPES, subsets=("default",)):
    """``scores.csv`` as data, from (method, base) or (method, base, seed) -> one score per task, None for none."""
    rows = [
        (*key[:2], key[2] if len(key) > 2 else 0, task, kind, "test", subset, "main_score", value, 10, "2.26.24", "r1")
        for key, values in scores.items()
        for (task, kind), value in zip(types.items(), values, strict=True)
        for subset in subsets
        if value is not None
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def make_study(scores, types=TYPES, evidence=None, half=0.02, **more):
    """A study from the scores of `score_rows`; ``evidence=True`` makes intervals of +- ``half``."""
    frame = score_rows(scores, types, more.pop("subsets", ("default",)))
    summary = summarise(frame, more.get("order", ORDER))
    found = make_evidence(summary, more.get("bases"), half) if evidence else Evidence()
    return Study("T", summary, frame, **{"evidence": found, "order": ORDER, "notes": ["small-scale: a note"], **more})


def make_evidence(summary, bases=None, half=0.02):
    """Intervals of +- ``half`` around scores and differences; what is farther than that from zero is significant."""
    groups = {("task", task): [task] for task in summary.tasks}
    groups |= {("type", kind): tasks for kind, tasks in summary.types.items()} | {ALL: summary.tasks}
    estimates, differences, standings = {}, {}, {}
    for group, tasks in groups.items():
        for entry in summary.entries:
            score = summary.average(entry, tasks)
            if score is not None:
                seeds = summary.seeds[entry]
                estimates[entry, group] = Estimate(score, score - half, score + half, len(seeds), 10, math.nan)
        for panel in compare(summary.entries, bases):
            for a, b in combinations(panel.entries, 2):
                x, y = (summary.average(e, tasks) for e in (a, b))
                if x is not None and y is not None:
                    d = x - y
                    p = 0.0005 if abs(d) > half else 0.5
                    numbers = (d, d - half, d + half, p, p, 1, int(d > 0), math.nan, 0.75, 0.8, 0.7, 0.9)
                    differences[a, b, group] = Difference(*numbers)
    for panel in compare(summary.entries, bases):
        for i, entry in enumerate(panel.entries):
            standings[panel.base, entry] = Standing(0.5 - i / 100, 0.4, 0.6, 0.5, 0.4, 0.6, 9.0 - i, i + 1, i + 1.5)
    return Evidence(estimates, differences, standings, ["Made-up statistics."])


def cost_rows(methods, base="tiny"):
    """``efficiency.csv`` as data; ``methods``: names on ``base``, or pairs of name and base."""
    rows = []
    for i, (method, on) in enumerate((m, base) if isinstance(m, str) else m for m in methods):
        for length in ["mixed", "32", "512"]:
            seconds = (i + 1) * (1.0 if length == "mixed" else int(length) / 100)
            row = dict.fromkeys(EFFICIENCY_COLUMNS, math.nan)
            row |= {"method": method, "base": on, "text_tokens": length, "llm_tokens": 10.0 * (i + 1)}
            row |= {"encoder_tokens": 30.0, "total_parameters": 1e6, "trainable_parameters": 5.0}
            row |= {"seconds_per_1000_texts": seconds, "texts_per_second": 1000 / seconds}
            row |= {"seconds_per_1000_texts_min": seconds * 0.9, "seconds_per_1000_texts_max": seconds * 1.1}
            row |= {"texts_per_second_min": 900 / seconds, "texts_per_second_max": 1100 / seconds}
            row |= {"device": "cpu", "dtype": "float32", "batch_size": "16", "repeats": "3"}
            row |= {"setting": "plain", "reuse": "no", "batch_tokens": "", "threads": ""}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(EFFICIENCY_COLUMNS))


def training_rows(runs):
    """``training.json`` as data: (method, base, seed, seconds) each."""
    loss = [{"step": step, "loss": 1 / step} for step in range(1, 21)]
    fixed = {"steps": 20, "pairs": 640, "loss": loss, "trainable_parameters": 1234567, "peak_memory_mb": math.nan}
    return pd.DataFrame([{"method": m, "base": b, "seed": s, "seconds": t, **fixed} for m, b, s, t in runs])


def make_suite(scores, **more):
    """A study with costs and training as the workflow makes them: a twin is not measured again."""
    measured = [e for e in scores if (e[0].removesuffix("-zero_shot"), e[1]) not in scores or "-" not in e[0]]
    trained = [e for e in scores if not e[0].endswith("-zero_shot")]
    runs = [(*entry, 0, 10.0 + i) for i, entry in enumerate(trained)]
    return make_study(scores, **{"costs": cost_rows(measured), "training": training_rows(runs), **more})


def make_job(root, method, seed=0, scores=None, base="tiny", subsets=("default",), shard="", **changes):
    """One evaluation job's folder; ``scores`` maps tasks to main scores."""
    record = {
        "method": method,
        "base": base,
        "seed": seed,
        "model": f"suite/{base} {method.encode().hex()}-{seed}",
        "revision": "abc",
        "tasks": {},
        **changes,
    }
    folder = root / f"job-{len(list(root.glob('job-*'))):03d}{shard}"
    place = folder / "results" / record["model"].replace("/", "__").replace(" ", "_") / record["revision"]
    place.mkdir(parents=True)
    for task, score in scores.items():
        entry = {
            "main_score": score,
            "ndcg_at_10": score,
            "nauc_ndcg_at_10_max": math.nan,
            "scores_per_experiment": [{"accuracy": 1.0}],
            "languages": ["eng-Latn"],
            "mteb_version": "2.26.24",
        }
        result = {
            "dataset_revision": "NA",
            "task_name": task,
            "mteb_version": "2.26.24",
            "scores": {"test": [{**entry, "hf_subset": subset} for subset in subsets]},
            "evaluation_time": 0.1,
            "kg_co2_emissions": None,
        }
        (place / f"{task}.json").write_text(json.dumps(result))
        record["tasks"][task] = {
            "task_type": TYPES.get(task, "STS"),
            "main_score": score,
            "data_revision": "data1",
            "items": {f"test/{subset}": 10 for subset in subsets},
        }
        with (place / "run_settings.jsonl").open("a") as file:
            file.write(json.dumps({"task": task}) + "\n")
    (place / "model_meta.json").write_text("{}")
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def write_frame(frame, path):
    """A tidy file as the stages write it."""
    frame.to_csv(path, index=False, quoting=csv.QUOTE_MINIMAL)
    return path


@pytest.fixture(scope="session")
def layout():
    return load_layout(LAYOUT)
