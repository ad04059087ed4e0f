"""Studies and tables for the tests of the report: small, with statistics made up where none are computed."""

import math
from dataclasses import replace
from itertools import combinations

import pandas as pd

from causal2vec.reporting.analysis.compare import compare
from causal2vec.reporting.analysis.evidence import ALL, Difference, Estimate, Evidence
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Summary
from causal2vec.reporting.read.schema import EFFICIENCY_COLUMNS, EFFICIENCY_DEFAULTS
from causal2vec.reporting.show.tables.grid import Cell, Column, RowGroup, Table

NAN = math.nan
HOSTILE = '</script><img src=x onerror="window.hurt=1">\'&"{{7*7}}</style>'
TASKS = {"Retrieval": ["SciFact"], "STS": ["STS12", "STS13"]}


def study_of(averages, *, spread=0.01, bases=("llm",), seeds=(0,), costs=None, missing=(), **more):
    """A study in which an entry scores the same on every task.

    ``averages`` are method (on the first base) or (method, base) -> score; ``spread`` is half the width of every
    interval, None for a study without items; ``costs`` are method -> (LLM tokens, seconds, least, most).
    """
    found = {(key if isinstance(key, tuple) else (key, bases[0])): value for key, value in averages.items()}
    tasks = [task for names in TASKS.values() for task in names]
    values = {(e, t): v for e, v in found.items() for t in tasks if (e, t) not in missing}
    summary = Summary(list(found), TASKS, values, {entry: list(seeds) for entry in found})
    evidence = Evidence() if spread is None else made_up(summary, list(bases), spread, len(seeds))
    frame = None if costs is None else costs_of(costs, bases[0])
    return Study("A study", summary, pd.DataFrame(), evidence, frame, bases=list(bases), **more)


def made_up(summary, bases, spread, seeds=1):
    """Statistics with intervals of one width; a difference is significant where it is greater than half of it."""
    means = {e: summary.average(e, summary.tasks) for e in summary.entries}
    means = {entry: mean for entry, mean in means.items() if mean is not None}
    sd = 0.004 if seeds > 1 else NAN
    estimates = {(e, ALL): Estimate(m, m - spread, m + spread, seeds, 100, sd) for e, m in means.items()}
    differences = {}
    for panel in compare(list(means), bases):
        for a, b in combinations(panel.entries, 2):
            d = means[a] - means[b]
            p = 0.0005 if abs(d) > spread else 0.4
            above = seeds if d > 0 else 0
            differences[a, b, ALL] = Difference(
                d, d - spread, d + spread, p, p, seeds, above, sd, 0.5, 0.5, 0.4, 0.6
            )  # fmt: skip
    return Evidence(estimates, differences, {}, ["Intervals: made up."])


def costs_of(costs, base):
    rows = []
    for method, (tokens, seconds, least, most) in costs.items():
        known = {
            "method": method, "base": base, "text_tokens": "mixed", "llm_tokens": tokens,
            "seconds_per_1000_texts": seconds, "seconds_per_1000_texts_min": least, "seconds_per_1000_texts_max": most,
        }  # fmt: skip
        rows.append({name: known.get(name, NAN) for name in EFFICIENCY_COLUMNS} | EFFICIENCY_DEFAULTS)
    return pd.DataFrame(rows)


def small_table(name="main", **changes):
    """Two groups of rows under a shared heading, with an interval, a sign, a gap and a text."""
    columns = [
        Column("Method", "method", label=True, number=""),
        Column("STS (2)", "STS", "Scores", better="higher", spread="half"),
        Column("PairClassification (1)", "PairClassification", "Scores", better="higher"),
        Column("Seconds", "seconds", better="lower"),
        Column("Remark", "remark", number=""),
    ]
    trained = [
        [Cell("echo"), Cell(61.25, 60.0, 62.5, sign="°"), Cell(9.5), Cell(2.0), Cell("a remark")],
        [Cell("causal2vec"), Cell(60.0, 59.0, 61.0), Cell(10.5), Cell(10.0), Cell(None)],
        [Cell("last_token"), Cell(None), Cell(-1.5), Cell(None), Cell("b")],
    ]
    untrained = [[Cell("echo-zero_shot"), Cell(40.0), Cell(None), Cell(1.0), Cell(None)]]
    groups = [RowGroup("Trained", trained), RowGroup("Untrained", untrained)]
    return replace(Table(name, "Scores of all methods", columns, groups, ["A note."]), **changes)
