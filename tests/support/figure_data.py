"""Studies for the tests of the figures: made-up scores, and statistics as if they had been computed from items."""

import itertools
import math

import numpy as np
import pandas as pd
from synthetic import REUSING, cost

from causal2vec.reporting.analysis.compare import compare, split_trained
from causal2vec.reporting.analysis.evidence import ALL, Difference, Estimate, Evidence, Standing
from causal2vec.reporting.analysis.study import Ablation, Study
from causal2vec.reporting.analysis.summary import Summary, is_untrained, sort_entries, twin_of
from causal2vec.reporting.read.schema import EFFICIENCY_COLUMNS

NAN = math.nan
STAMP = (
    "small-scale, not comparable with published scores; some settings assumed; "
    "manifest 0123456789ab of 2026-01-31, 2 seeds (0, 1)"
)
METHODS = ("causal2vec", "last_token", "echo", "bidirectional")
TYPES = {"Retrieval": ["NFCorpus", "SciFact"], "PairClassification": ["TwitterURLCorpus"], "STS": ["STSBenchmark"]}


def make_study(
    entries=None,
    *,
    bases=("llm",),
    types=None,
    order=METHODS,
    missing=(),
    spread=0.012,
    pooling=False,
    stamp=STAMP,
):
    """A study with everything in it.

    ``entries`` are pairs of method and base, by default `METHODS` with a control and twins on every base.
    ``missing`` are pairs of entry and task; ``spread`` is half an interval's width, None for no items.
    """
    types = types or TYPES
    if entries is None:
        entries = [(m, b) for b in bases for m in METHODS]
        entries += [(f"{m}-zero_shot", b) for b in bases for m in METHODS[1:]]
        entries += [("encoder_only", "mini"), ("encoder_only-zero_shot", "mini")]
    variants = [(f"causal2vec+pooling={v}", b) for v in ("contextual", "eos") for b in bases] if pooling else []
    entries = sort_entries([*entries, *variants], list(order))
    rng = np.random.default_rng(0)
    level = {e: rng.uniform(0.4, 0.6) - 0.25 * is_untrained(e[0]) for e in entries}
    tasks = [task for names in types.values() for task in names]
    shift = {task: rng.uniform(-0.2, 0.2) for task in tasks}
    values = {(e, t): min(0.99, max(0.01, level[e] + shift[t] + rng.normal(0, 0.03))) for e in entries for t in tasks}
    values = {key: value for key, value in values.items() if key not in missing}
    summary = Summary(entries, types, values, {e: [0, 1] for e in entries})
    return Study(
        title="A study",
        summary=summary,
        scores=pd.DataFrame(),
        evidence=make_evidence(summary, list(bases), spread),
        costs=make_costs(entries),
        conditions=make_conditions(entries),
        training=make_training([e for e in entries if not is_untrained(e[0])]),
        audit=make_audit([e for e in entries if not is_untrained(e[0])]),
        published=make_published(list(bases), list(dict.fromkeys(twin_of(m) for m, b in entries if b in bases))),
        order=list(order),
        bases=list(bases),
        ablations=[make_ablation()] if pooling else [],
        stamp=stamp,
    )


def make_ablation():
    variants = {"concat": "causal2vec", **{v: f"causal2vec+pooling={v}" for v in ("contextual", "eos")}}
    return Ablation("pooling", "causal2vec", "settings.pooling", variants, assumed=True)


def make_published(bases, methods=METHODS):
    """Savings at published conditions, of three tasks of which one has documents."""
    rows = [
        {"base": base, "task": task, "type": "t", "part": part, "rival": rival, "reuse": reuse, "texts": 9.0,
         "text_tokens": 20.0, "instruction_tokens": 15.0, "example_tokens": 300.0, "our_tokens": 40.0,
         "their_tokens": 300.0, "tokens_saved": saved - 150 * (reuse == "yes") * (rival == "last_token"),
         "flops_saved": saved - 2, "time_saved": saved - 4}
        for base in bases
        for task, saved in (("NFCorpus", 90.0), ("STS22", 40.0), ("a long name of a task", 86.0))
        for part in ("queries", "documents", "whole task")
        if part != "documents" or task == "NFCorpus"
        for rival in methods
        if rival != "causal2vec" and "+" not in rival
        for reuse in ("no", "yes")
    ]  # fmt: skip
    return pd.DataFrame(rows) if rows else None


