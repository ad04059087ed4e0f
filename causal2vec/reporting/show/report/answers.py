"""The answer in three sentences, made from the numbers: who leads, where Causal2Vec stands, what it costs."""

from __future__ import annotations

import math

from causal2vec.reporting.analysis.compare import Panel, compare
from causal2vec.reporting.analysis.evidence import ALL, Difference
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, is_untrained
from causal2vec.reporting.show.report.answers_cost import caution, cost_clauses
from causal2vec.reporting.show.report.answers_words import (
    REFERENCE,
    average,
    few_seeds,
    joined,
    name_in,
    points,
    sentence,
    shown,
    span,
    tasks_phrase,
    untested,
    verdict,
    with_base,
)

QUESTION = "Which way of turning a decoder-only LLM into a text embedder is best, and how sure can one be?"

LABELS = ("Who leads", f"Where {REFERENCE} stands", "What it costs, and how far to trust this")
"""What each of the three sentences is about."""

_DETAILED = 5
"""So many rivals are named one by one; of more, the best is named and the others are counted."""


def answers(study: Study) -> tuple[str, str, str]:
    """Three sentences: which method leads, where Causal2Vec stands, what it costs and how far to trust it.

    They hold only what the study's numbers say. Averages are over all evaluated tasks, times 100, and methods that
    lack a task have none; differences are paired, with their 95 % interval over test items.
    """
    entries = [entry for entry in study.summary.entries if "+" not in entry[0]]
    trained = [entry for entry in entries if not is_untrained(entry[0])]
    panels = compare(trained or entries, study.bases)
    doubt = untested(study) if any(len(panel.entries) > 1 for panel in panels) else []
    leaders = [with_base(panel, _leader(study, panel, entries)) for panel in panels]
    if len(panels) > 1:
        leaders[0] = f"by the average over {tasks_phrase(study)}, {leaders[0]}"
    first = sentence(leaders + doubt)
    second = sentence(_standing(study, panels))
    third = sentence([*cost_clauses(study, panels), *caution(study, [e for p in panels for e in p.entries])])
    return first, second, third


def _leader(study: Study, panel: Panel, entries: list[Entry]) -> str:
    """Who has the highest average, by how much, and whether that is significant."""
    ranked = _ranked(study, panel.entries)
    kind = "untrained" if all(is_untrained(method) for method, _ in panel.entries) else "trained"
    over = f"over {tasks_phrase(study)}"
    if not ranked:
        return f"no {kind} method has a score on every task, so there is no average to rank by"
    lead = ranked[0]
    best = f"{shown(study, lead)}{_interval(study, lead)}"
    if len(panel.entries) == 1:
        return f"only one {kind} method was evaluated, {lead[0]}, with an average of {best} {over}"
    missing = [name_in(panel, entry) for entry in panel.entries if entry not in ranked]
    gaps = f"; without an average, as tasks are missing: {joined(missing)}" if missing else ""
    text = "" if panel.title else f"of {len(panel.entries)} {kind} methods, "
    level = [entry for entry in ranked if shown(study, entry) == shown(study, lead)]
    if len(ranked) == 1:
        text += f"only {name_in(panel, lead)} has a score on every task, with an average of {best} {over}"
    elif len(level) > 1:
        text += f"{joined([name_in(panel, e) for e in level])} tie for the highest average {over}, {shown(study, lead)}"
    else:
        following = f"the next, {name_in(panel, ranked[1])}"
        # One base is told in full; several would make a sentence that nobody reads to its end.
        high = f"leads with {shown(study, lead)}" if panel.title else f"has the highest average {over}, {best}"
        text += f"{name_in(panel, lead)} {high}, "
        text += f"{_compared(study, lead, ranked[1], following, chance=True)}{_seeds(study, ranked)}"
    return text + gaps + _untrained_ahead(study, panel, entries, lead)


def _interval(study: Study, entry: Entry) -> str:
    found = study.evidence.estimate(entry, ALL)
    if found is None or math.isnan(found.low):
        return ""
    return f" (95\u00a0% interval {span(found.low, found.high)})"


