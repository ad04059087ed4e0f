"""What the answer says of cost, and of how far its numbers can be trusted."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from causal2vec.efficiency.names import (
    DOCUMENTS,
    MIXED,
    PUBLISHED_ON,
    QUERIES,
    READ_AGAIN,
    READ_ONCE,
    SAVES,
    WHOLE_TASK,
)
from causal2vec.reporting.analysis.compare import Panel, counterpart
from causal2vec.reporting.analysis.evidence import ALL
from causal2vec.reporting.analysis.savings import CLAIMED, text_rank, text_words
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry
from causal2vec.reporting.show.report.answers_words import REFERENCE, average, points, with_base
from causal2vec.reporting.show.tables.grid import format_number

Costs = dict[Entry, dict[str, float]]
"""Entry -> cost -> its value, all on the same texts."""

_COSTS = ("llm_tokens", "seconds_per_1000_texts", "seconds_per_1000_texts_min", "seconds_per_1000_texts_max")


def cost_clauses(study: Study, panels: list[Panel]) -> list[str]:
    """What `REFERENCE` saves against its best rival on each base; without it, who is fast and who slow."""
    if study.costs is None or study.costs.empty:
        return ["what the methods cost was not measured"]
    costs, texts = _measured(study.costs)
    clauses: list[str] = []
    for panel in panels:
        own = next((e for e in panel.entries if e[0] == REFERENCE and _cost(costs, e)), None)
        rival = _best_rival(study, panel, costs)
        text = ""
        if own and rival:
            text = _saving(_cost(costs, own), _cost(costs, rival), rival[0], brief=bool(clauses))
        elif not own:
            text = _extremes([e for e in panel.entries if _cost(costs, e)], costs)
        if text:
            clauses.append(with_base(panel, text))
    if not clauses:
        return [f"what {REFERENCE} saves cannot be said, as no rival on its base was measured beside it"]
    return [f"on {texts}, {clauses[0]}", *clauses[1:]]


def _measured(frame: pd.DataFrame) -> tuple[Costs, str]:
    """Costs on texts of mixed length, or else of the greatest length; and these texts in words."""
    lengths = set(frame["text_tokens"])
    # Texts of a task stand for that task only, so they come last.
    chosen = MIXED if MIXED in lengths else max(lengths, key=lambda text: (text.isdigit(), text_rank(text)))
    rows = frame[frame["text_tokens"] == chosen].to_dict("records")
    costs = {(row["method"], row["base"]): {name: float(row[name]) for name in _COSTS} for row in rows}
    return costs, f"texts of {text_words(chosen)}"


def _cost(costs: Costs, entry: Entry) -> dict[str, float]:
    """An entry's costs; a method and its untrained twin run the same computation, so one stands for both."""
    return costs.get(entry) or costs.get(counterpart(entry)) or {}


def _best_rival(study: Study, panel: Panel, costs: Costs) -> Entry | None:
    """The best of the measured rivals on the same base; without averages, the first."""
    rivals = [e for e in panel.entries if e[0] != REFERENCE and e[1] == panel.base and _cost(costs, e)]
    return max(rivals, key=lambda e: average(study, e) or -1.0, default=None)


def _saving(own: dict[str, float], other: dict[str, float], rival: str, *, brief: bool) -> str:
    """Tokens and time against a rival; ``brief`` where the clause before has said how the rival was chosen."""
    parts = []
    if own["llm_tokens"] > 0 and other["llm_tokens"] > 0:
        amount = _ratio(own["llm_tokens"] / other["llm_tokens"], "fewer tokens than", "more tokens than", "as many as")
        who = "it" if brief else f"the LLM of {REFERENCE}"
        chosen = "" if brief else ", its best measured rival on the same base,"
        parts.append(f"{who} reads {amount} that of {rival}{chosen}")
    least, most = ("seconds_per_1000_texts_min", "seconds_per_1000_texts_max")
    overlap = own[least] <= other[most] and other[least] <= own[most]
    seconds = own["seconds_per_1000_texts"] / other["seconds_per_1000_texts"]
    doubt = ", though the ranges over repeats overlap" if overlap else ""
    time = _ratio(seconds, "less time", "more time", "the same time")
    parts.append(f"embedding takes {time}{doubt}" if parts else f"{REFERENCE} takes {time} against {rival}{doubt}")
    return " and ".join(parts)


