"""The answer in three sentences, from the numbers: who leads, where Causal2Vec stands, what it costs.

Here are the facts; ``answers.j2`` makes sentences of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from causal2vec.efficiency.names import DOCUMENTS, MIXED, PUBLISHED_ON, QUERIES, READ_AGAIN, READ_ONCE, WHOLE_TASK
from causal2vec.reporting.analysis.compare import Panel, compare, counterpart
from causal2vec.reporting.analysis.evidence import ALL, ENOUGH_SEEDS, Difference
from causal2vec.reporting.analysis.savings import CLAIMED, text_rank, text_words
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, is_untrained
from causal2vec.reporting.show.render.html import TEMPLATES
from causal2vec.reporting.show.tables.grid import format_number

QUESTION = "Which way of turning a decoder-only LLM into a text embedder is best, and how sure can one be?"

REFERENCE = "causal2vec"
"""The method whose paper's questions the report answers."""

LABELS = ("Who leads", f"Where {REFERENCE} stands", "What it costs, and how far to trust this")
"""What each of the three sentences is about."""


def answers(study: Study) -> tuple[str, str, str]:
    """Three sentences: which method leads, where Causal2Vec stands, what it costs and how far to trust it.

    They hold only what the study's numbers say. Averages are over all evaluated tasks, times 100, and methods that
    lack a task have none; differences are paired, with their 95 % interval over test items.
    """
    facts = _facts(study)
    first, second, third = (f"{'; '.join(_lines(name, facts))}." for name in ("leads", "stands", "costs"))
    return _capital(first), _capital(second), _capital(third)


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


@functools.cache
def _macros() -> Any:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=False)
    environment.filters["points"] = points
    return environment.get_template("answers.j2").module


def _lines(macro: str, *facts: object) -> list[str]:
    """What a macro of ``answers.j2`` says, line by line."""
    text: str = getattr(_macros(), macro)(*facts).replace("&nbsp;", "\u00a0")
    return [line.strip(" ") for line in text.split("\n") if line.strip(" ")]


def points(value: float) -> str:
    """A score or a difference (0 to 1) in points, with one decimal and a true minus sign."""
    text = f"{100 * value:.1f}"
    # A difference that rounds to nothing has no direction.
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def _average(study: Study, entry: Entry) -> float:
    """The average over all tasks (0 to 1); NaN where one is missing."""
    average = study.summary.average(entry, study.summary.tasks)
    return math.nan if average is None else average


def _ranked(study: Study, entries: list[Entry]) -> list[Entry]:
    """Entries that have an average, best first; equal ones in display order."""
    found = [entry for entry in entries if not math.isnan(_average(study, entry))]
    return sorted(found, key=lambda entry: -_average(study, entry))


def _name(panel: Panel, entry: Entry) -> str:
    """A method's name; a control, which stands on another base, is called so, with its base."""
    method, base = entry
    return method if base == panel.base else f"the control {method} ({base})"


@dataclass(frozen=True)
class Gap:
    """How far one method is from another.

    Attributes:
        rival: The other's name.
        size: The difference of their averages.
        found: The same as tested, seen from the better one; None where it was not.
        trained: Whether the luck of a training is in it.
    """

    rival: str
    size: float
    found: Difference | None
    trained: bool


def _gap(study: Study, panel: Panel, first: Entry, rival: Entry) -> Gap:
    size = _average(study, first) - _average(study, rival)
    found = study.evidence.difference(first, rival, ALL)
    trained = not (is_untrained(first[0]) and is_untrained(rival[0]))
    return Gap(_name(panel, rival), size, found.reversed() if found and size < 0 else found, trained)


