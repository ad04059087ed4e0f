"""Holding claims about costs against a study: how much shorter, how much faster, and under which conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from causal2vec.efficiency.names import EXAMPLES, PARTS, PLAIN, PUBLISHED_ON, READ_AGAIN, READ_ONCE, SAVES
from causal2vec.reporting.analysis.claims.checks import Finding, at_most, each, is_lucky
from causal2vec.reporting.analysis.claims.schema import BEST_RIVAL, Reduction
from causal2vec.reporting.analysis.claims.sides import NotRunError, best_rivals, entries_of, short
from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.analysis.conditions import (
    Measured,
    Row,
    Saving,
    computed,
    kind_words,
    saved,
    savings,
    shows_examples,
    text_words,
)
from causal2vec.reporting.analysis.evidence import ALL
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, twin_of
from causal2vec.reporting.read.types import listed

_LISTED = 4
"""With more texts than this under one condition, the evidence gives the range over them."""


def check_reduction(study: Study, claim: Reduction, panel: Panel) -> list[Finding]:
    """Whether a cost is lower by up to so many per cent; one finding per pair of entries.

    Against `BEST_RIVAL` the rivals are those with the best average that the test cannot tell apart. "Up to" is reached
    where the largest saving is as large: over all texts and all that was measured before them, or, by the law of costs,
    over the conditions under which it was published (`causal2vec.efficiency.published`).

    Raises:
        NotRunError: An entry or its cost is missing.
    """
    if study.conditions is None:
        raise NotRunError("no costs were measured")
    measured = Measured(study.conditions)
    check = partial(_reduction, study, claim, measured, panel)
    findings = []
    for first in entries_of(study, claim.first, panel):
        if claim.second == BEST_RIVAL:
            findings.append(
                _chosen(study, first, rivals := best_rivals(study, first, ALL, panel), check(first, rivals))
            )
            continue
        seconds = entries_of(study, claim.second, panel)
        findings += each(seconds, partial(_against_one, check, first))
    return findings


def _chosen(study: Study, first: Entry, rivals: list[Entry], found: Finding) -> Finding:
    """What a cost is does not hang on a seed, but which rival is the best does."""
    if not is_lucky(first, *rivals):
        return found
    return replace(found, verdict=at_most(found.verdict, min(len(study.summary.seeds[entry]) for entry in rivals)))


def _against_one(check: Callable[[Entry, list[Entry]], Finding], first: Entry, second: Entry) -> Finding:
    return check(first, [second])


def _reduction(
    study: Study, claim: Reduction, measured: Measured, panel: Panel, first: Entry, rivals: list[Entry]
) -> Finding:
    found = [saving for rival in rivals for saving in _savings(study, claim, measured, first, rival)]
    known = {saving.rival for saving in found}
    if rivals[0] not in known:
        where = "" if claim.at is None else f" on texts of {text_words(str(claim.at))}"
        cost = "tokens into the LLM" if claim.cost == "length" else "time, on equal terms,"
        raise NotRunError(
            f"there is no measured {cost} of both {short(first, panel)} and {short(rivals[0], panel)}{where}"
        )
    best = max(found, key=lambda saving: _point(claim, saving))
    point, floor = _point(claim, best), claim.value - claim.tolerance
    # The ends of the largest saving are the largest of the ends, whichever text they come from.
    ranges = [_range(claim, saving) for saving in found]
    low, high = (max(ends) for ends in zip(*ranges, strict=True))
    if any(math.isnan(end) for _, end in ranges):
        low = high = math.nan
    text = f"{_headline(claim, first, best, panel)}; measured: {_all_points(claim, found, panel)}"
    text += _reached(claim, found, floor)
    unknown = [short(rival, panel) for rival in rivals if rival not in known]
    if unknown:
        text += f"; no costs of {listed(unknown)}, which scores as well"
    ends = (None, None) if math.isnan(high) or low == high else (low, high)
    words, reached = _published(study, claim, rivals, panel.base, floor)
    text += words
    if round(point, 9) >= floor or reached:
        return Finding("reached", text, point, *ends)
    untried = [short(rival, panel) for rival in rivals if rival in known and _untried(study, found, rival)]
    if untried:
        reason = f"{listed(untried)} was not measured with the examples that it puts before a text"
        return Finding("inconclusive", f"{text}; {reason}", point, *ends)
    if high < floor:
        return Finding("not reached", text, point, *ends)
    reason = "the range over repeats is unknown" if math.isnan(high) else f"the range over repeats reaches {floor:g} %"
    return Finding("inconclusive", f"{text}; {reason}", point, *ends)


def _published(study: Study, claim: Reduction, rivals: list[Entry], base: str, floor: float) -> tuple[str, bool]:
    """What is saved at the published conditions, in words, and whether that is as much as was claimed."""
    if study.published is None or claim.at is not None or claim.first != SAVES:
        return "", False
    known: Any = study.published
    known = known[(known["base"] == base) & known["rival"].isin([twin_of(rival[0]) for rival in rivals])]
    column = "tokens_saved" if claim.cost == "length" else "time_saved"
    known = known[known[column].notna()]
    if known.empty:
        return "", False
    parts = []
    for part in PARTS:
        own = known[(known["part"] == part) & (known["reuse"] == READ_AGAIN)]
        if len(own):
            best, held = own.loc[own[column].idxmax()], own.loc[own[column] >= floor, "task"].nunique()
            tasks = own["task"].nunique()
            parts.append(f"{part}: {held} of {tasks} tasks, most {best[column]:.1f} % ({best['task']})")
    once = known.loc[known["reuse"] == READ_ONCE, column]
    text = (
        f"; at the published conditions ({PUBLISHED_ON}, bge-en-icl's examples, by the law of costs) {floor:g} % and "
        f"more for {'; '.join(parts)}"
    )
    text += f"; most {once.max():.1f} % where each reads once what its texts share" if len(once) else ""
    return text, bool((known[column] >= floor).any())


def _savings(study: Study, claim: Reduction, measured: Measured, first: Entry, rival: Entry) -> list[Saving]:
    """The savings that the claim is about, on like terms.

    Examples stand before the rival's texts alone only where they are the rival's own way of working: a saving against
    any method that was handed a long prompt would say nothing about that method.
    """
    return [
        saving
        for saving in savings(measured, first, rival)
        if claim.at in (None, saving.text, _whole(saving.text))
        and (saving.setting == saving.own_setting or shows_examples(study.manifest, rival[0]))
        and not math.isnan(_point(claim, saving))
    ]


def _whole(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _untried(study: Study, found: list[Saving], rival: Entry) -> bool:
    return shows_examples(study.manifest, rival[0]) and not any(
        s.rival == rival and s.setting == EXAMPLES for s in found
    )


def _point(claim: Reduction, saving: Saving) -> float:
    return saving.shorter if claim.cost == "length" else saving.faster


def _range(claim: Reduction, saving: Saving) -> tuple[float, float]:
    """The worst and the best case over the repeats of both."""
    return (saving.shorter, saving.shorter) if claim.cost == "length" else (saving.faster_low, saving.faster_high)


def _headline(claim: Reduction, first: Entry, best: Saving, panel: Panel) -> str:
    what = "tokens into the LLM" if claim.cost == "length" else "time"
    point = _point(claim, best)
    amount = f"saves at most {point:.1f} %" if point >= 0 else f"needs at least {-point:.1f} % more"
    condition = "" if best.kind == (PLAIN, PLAIN, READ_AGAIN) else f", {kind_words(*best.kind)}"
    return (
        f"{short(first, panel)} {amount} of the {what} ({text_words(best.text)}{condition}, "
        f"against {short(best.rival, panel)}{_aside(claim, best)})"
    )


def _aside(claim: Reduction, best: Saving) -> str:
    """What the number alone would hide: the encoder's own tokens, or the machine."""
    ours, theirs = best.ours, best.theirs
    if claim.cost == "time":
        tokens = f"{ours['batch_tokens']} tokens" if ours["batch_tokens"] else ours["batch_size"]
        return f", on {ours['device']}, {ours['dtype']}, batches of {tokens}"
    sums = [computed(row) + _encoder_tokens(row) for row in (ours, theirs)]
    if not any(_encoder_tokens(row) for row in (ours, theirs)):
        return ""
    return f"; {saved(*sums):.1f} % with the encoder's tokens counted too"


