"""The words that the answer is made of: numbers, names, lists, verdicts."""

from __future__ import annotations

import math

from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.analysis.evidence import ENOUGH_SEEDS, Difference
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry

REFERENCE = "causal2vec"
"""The method whose paper's questions the report answers."""


def average(study: Study, entry: Entry) -> float | None:
    """An entry's average over all tasks (0 to 1), or None where a task is missing."""
    return study.summary.average(entry, study.summary.tasks)


def points(value: float) -> str:
    """A score or a difference (0 to 1) in points, with one decimal and a true minus sign."""
    text = f"{100 * value:.1f}"
    # A difference that rounds to nothing has no direction.
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def shown(study: Study, entry: Entry) -> str:
    """An entry's average in points, as it is shown; only for entries that have one."""
    return points(average(study, entry) or 0.0)


def span(low: float, high: float) -> str:
    """An interval in points."""
    return f"{points(low)} to {points(high)}"


def untested(study: Study) -> list[str]:
    """A clause, where no difference at all could be tested; otherwise nothing."""
    if any(not math.isnan(found.low) for found in study.evidence.differences.values()):
        return []
    return ["no difference was tested, as no item-level results were kept"]


def few_seeds(found: Difference) -> str:
    """On how few seeds a difference between trained methods was found, in words; empty where they are enough."""
    return "" if found.seeds >= ENOUGH_SEEDS else "one seed" if found.seeds == 1 else f"{found.seeds} seeds"


def verdict(found: Difference | None, *, flipped: bool = False, chance: bool = False, trained: bool = True) -> str:
    """The interval of a difference and whether it is significant.

    Args:
        found: The difference, or None where it was not computed.
        flipped: Whether the text speaks of how far the first is *below* the second.
        chance: Whether to give the p-value too.
        trained: Whether the luck of a training is in it.
    """
    if found is None or math.isnan(found.low):
        return "not tested"
    d = found.reversed() if flipped else found
    size = "<\u00a00.001" if d.p_holm < 0.001 else f"=\u00a0{d.p_holm:.2g}"
    p = f", p\u00a0{size}" if chance and not math.isnan(d.p_holm) else ""
    few = few_seeds(found) if trained else ""
    sure = f"indicated on {few}" if few else "significant"
    return f"{span(d.low, d.high)}{p}, {sure if d.significant else 'not significant'}"


def name_in(panel: Panel, entry: Entry) -> str:
    """A method's name; a control, which stands on another base, is called so, with its base."""
    method, base = entry
    return method if base == panel.base else f"the control {method} ({base})"


def tasks_phrase(study: Study) -> str:
    """How many tasks, in words."""
    count = len(study.summary.tasks)
    return f"the {count} tasks" if count != 1 else f"the one task, {study.summary.tasks[0]}"


def joined(names: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def with_base(panel: Panel, clause: str) -> str:
    """A clause that says which base it is about, where there are several."""
    return f"on base {panel.base}, {clause}" if panel.title else clause


def sentence(clauses: list[str]) -> str:
    """Clauses as one sentence."""
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."