def _facts(study: Study) -> dict[str, Any]:
    """All that the three sentences may say."""
    entries = [entry for entry in study.summary.entries if "+" not in entry[0]]
    trained = [entry for entry in entries if not is_untrained(entry[0])]
    panels = compare(trained or entries, study.bases)
    tasks = study.summary.tasks
    config = study.manifest.get("config", {})
    return {
        "reference": REFERENCE,
        "enough": ENOUGH_SEEDS,
        "tasks": f"the {len(tasks)} tasks" if len(tasks) != 1 else f"the one task, {tasks[0]}",
        "kind": "trained" if trained else "untrained",
        "panels": [_panel(study, panel, entries) for panel in panels],
        "rivals": any(len(panel.entries) > 1 for panel in panels),
        "tested": any(not math.isnan(found.low) for found in study.evidence.differences.values()),
        **_costs(study, panels),
        **_luck(study, [entry for panel in panels for entry in panel.entries]),
        "small": bool(config.get("scale_note")),
        "assumed": any(method.get("assumed") for method in (config.get("methods") or {}).values()),
    }


def _panel(study: Study, panel: Panel, entries: list[Entry]) -> dict[str, Any]:
    """Who leads on a base, and where `REFERENCE` stands there."""
    ranked = _ranked(study, panel.entries)
    averages = [points(_average(study, entry)) for entry in ranked]
    facts: dict[str, Any] = {
        "base": panel.base,
        "names": [_name(panel, entry) for entry in panel.entries],
        "averages": averages,
        "missing": [_name(panel, entry) for entry in panel.entries if entry not in ranked],
        "own": _standing(study, panel, ranked),
    }
    if not ranked:
        return facts
    beside = next((p.entries for p in compare(entries, study.bases) if p.base == panel.base), [])
    twins = _ranked(study, [entry for entry in beside if is_untrained(entry[0])])
    ahead = points(_average(study, twins[0])) if twins and not is_untrained(ranked[0][0]) else "-inf"
    return facts | {
        "lead": _name(panel, ranked[0]),
        "estimate": study.evidence.estimate(ranked[0], ALL),
        "level": [_name(panel, entry) for entry, own in zip(ranked, averages, strict=True) if own == averages[0]],
        "next": _gap(study, panel, ranked[0], ranked[1]) if len(ranked) > 1 else None,
        "ahead": (*twins[0], ahead) if float(ahead) > float(averages[0]) else None,
    }


def _standing(study: Study, panel: Panel, ranked: list[Entry]) -> dict[str, Any] | None:
    own = next((entry for entry in panel.entries if entry[0] == REFERENCE), None)
    if own is None or own not in ranked:
        return own and {"lacking": sum(study.summary.score(own, task) is None for task in study.summary.tasks)}
    rivals = [entry for entry in ranked if entry != own]
    known = [found for rival in rivals if (found := study.evidence.difference(own, rival, ALL))]
    return {
        "lacking": 0,
        "average": points(_average(study, own)),
        "rivals": [_gap(study, panel, own, rival) for rival in rivals],
        "counted": len(rivals) > 1 and sum(not math.isnan(found.low) for found in known) == len(rivals),
        "sure": [found for found in known if found.significant],
    }


def _costs(study: Study, panels: list[Panel]) -> dict[str, Any]:
    """What `REFERENCE` saves against its best rival on each base; without it, who is fast and who slow."""
    if study.costs is None or study.costs.empty:
        return {"measured_on": "", "costs": []}
    lengths = set(study.costs["text_tokens"])
    # Texts of mixed length, or else of the greatest length; texts of a task stand for that task only.
    chosen = MIXED if MIXED in lengths else max(lengths, key=lambda text: (text.isdigit(), text_rank(text)))
    rows = study.costs[study.costs["text_tokens"] == chosen].to_dict("records")
    measured = {(row["method"], row["base"]): row for row in rows}

    def cost(entry: Entry) -> Any:
        # A method and its untrained twin run the same computation, so one stands for both.
        return measured.get(entry) or measured.get(counterpart(entry))

    found = [_panel_costs(study, panel, cost) for panel in panels]
    return {"measured_on": text_words(chosen), "costs": [facts for facts in found if facts]}