def make_evidence(summary, bases, spread=0.012):
    """Intervals of one width around the true numbers; ranks from the scores; significant where zero is outside."""
    half = NAN if spread is None else spread
    groups = {ALL: summary.tasks, **{("type", n): t for n, t in summary.types.items()}}
    groups |= {("task", task): [task] for task in summary.tasks}
    found = Evidence()
    for entry, (group, tasks) in itertools.product(summary.entries, groups.items()):
        score = summary.average(entry, tasks)
        if score is not None:
            found.estimates[entry, group] = Estimate(score, score - half, score + half, 2, 50, 0.01)
    for panel in compare(summary.entries, bases):
        for first, second in itertools.combinations(panel.entries, 2):
            for group, tasks in groups.items():
                a, b = summary.average(first, tasks), summary.average(second, tasks)
                if a is not None and b is not None:
                    found.differences[first, second, group] = make_difference(a - b, half)
    for block in split_trained(compare(summary.entries, bases)):
        whole = [e for e in block.entries if "+" not in e[0] and summary.average(e, summary.tasks) is not None]
        table = pd.DataFrame({e: [-summary.values[e, t] for t in summary.tasks] for e in whole})
        mean = table.rank(axis=1).mean()
        for entry in whole:
            found.standings[block.base, entry] = make_standing(float(mean[entry]))
    return found


def make_difference(value, half):
    p = NAN if math.isnan(half) else 0.001 if abs(value) > half else 0.4
    return Difference(value, value - half, value + half, p, p, 2, 2, 0.01, 0.5, 0.5, NAN, NAN)


def make_standing(rank):
    return Standing(0.5, 0.4, 0.6, 0.5, 0.4, 0.6, 10.0, round(rank), rank)


def make_costs(entries):
    rows = []
    for i, (method, base) in enumerate(e for e in entries if not is_untrained(e[0])):
        for length, words in [("mixed", 60), ("16", 16), ("128", 128)]:
            seconds = words * (1 + i % 7) / 40
            row = {"method": method, "base": base, "text_tokens": length, "llm_tokens": words * (0.5 + i % 3)}
            row |= {"texts_per_second": 1000 / seconds, "seconds_per_1000_texts": seconds}
            row |= {"texts_per_second_min": 900 / seconds, "texts_per_second_max": 1050 / seconds}
            row |= {"device": "cpu", "dtype": "float32"}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(EFFICIENCY_COLUMNS))


def make_conditions(entries):
    """The whole of ``efficiency.csv``: a cost model without noise, on two lengths, with a prompt read once or not."""
    cases = [("plain", "no"), *((setting, reuse) for setting in ("instruction", "examples") for reuse in ("no", "yes"))]
    rows = [
        cost(method, base, length, int(length), setting, reuse)
        for method, base in entries
        if not is_untrained(method) and "+" not in method
        for length in ("16", "128")
        for setting, reuse in cases
        if reuse == "no" or method in REUSING
    ]
    return pd.DataFrame(rows, columns=list(EFFICIENCY_COLUMNS))


def make_audit(entries):
    """Of the methods with a Contextual token the swap test; of all, how spread their vectors are."""
    rows = []
    for method, base in entries:
        for seed in (0, 1):
            row = {
                "method": method,
                "base": base,
                "seed": seed,
                "token_used": None,
                "layers": {},
                "mrr_own_whole": 70.0,
            }
            if method.startswith("causal2vec"):
                parts = [(swap, part) for swap in ("own", "mean", "other") for part in ("whole", "contextual", "eos")]
                row |= {f"mrr_{swap}_{part}": 50.0 + place for place, (swap, part) in enumerate(parts)}
                row |= {"token_used": True, "layers": {"eos": [0.1, 0.3, 0.2], "text": [0.2, 0.1, 0.1]}}
            rows.append(row)
    return pd.DataFrame(rows)


def make_training(entries):
    rows = []
    for i, (method, base) in enumerate(entries):
        for seed in (0, 1):
            loss = [{"step": step, "loss": (3 + i / 5) * 0.97**step + seed / 20} for step in range(1, 61)]
            rows.append({"method": method, "base": base, "seed": seed, "loss": loss})
    return pd.DataFrame(rows, columns=["method", "base", "seed", "loss"])
