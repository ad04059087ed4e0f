"""A results folder made up from known truth: who is better, who ties, and what is missing.

python tests/support/synthetic.py OUT_DIR [--methods 8 --bases 3 --seeds 3 --tasks 56 --items 1000]

Every test item has a difficulty that all methods share; a method adds its own effect, a run (seed) a little luck,
and every (method, item) its own noise. In truth causal2vec wins, echo ties with bidirectional, last_token is last.
"""

from __future__ import annotations

import argparse
import csv
import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import average_precision_score, v_measure_score

from causal2vec.reporting.read.schema import EFFICIENCY_COLUMNS, SCORE_COLUMNS

TYPES = {
    "Retrieval": "ArguAna CQADupstackRetrieval ClimateFEVER DBPedia FEVER FiQA2018 HotpotQA NFCorpus NQ "
    "QuoraRetrieval SCIDOCS SciFact TRECCOVID Touche2020 MSMARCO",
    "Reranking": "AskUbuntuDupQuestions MindSmallReranking SciDocsRR StackOverflowDupQuestions",
    "Clustering": "ArxivClusteringP2P ArxivClusteringS2S BiorxivClusteringP2P BiorxivClusteringS2S "
    "MedrxivClusteringP2P MedrxivClusteringS2S RedditClustering RedditClusteringP2P StackExchangeClustering "
    "StackExchangeClusteringP2P TwentyNewsgroupsClustering",
    "PairClassification": "SprintDuplicateQuestions TwitterSemEval2015 TwitterURLCorpus",
    "Classification": "AmazonPolarityClassification AmazonReviewsClassification Banking77Classification "
    "EmotionClassification ImdbClassification MTOPDomainClassification MTOPIntentClassification "
    "MassiveIntentClassification MassiveScenarioClassification ToxicConversationsClassification "
    "TweetSentimentExtractionClassification AmazonCounterfactualClassification",
    "STS": "BIOSSES SICK-R STS12 STS13 STS14 STS15 STS16 STSBenchmark STS17 STS22",
    "Summarization": "SummEval",
}
"""The 56 tasks of MTEB(eng, v1)."""

METRICS = {"PairClassification": "max_ap", "Clustering": "v_measure", "STS": "spearman"}
"""Task type -> how its score comes from its items; all others are means."""

SUBSETS = {"STS17": ["en-en", "es-es"]}
"""Tasks of several parts."""

EFFECTS = {
    "causal2vec": 0.5,
    "last_token": 0.0,
    "echo": 0.25,
    "bidirectional": 0.25,
    "encoder_only": 0.15,
    "in_context": 0.3,
    "mean_causal": 0.05,
    "weighted_mean": 0.1,
}
"""True strength of each method; causal2vec wins everywhere, echo and bidirectional tie."""

UNTRAINED_EFFECT = -0.8
"""What an untrained twin is weaker by."""

VARIANT_EFFECTS = {"concat": 0.0, "contextual": -0.3, "eos": -0.2}
"""What the variants of the ablation of causal2vec's pooling are weaker by."""

CONTROL_BASE = "mini-encoder"
DRAWS = ["cosine", "dot", "euclidean", "manhattan", "similarity"]
SIMILARITY_NOISE = [0.02, 0.1, 0.02, 0.05, 0.02]


def pick_tasks(count: int) -> dict[str, str]:
    """``count`` tasks with their types, taken in turn from every type."""
    queues = {kind: names.split() for kind, names in TYPES.items()}
    found: dict[str, str] = {}
    while len(found) < min(count, sum(len(names.split()) for names in TYPES.values())):
        for kind, queue in queues.items():
            if queue and len(found) < count:
                found[queue.pop(0)] = kind
    return found