def _ranked(study: Study, entries: list[Entry]) -> list[Entry]:
    """Entries that have an average, best first; equal ones in display order."""
    found = [entry for entry in entries if average(study, entry) is not None]
    return sorted(found, key=lambda entry: -(average(study, entry) or 0.0))


def _compared(study: Study, first: Entry, second: Entry, name: str, *, chance: bool = False) -> str:
    """How far ``first`` is from ``second``, called ``name``: "2.2 points above echo (1.0 to 3.4, significant)"."""
    found = study.evidence.difference(first, second, ALL)
    gap = (average(study, first) or 0.0) - (average(study, second) or 0.0)
    size = points(abs(gap))
    where = "level with" if float(size) == 0 else f"{size} points {'above' if gap > 0 else 'below'}"
    trained = not (is_untrained(first[0]) and is_untrained(second[0]))
    known = "" if untested(study) else f" ({verdict(found, flipped=gap < 0, chance=chance, trained=trained)})"
    return f"{where} {name}{known}"


def _seeds(study: Study, ranked: list[Entry]) -> str:
    """On how many seeds the leader is ahead of the next, where there are several."""
    found = study.evidence.difference(ranked[0], ranked[1], ALL)
    return f", ahead on {found.seeds_above} of {found.seeds} seeds" if found and found.seeds > 1 else ""


def _untrained_ahead(study: Study, panel: Panel, entries: list[Entry], lead: Entry) -> str:
    """A remark, where something that was never trained here scores higher than all that was."""
    if is_untrained(lead[0]):
        return ""
    beside = next((p.entries for p in compare(entries, study.bases) if p.base == panel.base), [])
    twins = _ranked(study, [entry for entry in beside if is_untrained(entry[0])])
    if not twins or float(shown(study, twins[0])) <= float(shown(study, lead)):
        return ""
    method, base = twins[0]
    return f"; without any training here, {method} ({base}) scores higher still, {shown(study, twins[0])}"


def _standing(study: Study, panels: list[Panel]) -> list[str]:
    """Where `REFERENCE` stands on each base, or why that cannot be said."""
    if not any(method == REFERENCE for panel in panels for method, _ in panel.entries):
        return [f"the method {REFERENCE} is not among the compared methods, so this study does not say where it stands"]
    clauses = []
    for panel in panels:
        own = next((entry for entry in panel.entries if entry[0] == REFERENCE), None)
        text = f"{REFERENCE} was not run" if own is None else _against_rivals(study, panel, own, len(panels) == 1)
        clauses.append(with_base(panel, text))
    return clauses


def _against_rivals(study: Study, panel: Panel, own: Entry, detailed: bool) -> str:
    value = average(study, own)
    if value is None:
        lacking = [task for task in study.summary.tasks if study.summary.score(own, task) is None]
        return f"for {REFERENCE} there is no average, as it lacks {len(lacking)} of {tasks_phrase(study)}"
    rivals = [entry for entry in _ranked(study, panel.entries) if entry != own]
    start = f"{REFERENCE}, at {points(value)}," if panel.title else f"with an average of {points(value)}, {REFERENCE}"
    if not rivals:
        return f"{start} has no rival with a score on every task"
    if detailed and len(rivals) <= _DETAILED:
        return f"{start} is {joined([_compared(study, own, rival, name_in(panel, rival)) for rival in rivals])}"
    best = f"its best rival, {name_in(panel, rivals[0])}"
    return f"{start} is {_compared(study, own, rivals[0], best)}{_count(study, own, rivals)}"


def _count(study: Study, own: Entry, rivals: list[Entry]) -> str:
    found = [study.evidence.difference(own, rival, ALL) for rival in rivals]
    if len(rivals) < 2 or any(d is None or math.isnan(d.low) for d in found):
        return ""
    sure: list[Difference] = [d for d in found if d is not None and d.significant]
    above = sum(d.difference > 0 for d in sure)
    few = next((few_seeds(d) for d in sure if few_seeds(d)), "") if not is_untrained(own[0]) else ""
    surely = f"as indicated on {few}," if few else "significantly"
    return f", and {surely} above {above} and below {len(sure) - above} of its {len(rivals)} rivals"
