"""Holding claims about scores against a study: is one method better than another, is a published score met."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from causal2vec.reporting.analysis.claims.schema import BEST_RIVAL, Comparison, Value, Word
from causal2vec.reporting.analysis.claims.sides import NotRunError, best_rivals, entries_of, score_of, short
from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.analysis.evidence import ALL, ALPHA, ENOUGH_SEEDS, Difference, Estimate, Group, excludes_zero
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, is_untrained

ONE_SEED = "one seed, so the interval does not hold the luck of training"


@dataclass(frozen=True)
class Finding:
    """A verdict before it is tied to its claim: the word, the sentence, the number with its range.

    ``control`` is the base of the control that it is on, where the claim names a method with several.
    """

    verdict: Word
    evidence: str
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    control: str = ""


def check_comparison(study: Study, claim: Comparison, panel: Panel) -> list[Finding]:
    """Whether the first side scores higher than the second; one finding per pair of entries.

    Raises:
        NotRunError: An entry or a score is missing.
    """
    group = claim.over.group
    findings = []
    for first in entries_of(study, claim.first, panel):
        if claim.second == BEST_RIVAL:
            seconds = best_rivals(study, first, group, panel)[:1]
        else:
            seconds = entries_of(study, claim.second, panel)
        findings += each(seconds, partial(_compare, study, first, group=group, panel=panel))
    return findings


def each(seconds: list[Entry], check: Callable[[Entry], Finding]) -> list[Finding]:
    """A finding per entry that a claim names; where there are several, they are controls and told apart by base."""
    findings = []
    for second in seconds:
        try:
            found = check(second)
        except NotRunError as reason:
            found = Finding("not run", str(reason))
        findings.append(replace(found, control=second[1]) if len(seconds) > 1 else found)
    return findings


def _compare(study: Study, first: Entry, second: Entry, group: Group, panel: Panel) -> Finding:
    names = [short(entry, panel) for entry in (first, second)]
    scores = [score_of(study, entry, group) for entry in (first, second)]
    where = f"over all {len(study.summary.tasks)} tasks" if group == ALL else over(group)
    beginning = f"{names[0]} {100 * scores[0]:.2f}, {names[1]} {100 * scores[1]:.2f} {where}"
    difference = study.evidence.difference(first, second, group)
    ignored = [f"{short(entry, panel)}: {study.ignored[entry]}" for entry in (first, second) if entry in study.ignored]
    if ignored:
        gap = 100 * (scores[0] - scores[1])
        return Finding("void", f"{beginning}, difference {gap:+.2f} points; {'; '.join(ignored)}", gap)
    if difference is None:
        gap = 100 * (scores[0] - scores[1])
        text = f"{beginning}, difference {gap:+.2f} points; this pair was not tested, so there is no interval"
        return Finding("inconclusive", text, gap)
    word, reason = judge(difference)
    if not is_lucky(first, second):
        reason = "neither is trained, so there is but one run of each" if reason == ONE_SEED else reason
    else:
        word = at_most(word, difference.seeds)
    text = f"{beginning}, difference {100 * difference.difference:+.2f} points{_interval(difference)}; {reason}"
    low, high = (percent(end) for end in (difference.low, difference.high))
    return Finding(word, text, 100 * difference.difference, low, high)


def judge(difference: Difference) -> tuple[Word, str]:
    """The verdict on "the first is better", and its reason.

    Supported or contradicted only if the 95 % interval lies wholly on one side of zero, the paired test gives
    p < `ALPHA`, and every seed agrees; inconclusive otherwise.
    """
    if math.isnan(difference.low) or math.isnan(difference.p):
        return "inconclusive", "no test items were kept, so there is no interval"
    if not excludes_zero(difference.low, difference.high):
        return "inconclusive", "the interval spans zero"
    if difference.p >= ALPHA:
        return "inconclusive", f"p is not below {ALPHA}"
    higher = difference.low > 0
    agreeing = difference.seeds_above if higher else difference.seeds - difference.seeds_above
    if agreeing < difference.seeds:
        return "inconclusive", f"the seeds disagree: higher on {difference.seeds_above} of {difference.seeds}"
    return "supported" if higher else "contradicted", seeds_text(difference.seeds, higher)


def is_lucky(*entries: Entry) -> bool:
    """Whether the luck of a training is in a comparison."""
    return not all(is_untrained(method) for method, _ in entries)


def at_most(word: Word, seeds: int) -> Word:
    """A verdict on what was trained: on few seeds no more than an indication."""
    if seeds >= ENOUGH_SEEDS:
        return word
    for_few = {"supported": "indicated", "reached": "indicated", "contradicted": "indicated against"}
    return for_few.get(word, "indicated against" if word == "not reached" else word)  # type: ignore[return-value]


def seeds_text(seeds: int, higher: bool) -> str:
    """What the seeds say where they agree."""
    if seeds == 1:
        return ONE_SEED
    return f"{'higher' if higher else 'lower'} on all {seeds} seeds"


def check_value(study: Study, claim: Value, panel: Panel) -> list[Finding]:
    """Whether a method's score is within the tolerance of the published one; one finding per entry.

    Raises:
        NotRunError: The entry or its score is missing.
    """
    return each(entries_of(study, claim.method, panel), lambda entry: _value(study, entry, claim, panel))


def _value(study: Study, entry: Entry, claim: Value, panel: Panel) -> Finding:
    found = _value_met(study, entry, claim, panel)
    return replace(found, verdict=at_most(found.verdict, _seeds(study, entry))) if is_lucky(entry) else found


def _value_met(study: Study, entry: Entry, claim: Value, panel: Panel) -> Finding:
    group = claim.over.group
    score = 100 * score_of(study, entry, group)
    estimate = study.evidence.estimate(entry, group)
    low, high = (percent(end) for end in (estimate.low, estimate.high)) if estimate else (None, None)
    gap = score - claim.value
    if entry in study.ignored:
        return Finding(
            "void", f"{short(entry, panel)} scores {score:.2f}, but {study.ignored[entry]}", score, low, high
        )
    beginning = f"{short(entry, panel)} scores {score:.2f} {over(group)}, {_runs(study, entry, estimate)}"
    if low is not None and high is not None:
        beginning += f" (95 % interval {low:.2f} to {high:.2f})"
    beginning += f", {abs(gap):.2f} points {'above' if gap > 0 else 'below'} the published {claim.value:.2f}"
    # Rounded, so that a score that is off by exactly the tolerance is within it whatever binary fractions do.
    if round(abs(gap), 9) <= claim.tolerance:
        return Finding("supported", f"{beginning}, within the tolerance of {claim.tolerance:g}", score, low, high)
    if low is None or high is None:
        text = f"{beginning}; no test items were kept, so there is no interval"
        return Finding("inconclusive", text, score)
    if high < claim.value - claim.tolerance or low > claim.value + claim.tolerance:
        text = f"{beginning}; the interval does not reach {claim.value:g} ± {claim.tolerance:g}"
        return Finding("contradicted", text, score, low, high)
    text = f"{beginning}; the interval reaches {claim.value:g} ± {claim.tolerance:g}"
    return Finding("inconclusive", text, score, low, high)


def _runs(study: Study, entry: Entry, estimate: Estimate | None) -> str:
    seeds = estimate.seeds if estimate else _seeds(study, entry)
    if seeds == 1:
        return "one seed"
    spread = percent(estimate.seed_sd) if estimate else None
    return f"{seeds} seeds" + (f" with standard deviation {spread:.2f}" if spread is not None else "")


def _seeds(study: Study, entry: Entry) -> int:
    return len(study.summary.seeds[entry])


def over(group: Group) -> str:
    """A group of tasks in words."""
    scope, name = group
    if group == ALL:
        return "over all tasks"
    return {"task": "on", "type": "over all tasks of type"}.get(scope, "over") + f" {name}"


def percent(share: float) -> float | None:
    """A share times 100; None for NaN."""
    return None if math.isnan(share) else 100 * share


def _interval(difference: Difference) -> str:
    low, high = percent(difference.low), percent(difference.high)
    if low is None or high is None:
        return ""
    p = difference.p
    tested = "" if math.isnan(p) else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"
    return f" (95 % interval {low:+.2f} to {high:+.2f}{tested})"