def _ratio(ratio: float, less: str, more: str, equal: str) -> str:
    percent = f"{100 * abs(1 - ratio):.0f}\u00a0%"
    if percent == "0\u00a0%":
        return f"about {equal}"
    return f"{percent} {less if ratio < 1 else more}"


def _extremes(entries: list[Entry], costs: Costs) -> str:
    if not entries:
        return ""
    seconds = {e: _cost(costs, e)["seconds_per_1000_texts"] for e in entries}
    fast, slow = min(entries, key=seconds.__getitem__), max(entries, key=seconds.__getitem__)
    words = [f"{format_number(seconds[e], 'sig3')} s with {e[0]}" for e in dict.fromkeys((fast, slow))]
    return f"embedding 1,000 texts takes {' to '.join(words)}"


def caution(study: Study, entries: list[Entry]) -> list[str]:
    """What limits these numbers: seeds, scale, assumed settings."""
    clauses = [_luck(study, entries)]
    config = study.manifest.get("config", {})
    if config.get("scale_note"):
        clauses.append("the study is small-scale, so its scores are not comparable with published ones")
    if any(method.get("assumed") for method in (config.get("methods") or {}).values()):
        clauses.append("some settings are assumed")
    return clauses


def _luck(study: Study, entries: list[Entry]) -> str:
    """How far training luck moves the averages, as far as the seeds tell."""
    counts = sorted({len(study.summary.seeds[entry]) for entry in entries})
    if counts[-1] == 1:
        return "all rests on one seed, so how much of it is training luck is not known"
    seeds = " to ".join(dict.fromkeys(str(count) for count in (counts[0], counts[-1])))
    found = [study.evidence.estimate(entry, ALL) for entry in entries]
    spreads = sorted(e.seed_sd for e in found if e is not None and not math.isnan(e.seed_sd))
    if not spreads:
        return f"how much the averages vary over {seeds} seeds was not computed"
    size = " to ".join(dict.fromkeys(points(spread) for spread in (spreads[0], spreads[-1])))
    return f"averages vary by {size} points (standard deviation) over {seeds} seeds"


SHOWS, TWICE = "in_context", "echo"
"""The rivals that the sentences are about: one that shows examples, and one that reads a text twice."""


def published_sentences(study: Study) -> list[str]:
    """Where the claim of savings holds, by the law of costs, in at most five sentences; none without a law's rows."""
    if study.published is None:
        return []
    known: Any = study.published[study.published["base"] == study.published["base"].iloc[0]]
    found = []
    for part, words in ((QUERIES, "queries alone"), (DOCUMENTS, "documents alone"), (WHOLE_TASK, "whole tasks")):
        own = known[(known["rival"] == SHOWS) & (known["part"] == part) & (known["reuse"] == READ_AGAIN)]
        if len(own):
            most = own.loc[own["tokens_saved"].idxmax()]
            time = (own["time_saved"] >= CLAIMED["ms"]).sum() if own["time_saved"].notna().any() else None
            found.append(
                f"Against {SHOWS} with its published examples, {SAVES} reads {CLAIMED['tokens']:g} % fewer tokens for "
                f"{words} on {(own['tokens_saved'] >= CLAIMED['tokens']).sum()} of {len(own)} tasks of {PUBLISHED_ON} "
                f"(median {own['tokens_saved'].median():.0f} %, most {most['tokens_saved']:.0f} %, {most['task']})"
                + (f", and takes {CLAIMED['ms']:g} % less time on {time}." if time is not None else ".")
            )
    once = known[(known["rival"] == SHOWS) & (known["part"] == QUERIES) & (known["reuse"] == READ_ONCE)]
    if len(once):
        found.append(
            f"Where {SHOWS} reads its examples once for all queries, which its attention allows, it is on "
            f"{(once['tokens_saved'] >= CLAIMED['tokens']).sum()}, and {SHOWS} computes fewer tokens than {SAVES} on "
            f"{(once['tokens_saved'] < 0).sum()}."
        )
    twice = known[known["rival"] == TWICE]["tokens_saved"]
    if len(twice):
        found.append(f"Against {TWICE}, which reads a text twice, it saves {twice.max():.0f} % at most.")
    return found
