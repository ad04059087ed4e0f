"""Holding claims about costs against a study: how much shorter, how much faster, and at which text lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from causal2vec.reporting.claims.checks import Finding, each
from causal2vec.reporting.claims.schema import BEST_RIVAL, Reduction
from causal2vec.reporting.claims.sides import NotRunError, best_rivals, entries_of, short
from causal2vec.reporting.compare import Panel, counterpart
from causal2vec.reporting.evidence import ALL
from causal2vec.reporting.schema import MIXED
from causal2vec.reporting.study import Study
from causal2vec.reporting.summary import Entry, listed

Row = dict[str, Any]

_SETTINGS = ("device", "dtype", "batch_size")
"""What must be equal for two times to be comparable."""


@dataclass(frozen=True)
class _Saving:
    """What the first saves against a rival on texts of one length, in per cent.

    ``low`` and ``high`` are the worst and the best case over the repeats of both; NaN where they are unknown.
    """

    rival: Entry
    length: str
    point: float
    low: float
    high: float


def check_reduction(study: Study, claim: Reduction, panel: Panel) -> list[Finding]:
    """Whether a cost is lower by up to so many per cent; one finding per pair of entries.

    Against `BEST_RIVAL` the rivals are those with the best average that the test cannot tell apart.

    Raises:
        NotRunError: An entry or its cost is missing.
    """
    if study.costs is None:
        raise NotRunError("no costs were measured")
    names = list(study.costs.columns)
    records: list[Row] = [dict(zip(names, row, strict=True)) for row in study.costs.itertuples(index=False, name=None)]
    rows = {(row["method"], row["base"], row["text_tokens"]): row for row in records}
    findings = []
    for first in entries_of(study, claim.first, panel):
        if claim.second == BEST_RIVAL:
            findings.append(_reduction(claim, rows, first, best_rivals(study, first, ALL, panel), panel))
            continue
        seconds = entries_of(study, claim.second, panel)
        findings += each(seconds, partial(_against_one, claim, rows, first, panel=panel))
    return findings


def _against_one(claim: Reduction, rows: dict[Any, Row], first: Entry, second: Entry, panel: Panel) -> Finding:
    return _reduction(claim, rows, first, [second], panel)


def _reduction(claim: Reduction, rows: dict[Any, Row], first: Entry, rivals: list[Entry], panel: Panel) -> Finding:
    savings = [saving for rival in rivals for saving in _savings(claim, rows, first, rival)]
    measured = {saving.rival for saving in savings}
    if rivals[0] not in measured:
        where = "" if claim.at is None else f" on texts of {_length(str(claim.at))}"
        cost = "tokens into the LLM" if claim.cost == "length" else "time, on equal terms,"
        raise NotRunError(
            f"there is no measured {cost} of both {short(first, panel)} and {short(rivals[0], panel)}{where}"
        )
    best = max(savings, key=lambda saving: saving.point)
    # The ends of the largest saving are the largest of the ends, whichever length they come from.
    low, high = (max(getattr(saving, end) for saving in savings) for end in ("low", "high"))
    if any(math.isnan(saving.high) for saving in savings):
        low = high = math.nan
    text = _evidence(claim, first, savings, best, panel, _aside(claim, rows, first, best))
    unknown = [short(rival, panel) for rival in rivals if rival not in measured]
    if unknown:
        text += f"; no costs of {listed(unknown)}, which scores as well"
    floor = claim.value - claim.tolerance
    ends = (None, None) if math.isnan(high) or low == high else (low, high)
    if round(best.point, 9) >= floor:
        return Finding("supported", text, best.point, *ends)
    if high < floor:
        return Finding("contradicted", text, best.point, *ends)
    reason = "the range over repeats is unknown" if math.isnan(high) else f"the range over repeats reaches {floor:g} %"
    return Finding("inconclusive", f"{text}; {reason}", best.point, *ends)


def _savings(claim: Reduction, rows: dict[Any, Row], first: Entry, rival: Entry) -> list[_Saving]:
    found = []
    for length in sorted({length for *_, length in rows}, key=_by_length):
        if claim.at is not None and length != str(claim.at):
            continue
        ours, theirs = _row(rows, first, length), _row(rows, rival, length)
        if ours is None or theirs is None:
            continue
        if claim.cost == "length":
            point = _saved(ours["llm_tokens"], theirs["llm_tokens"])
            low = high = point
        elif all(ours[name] == theirs[name] for name in _SETTINGS):
            key = "seconds_per_1000_texts"
            point = _saved(ours[key], theirs[key])
            low = _saved(ours[f"{key}_max"], theirs[f"{key}_min"])
            high = _saved(ours[f"{key}_min"], theirs[f"{key}_max"])
        else:
            continue
        if not math.isnan(point):
            found.append(_Saving(rival, length, point, low, high))
    return found


def _row(rows: dict[Any, Row], entry: Entry, length: str) -> Row | None:
    # An untrained twin costs what its method costs, so it is not always measured.
    return rows.get((*entry, length)) or rows.get((*counterpart(entry), length))


def _saved(ours: float, theirs: float) -> float:
    return 100 * (1 - ours / theirs) if theirs > 0 else math.nan


def _by_length(length: str) -> float:
    return math.inf if length == MIXED else int(length)


def _length(length: str) -> str:
    return "mixed length" if length == MIXED else f"{int(length):,} tokens"


def _evidence(claim: Reduction, first: Entry, savings: list[_Saving], best: _Saving, panel: Panel, aside: str) -> str:
    what = "tokens into the LLM" if claim.cost == "length" else "time"
    texts = []
    for rival in dict.fromkeys(saving.rival for saving in savings):
        points = [f"{saving.point:.1f} % at {_length(saving.length)}" for saving in savings if saving.rival == rival]
        texts.append(f"against {short(rival, panel)} {listed(points)}")
    saved = f"saves at most {best.point:.1f} %" if best.point >= 0 else f"needs at least {-best.point:.1f} % more"
    return (
        f"{short(first, panel)} {saved} of the {what} ({_length(best.length)}, against {short(best.rival, panel)}"
        f"{aside}); measured: {'; '.join(texts)}"
    )


def _aside(claim: Reduction, rows: dict[Any, Row], first: Entry, best: _Saving) -> str:
    """What the number alone would hide: the encoder's own tokens, or the machine."""
    ours, theirs = _row(rows, first, best.length), _row(rows, best.rival, best.length)
    if ours is None or theirs is None:
        return ""
    if claim.cost == "time":
        return f", on {ours['device']}, {ours['dtype']}, batches of {ours['batch_size']}"
    sums = [_all_tokens(row) for row in (ours, theirs)]
    if sums == [ours["llm_tokens"], theirs["llm_tokens"]]:
        return ""
    return f"; {_saved(*sums):.1f} % with the encoder's tokens counted too"


def _all_tokens(row: Row) -> float:
    # A method without an encoder has none of its tokens, whether the file says so with a zero or a gap.
    return float(row["llm_tokens"] + (0 if math.isnan(row["encoder_tokens"]) else row["encoder_tokens"]))