def _panel_costs(study: Study, panel: Panel, cost: Callable[[Entry], Any]) -> dict[str, Any] | None:
    known = [entry for entry in panel.entries if cost(entry)]
    own = next((entry for entry in known if entry[0] == REFERENCE), None)
    if own is None:
        seconds = {entry: float(cost(entry)["seconds_per_1000_texts"]) for entry in known}
        ends = dict.fromkeys(
            (min(known, key=seconds.__getitem__), max(known, key=seconds.__getitem__)) if known else ()
        )
        texts = [(entry[0], format_number(seconds[entry], "sig3")) for entry in ends]
        return {"base": panel.base, "seconds": texts} if known else None
    # The best of the measured rivals on the same base; without averages, the first.
    rivals = [entry for entry in known if entry[0] != REFERENCE and entry[1] == panel.base]
    if not rivals:
        return None
    best = next(iter(_ranked(study, rivals)), rivals[0])
    ours, theirs, key = cost(own), cost(best), "seconds_per_1000_texts"
    read = ours["llm_tokens"] > 0 and theirs["llm_tokens"] > 0
    return {
        "base": panel.base,
        "seconds": [],
        "rival": best[0],
        "tokens": ours["llm_tokens"] / theirs["llm_tokens"] if read else None,
        "time": ours[key] / theirs[key],
        "overlap": ours[f"{key}_min"] <= theirs[f"{key}_max"] and theirs[f"{key}_min"] <= ours[f"{key}_max"],
    }


def _luck(study: Study, entries: list[Entry]) -> dict[str, str]:
    """How far training luck moves the averages, as far as the seeds tell."""
    counts = sorted({len(study.summary.seeds[entry]) for entry in entries})
    found = [study.evidence.estimate(entry, ALL) for entry in entries]
    spreads = sorted(e.seed_sd for e in found if e is not None and not math.isnan(e.seed_sd))
    return {
        "most_seeds": str(counts[-1]),
        "seeds": " to ".join(dict.fromkeys(str(count) for count in (counts[0], counts[-1]))),
        "spread": " to ".join(dict.fromkeys(map(points, (spreads[0], spreads[-1])))) if spreads else "",
    }


def published_sentences(study: Study) -> list[str]:
    """Where the claim of savings holds, by the law of costs, in at most five sentences; none without a law's rows."""
    if study.published is None:
        return []
    known: Any = study.published[study.published["base"] == study.published["base"].iloc[0]]
    shows = known[known["rival"] == "in_context"]
    parts = []
    for part, words in ((QUERIES, "queries alone"), (DOCUMENTS, "documents alone"), (WHOLE_TASK, "whole tasks")):
        own = shows[(shows["part"] == part) & (shows["reuse"] == READ_AGAIN)]
        if len(own):
            most = own.loc[own["tokens_saved"].idxmax()]
            parts.append(
                {
                    "words": words,
                    "claimed": f"{CLAIMED['tokens']:g}",
                    "claimed_time": f"{CLAIMED['ms']:g}",
                    "benchmark": PUBLISHED_ON,
                    "tasks": len(own),
                    "reached": (own["tokens_saved"] >= CLAIMED["tokens"]).sum(),
                    "median": f"{own['tokens_saved'].median():.0f}",
                    "most": f"{most['tokens_saved']:.0f}",
                    "task": most["task"],
                    "faster": (own["time_saved"] >= CLAIMED["ms"]).sum() if own["time_saved"].notna().any() else None,
                }
            )
    once = shows[(shows["part"] == QUERIES) & (shows["reuse"] == READ_ONCE)]["tokens_saved"]
    again = {"reached": (once >= CLAIMED["tokens"]).sum(), "lost": (once < 0).sum()} if len(once) else None
    twice = known[known["rival"] == "echo"]["tokens_saved"]
    return _lines("published", parts, again, f"{twice.max():.0f}" if len(twice) else "")