def _encoder_tokens(row: Row) -> float:
    # A method without an encoder has none of its tokens, whether the file says so with a zero or a gap.
    return 0.0 if math.isnan(row["encoder_tokens"]) else float(row["encoder_tokens"])


def _all_points(claim: Reduction, found: list[Saving], panel: Panel) -> str:
    """Every saving, by rival and condition."""
    several = {saving.kind for saving in found} != {(PLAIN, PLAIN, READ_AGAIN)}
    texts = []
    for rival in dict.fromkeys(saving.rival for saving in found):
        parts = []
        for kind in dict.fromkeys(saving.kind for saving in found if saving.rival == rival):
            points = [s for s in found if s.rival == rival and s.kind == kind]
            parts.append((f"with {kind_words(*kind)} " if several else "") + _points(claim, points))
        texts.append(f"against {short(rival, panel)} {'; '.join(parts)}")
    return "; ".join(texts)


def _points(claim: Reduction, points: list[Saving]) -> str:
    if len(points) <= _LISTED or points[0].kind == (PLAIN, PLAIN, READ_AGAIN):
        return listed([f"{_point(claim, s):.1f} % at {text_words(s.text)}" for s in points])
    lowest, highest = (end(points, key=lambda s: _point(claim, s)) for end in (min, max))
    ends = [f"{_point(claim, s):.1f} % at {text_words(s.text)}" for s in (lowest, highest)]
    return f"{' to '.join(ends)} ({len(points)} lengths and tasks)"


def _reached(claim: Reduction, found: list[Saving], floor: float) -> str:
    """In how many of the cases the claim holds, and what is left where the rival reads a shared beginning once."""
    kinds_measured = {saving.kind for saving in found}
    if kinds_measured == {(PLAIN, PLAIN, READ_AGAIN)}:
        return "; no instruction or examples before the texts were measured"
    held = [saving for saving in found if round(_point(claim, saving), 9) >= floor]
    text = f"; {floor:g} % and more in {len(held)} of {len(found)} cases"
    kinds = dict.fromkeys(kind_words(*saving.kind) for saving in held)
    text += f" ({'; '.join(kinds)})" if kinds else ""
    once = [_point(claim, saving) for saving in found if saving.reuse == READ_ONCE]
    return text + (f"; at most {max(once):.1f} % where the rival reads once what its texts share" if once else "")