def write_study(
    folder,
    *,
    methods=("causal2vec", "last_token", "echo", "bidirectional"),
    bases=("base-a",),
    seeds=(0,),
    tasks=7,
    items=150,
    effects=None,
    untrained=True,
    control=True,
    variants=(),
    missing=(),
    without_items=(),
    rng_seed=0,
    scale_note="small-scale: made-up scores of known truth; not comparable with published scores",
):
    """Write a results folder and return it as a path.

    Args:
        folder: Where to; made if absent.
        methods: The trained methods.
        bases: The compared bases.
        seeds: Training seeds; untrained twins have the first only.
        tasks: How many tasks of MTEB(eng, v1), or name -> task type.
        items: Items per task, or task -> items.
        effects: Method (or variant, or twin) -> its true strength, over `EFFECTS`.
        untrained: Whether there are untrained twins of all methods but causal2vec.
        control: Whether ``encoder_only`` stands on a base of its own (with its twin if ``untrained``).
        variants: Values of causal2vec's ``pooling`` other than "concat", of "contextual" and "eos".
        missing: (method, base, task) or (method, base, task, seed) without scores.
        without_items: Tasks that have scores but no file of items.
        rng_seed: Of everything random.
    """
    folder = Path(folder)
    (folder / "items").mkdir(parents=True, exist_ok=True)
    kinds = tasks if isinstance(tasks, dict) else pick_tasks(tasks)
    methods = [m for m in methods if not (control and m == "encoder_only")]
    runs = _runs(methods, list(bases), list(seeds), untrained, control, list(variants))
    strength = {**EFFECTS, **(effects or {})}
    rows = []
    for task, kind in kinds.items():
        present = [r for r in runs if (r[0], r[1], task) not in missing and (*r[:2], task, r[2]) not in missing]
        count = items.get(task, 150) if isinstance(items, dict) else items
        frame, scores = make_task(task, kind, present, strength, count, rng_seed)
        if task not in without_items:
            frame.to_parquet(folder / "items" / f"{task}.parquet", index=False)
        rows += scores
    rows.sort()
    with (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCORE_COLUMNS)
        writer.writerows(rows)
    trained = [r for r in runs if not r[0].endswith("-zero_shot")]
    _write_costs(folder / "efficiency.csv", sorted({r[:2] for r in runs if "+" not in r[0]}))
    (folder / "training.json").write_text(json.dumps([_training(*run) for run in trained], indent=1))
    config = make_config(methods, list(bases), list(seeds), list(kinds), control, untrained, list(variants), scale_note)
    (folder / "manifest.json").write_text(json.dumps(_manifest(config), indent=1))
    return folder


def _runs(methods, bases, seeds, untrained, control, variants):
    trained = [*methods, *(f"causal2vec+pooling={value}" for value in variants)]
    runs = [(m, b, s) for m in trained for b in bases for s in seeds]
    twins = [(f"{m}-zero_shot", b) for m in methods for b in bases if m != "causal2vec"]
    if control:
        runs += [("encoder_only", CONTROL_BASE, s) for s in seeds]
        twins.append(("encoder_only-zero_shot", CONTROL_BASE))
    return runs + [(*twin, seeds[0]) for twin in twins if untrained]


def _strength(method, base, strength):
    if method in strength:
        value = strength[method]
    elif method.endswith("-zero_shot"):
        value = strength.get(method.removesuffix("-zero_shot"), 0.0) + UNTRAINED_EFFECT
    else:
        own, _, value = method.partition("+pooling=")
        value = strength.get(own, 0.0) + VARIANT_EFFECTS.get(value, 0.0)
    return value + 0.2 * (zlib.crc32(base.encode()) % 3) * (base != CONTROL_BASE)


def _rng(*parts):
    return np.random.default_rng([zlib.crc32(str(part).encode()) for part in parts])


def make_task(task, kind, runs, strength, count, rng_seed):
    """The items of one task for all runs, and their rows of ``scores.csv``."""
    metric = METRICS.get(kind, "mean")
    frames, rows = [], []
    for subset in SUBSETS.get(task, ["default"]):
        shared = _rng(rng_seed, task, subset)
        truth = {
            "difficulty": shared.normal(size=count),
            "gold": np.round(shared.uniform(0, 5, size=count), 1),
            "label": shared.integers(0, 8, size=count),
            "clusterings": [shared.integers(0, count, size=max(2, count // 2)) for _ in range(10)],
        }
        for method, base, seed in runs:
            rng = _rng(rng_seed, task, subset, method, base, seed)
            value = _strength(method, base, strength) + 0.03 * rng.normal()
            part = METRIC_ITEMS[metric](truth, value, rng, count)
            score = SCORES[metric](part)
            part.insert(0, "method", method)
            part.insert(1, "base", base)
            part.insert(2, "seed", seed)
            part.insert(3, "split", "test")
            part.insert(4, "subset", subset)
            part.insert(5, "metric", metric)
            frames.append(part)
            fixed = (method, base, seed, task, kind, "test", subset)
            rows.append((*fixed, "main_score", repr(float(score)), count, "2.26.24", "synthetic"))
    return pd.concat(frames, ignore_index=True), rows


def _part(draw, item, prediction, target):
    item = np.array([f"q{i:05d}" for i in range(np.max(item) + 1)], dtype=object)[item]
    return pd.DataFrame({"draw": draw, "item": item, "prediction": prediction, "target": target})


def _mean_items(truth, value, rng, count):
    latent = 0.8 * truth["difficulty"] + value + 0.8 * rng.normal(size=count)
    prediction = np.round(1 / (1 + np.exp(-latent)), 4) * (latent > -0.8)
    return _part("", np.arange(count), prediction, np.full(count, np.nan))


def _spearman_items(truth, value, rng, count):
    noise = 1.2 * truth["difficulty"] + 1.2 * rng.normal(size=count)
    prediction = 0.5 + 0.1 * (np.exp(value) * (truth["gold"] - 2.5) + noise)
    return _part("", np.arange(count), prediction, truth["gold"])


def _ap_items(truth, value, rng, count):
    positive = (truth["gold"] > 3).astype(float)
    latent = np.exp(value) * positive + 0.8 * truth["difficulty"] + 0.8 * rng.normal(size=count)
    similarities = [np.round(latent + noise * rng.normal(size=count), 3) for noise in SIMILARITY_NOISE]
    similarities[-1] = similarities[0]  # "similarity" is the model's own, the cosine
    parts = [_part(d, np.arange(count), s, positive) for d, s in zip(DRAWS, similarities, strict=True)]
    return pd.concat(parts, ignore_index=True)


def _cluster_items(truth, value, rng, count):
    easy = truth["difficulty"] + value > 0
    parts = []
    for run, documents in enumerate(truth["clusterings"]):
        label = truth["label"][documents]
        hit = (rng.normal(size=len(label)) + 1.5 * easy[documents]) > 0.5
        cluster = np.where(hit, (label + run) % 8, rng.integers(0, 8, size=len(label)))
        parts.append(_part(f"Level 0/{run}", documents, cluster.astype(float), label.astype(float)))
    return pd.concat(parts, ignore_index=True)


METRIC_ITEMS = {
    "mean": _mean_items,
    "spearman": _spearman_items,
    "max_ap": _ap_items,
    "v_measure": _cluster_items,
}

SCORES = {
    "mean": lambda part: part["prediction"].mean(),
    "spearman": lambda part: spearmanr(rankdata(part["prediction"]), rankdata(part["target"])).statistic,
    "max_ap": lambda part: max(average_precision_score(d["target"], d["prediction"]) for _, d in part.groupby("draw")),
    "v_measure": lambda part: np.mean([v_measure_score(d["target"], d["prediction"]) for _, d in part.groupby("draw")]),
}


def _write_costs(path, entries):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(EFFICIENCY_COLUMNS), lineterminator="\n")
        writer.writeheader()
        for method, base in entries:
            for length, words in [("mixed", 90), ("16", 16), ("64", 64), ("256", 256), ("task:SciFact", 240)]:
                writer.writerow(cost(method, base, length, words))
            for length, words in [("16", 16), ("64", 64)]:
                for setting in ("instruction", "examples"):
                    reuses = ["no", "yes"] if method.removesuffix("-zero_shot") in REUSING else ["no"]
                    for reuse in reuses:
                        writer.writerow(cost(method, base, length, words, setting, reuse))


PROMPTS = {"plain": 0, "instruction": 20, "examples": 1000}
"""Tokens before every text."""

REUSING = ("last_token", "echo", "in_context", "causal2vec+place=after_instruction")
"""The methods that can read them once."""


def cost(method, base, length, words, setting="plain", reuse="no"):
    """A row of ``efficiency.csv``, from a cost model without noise: an LLM token takes 0.1 ms, an encoder's 0.02."""
    name, encoder = method.removesuffix("-zero_shot"), base == CONTROL_BASE
    prompt = PROMPTS[setting]
    llm = 0 if encoder else {"causal2vec": 0.4, "echo": 2.0}.get(name.partition("+")[0], 1.0) * words + 3 + prompt
    computed = llm - prompt * (reuse == "yes")
    reads = words + 2 if encoder or name.startswith("causal2vec") else 0
    seconds = (0.02 * words if reads else 0.0) + 0.1 * computed
    gflops = 0.06 * computed + 0.01 * reads
    size = 22_000_000 if encoder else 135_000_000 + 23_000_000 * (name == "causal2vec")
    return {
        "method": method,
        "base": base,
        "text_tokens": length,
        "llm_tokens": llm,
        "encoder_tokens": reads,
        "texts_per_second": 1000 / seconds,
        "seconds_per_1000_texts": seconds,
        "texts_per_second_min": 950 / seconds,
        "texts_per_second_max": 1030 / seconds,
        "seconds_per_1000_texts_min": seconds / 1.03,
        "seconds_per_1000_texts_max": seconds / 0.95,
        "peak_memory_mb": 200 + llm,
        "total_parameters": size,
        "trainable_parameters": 0 if method.endswith("-zero_shot") else size // 10,
        "dtype": "float32",
        "batch_size": 16,
        "device": "cpu",
        "repeats": 3,
        "setting": setting,
        "reuse": reuse,
        "prompt_tokens": prompt,
        "computed_tokens": computed,
        "gflops_per_text": gflops,
        "measured_gflops_per_text": 1.05 * gflops,
        "latency_ms": 2 * seconds + 1,
        "latency_ms_min": 2 * seconds + 0.9,
        "latency_ms_max": 2 * seconds + 1.2,
        "joules_per_text": "",
        "matmul_gflops": 1000,
        "batch_tokens": 1024,
        "threads": 2,
    }


def _training(method, base, seed):
    rng = _rng("training", method, base, seed)
    losses = [{"step": step, "loss": round(3 * 0.97**step + 0.1 * abs(rng.normal()), 4)} for step in range(1, 61)]
    return {
        "method": method,
        "base": base,
        "seed": seed,
        "steps": 60,
        "pairs": 1920,
        "loss": losses,
        "seconds": round(60 + 20 * rng.random(), 1),
        "trainable_parameters": 1302528,
        "peak_memory_mb": 900,
    }


def make_config(methods, bases, seeds, tasks, control, untrained, variants, scale_note):
    """A configuration with what reporting reads of it."""
    settings = {m: {"module": f"somewhere.{m}", "settings": {}, "zero_shot": untrained} for m in methods}
    if "causal2vec" in settings:
        settings["causal2vec"] |= {"settings": {"pooling": "concat"}, "assumed": ["pooling"], "zero_shot": False}
    if "bidirectional" in settings:
        settings["bidirectional"]["mntp"] = True
    if "in_context" in settings:
        settings["in_context"]["examples"] = "config/examples.yaml"
    if control:
        settings["encoder_only"] = {"module": "somewhere.encoder_only", "bases": [CONTROL_BASE], "zero_shot": untrained}
    config = {
        "title": "A study of known truth",
        "scale_note": scale_note,
        "seeds": seeds,
        "bases": bases,
        "methods": settings,
        "mntp": {"steps": 30},
        "evaluation": {"tasks": tasks},
    }
    if variants and "causal2vec" in settings:
        ablation = {"method": "causal2vec", "axis": "settings.pooling", "values": ["concat", *variants]}
        config["ablations"] = {"pooling": ablation}
    return config


def _manifest(config):
    return {
        "id": "0123456789ab",
        "created": "2026-01-31",
        "config": config,
        "dtype": "float32",
        "git": {"commit": "0" * 40, "dirty": False},
        "versions": {"mteb": "2.26.24", "torch": "2.6.0"},
        "hardware": {"cpu": "2 cores of a processor", "dtype": "float32"},
        "python": "3.11.0",
        "lock_sha256": None,
        "seconds": {"train/causal2vec": 61.0, "evaluate/causal2vec": 20.5},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--methods", type=int, default=4, help="trained methods, at most 8")
    parser.add_argument("--bases", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=7, help="tasks of MTEB(eng, v1), at most 56")
    parser.add_argument("--items", type=int, default=150)
    parser.add_argument("--variants", action="store_true", help="an ablation of causal2vec's pooling")
    parser.add_argument("--trained-only", action="store_true", help="no untrained twins and no control")
    given = parser.parse_args()
    write_study(
        given.output,
        methods=list(EFFECTS)[: given.methods],
        bases=[f"base-{chr(97 + i)}" for i in range(given.bases)],
        seeds=list(range(given.seeds)),
        tasks=given.tasks,
        items=given.items,
        untrained=not given.trained_only,
        control=not given.trained_only,
        variants=["contextual", "eos"] if given.variants else [],
    )


if __name__ == "__main__":
    main()
