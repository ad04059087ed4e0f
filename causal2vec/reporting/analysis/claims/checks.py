"""Holding one claim against a study: who and what it is about, and what the scores or the costs say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property, partial
from typing import Any

from causal2vec.efficiency.names import EXAMPLES, PARTS, PLAIN, PUBLISHED_ON, READ_AGAIN, READ_ONCE, SAVES, saved
from causal2vec.errors import hint
from causal2vec.reporting.analysis.claims.schema import BEST_RIVAL, Claim, Comparison, Reduction, Value, Variant, Word
from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.analysis.evidence import ALL, ALPHA, ENOUGH_SEEDS, Difference, Estimate, Group, excludes_zero
from causal2vec.reporting.analysis.savings import (
    Measured,
    Row,
    Saving,
    computed,
    kind_words,
    savings,
    shows_examples,
    text_words,
)
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, is_untrained, is_variant, twin_of
from causal2vec.reporting.read.benchmarks import load_benchmarks, task_types
from causal2vec.reporting.read.types import listed

ONE_SEED = "one seed, so the interval does not hold the luck of training"

_NAMED = 3
"""How many missing tasks are named; the rest are counted."""

_LISTED = 4
"""With more texts than this under one condition, the evidence gives the range over them."""

_BARE = (PLAIN, PLAIN, READ_AGAIN)
"""The `Saving.kind` where nothing stands before the texts."""


class NotRunError(Exception):
    """The study cannot speak on a claim; the message says what is missing."""


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


Check = Callable[[Entry, list[Entry]], Finding]
"""What a claim says of its first entry against its second: one entry, or the best rival and those tied with it."""


def check(study: Study, claim: Claim, panel: Panel) -> list[Finding]:
    """What a study says of a claim on a panel; one finding per entry, or pair of entries, that the claim names.

    Raises:
        NotRunError: The claim is about another base, or an entry, a score or a cost is missing.
    """
    if reason := _other_base(study, claim, panel.base):
        raise NotRunError(reason)
    if isinstance(claim, Comparison):
        return _each_pair(study, claim, panel, claim.over.group, partial(_compare, study, claim, panel))
    if isinstance(claim, Reduction):
        if study.conditions is None:
            raise NotRunError("no costs were measured")
        measured = Measured(study.conditions)
        return _each_pair(
            study, claim, panel, ALL, lambda *sides: _Reduced(study, claim, panel, measured, *sides).found
        )
    assert isinstance(claim, Value)
    entries = [[entry] for entry in _entries_of(study, claim.method, panel)]
    return _each(entries, lambda named: _value(study, named[0], claim, panel))


def _each_pair(study: Study, claim: Comparison | Reduction, panel: Panel, group: Group, check: Check) -> list[Finding]:
    findings = []
    for first in _entries_of(study, claim.first, panel):
        if claim.second == BEST_RIVAL:
            seconds = [_best_rivals(study, first, group, panel)]
        else:
            seconds = [[entry] for entry in _entries_of(study, claim.second, panel)]
        findings += _each(seconds, partial(check, first))
    return findings


def _each(named: list[list[Entry]], check: Callable[[list[Entry]], Finding]) -> list[Finding]:
    """A finding per entry that a claim names; where there are several, they are controls and told apart by base."""
    findings = []
    for entries in named:
        try:
            found = check(entries)
        except NotRunError as reason:
            found = Finding("not run", str(reason))
        findings.append(replace(found, control=entries[0][1]) if len(named) > 1 else found)
    return findings


# -- who and what a claim is about -----------------------------------------------------------------------


def _other_base(study: Study, claim: Claim, base: str) -> str:
    """Why a claim is not about a base, in words; empty if it is."""
    if claim.bases is None:
        return ""
    if not any(fnmatchcase(base.lower(), pattern.lower()) for pattern in claim.bases):
        return f"the claim is about {listed([pattern.strip('*') for pattern in claim.bases])}, not {base}"
    source = study.manifest.get("config", {}).get("models", {}).get(base, {})
    if source.get("keep_layers"):
        return f"{base} keeps only its first {source['keep_layers']} layers here, so it is not the model of the claim"
    return ""


def _entries_of(study: Study, side: Variant | str, panel: Panel) -> list[Entry]:
    """The entries that a side of a claim names: the one on the panel's base, or else all controls of that name."""
    method = side if isinstance(side, str) else _variant(study, side)
    found = [entry for entry in panel.entries if entry[0] == method]
    if not found:
        raise NotRunError(f"{method} was not run on {panel.base}")
    return [entry for entry in found if entry[1] == panel.base] or found


def _variant(study: Study, side: Variant) -> str:
    value = str(side.value)
    for ablation in study.ablations:
        if ablation.method == side.method and side.ablation in (ablation.name, ablation.axis.rpartition(".")[2]):
            if value in ablation.variants:
                return ablation.variants[value]
            raise NotRunError(f"the ablation {ablation.name} has no value {value}, only {listed([*ablation.variants])}")
    raise NotRunError(f"the study has no ablation {side.ablation} of {side.method}")


def _best_rivals(study: Study, first: Entry, group: Group, panel: Panel) -> list[Entry]:
    """The highest-scoring rival on the same base, then those that the paired test cannot tell from it.

    Rivals are the other methods on the panel's base, trained if ``first`` is and untrained if it is not; neither
    ablation variants nor controls.
    """
    own = first[0].partition("+")[0]
    rivals = [
        (method, base)
        for method, base in panel.entries
        if base == panel.base
        and method != own
        and not is_variant(method)
        and is_untrained(method) == is_untrained(first[0])
    ]
    if not rivals:
        raise NotRunError(f"no rival of {own} was run on {panel.base}")
    try:
        scores = {rival: _score_of(study, rival, group) for rival in rivals}
    except NotRunError as error:
        raise NotRunError(f"which rival is best is unknown, as {error}") from error
    best = max(scores, key=lambda rival: scores[rival])
    differences = {rival: study.evidence.difference(best, rival, group) for rival in rivals if rival != best}
    tied = [rival for rival, d in differences.items() if d and not math.isnan(d.low) and not d.significant]
    return [best, *tied]


def _score_of(study: Study, entry: Entry, group: Group) -> float:
    """An entry's score (0 to 1) on a group of tasks."""
    estimate = study.evidence.estimate(entry, group)
    if estimate is not None:
        return estimate.score
    tasks = _tasks_of(study, group)
    average = study.summary.average(entry, tasks)
    if average is None:
        lacking = [task for task in tasks if study.summary.score(entry, task) is None]
        raise NotRunError(f"{entry[0]} on {entry[1]} has no complete score on {_some(lacking)}")
    return average


def _tasks_of(study: Study, group: Group) -> list[str]:
    """The tasks of a group, all of them evaluated by the study."""
    scope, name = group
    types = study.summary.types
    if scope == "all":
        return study.summary.tasks
    if scope == "type":
        if name not in types:
            raise NotRunError(f"the study has no task of type {name}{hint(name, list(types))}")
        return types[name]
    wanted = [name] if scope == "task" else _benchmark_tasks(name)
    lacking = [task for task in wanted if task not in study.summary.tasks]
    if lacking and scope == "task":
        raise NotRunError(f"the study lacks the task {name}")
    if lacking:
        raise NotRunError(f"the study lacks {len(lacking)} of the {len(wanted)} tasks of {name} ({_some(lacking)})")
    return wanted


def _benchmark_tasks(name: str) -> list[str]:
    benchmark, _, kind = name.partition(": ")
    known = load_benchmarks()
    if benchmark not in known:
        raise NotRunError(f"no benchmark {benchmark} is known{hint(benchmark, list(known))}")
    tasks = [task for task in known[benchmark] if not kind or task_types()[task] == kind]
    if not tasks:
        raise NotRunError(f"{benchmark} has no task of type {kind}")
    return tasks


def _some(tasks: list[str]) -> str:
    more = len(tasks) - _NAMED
    return listed(tasks[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _short(entry: Entry, panel: Panel) -> str:
    """The method's name, with its base where that is not the panel's."""
    return entry[0] if entry[1] == panel.base else f"{entry[0]} ({entry[1]})"


# -- scores ----------------------------------------------------------------------------------------------


def _compare(study: Study, claim: Comparison, panel: Panel, first: Entry, seconds: list[Entry]) -> Finding:
    """Whether the first scores higher than the (best) second."""
    group, sides = claim.over.group, (first, seconds[0])
    names = [_short(entry, panel) for entry in sides]
    scores = [_score_of(study, entry, group) for entry in sides]
    where = f"over all {len(study.summary.tasks)} tasks" if group == ALL else claim.over.words
    beginning = f"{names[0]} {100 * scores[0]:.2f}, {names[1]} {100 * scores[1]:.2f} {where}"
    gap = 100 * (scores[0] - scores[1])
    difference = study.evidence.difference(*sides, group)
    ignored = [
        f"{name}: {study.ignored[entry]}" for name, entry in zip(names, sides, strict=True) if entry in study.ignored
    ]
    if ignored:
        return Finding("void", f"{beginning}, difference {gap:+.2f} points; {'; '.join(ignored)}", gap)
    if difference is None:
        text = f"{beginning}, difference {gap:+.2f} points; this pair was not tested, so there is no interval"
        return Finding("inconclusive", text, gap)
    word, reason = _judge(difference)
    if _is_lucky(*sides):
        word = _at_most(word, difference.seeds)
    elif reason == ONE_SEED:
        reason = "neither is trained, so there is but one run of each"
    text = f"{beginning}, difference {100 * difference.difference:+.2f} points{_interval(difference)}; {reason}"
    return Finding(word, text, 100 * difference.difference, _percent(difference.low), _percent(difference.high))


def _judge(difference: Difference) -> tuple[Word, str]:
    """The verdict on "the first is better", and its reason.

    Supported or contradicted only if the 95 % interval lies wholly on one side of zero, the paired test gives
    p < `ALPHA`, and every seed agrees; inconclusive otherwise.
    """
    seeds, above = difference.seeds, difference.seeds_above
    if math.isnan(difference.low) or math.isnan(difference.p):
        return "inconclusive", "no test items were kept, so there is no interval"
    if not excludes_zero(difference.low, difference.high):
        return "inconclusive", "the interval spans zero"
    if difference.p >= ALPHA:
        return "inconclusive", f"p is not below {ALPHA}"
    higher = difference.low > 0
    if above != (seeds if higher else 0):
        return "inconclusive", f"the seeds disagree: higher on {above} of {seeds}"
    reason = ONE_SEED if seeds == 1 else f"{'higher' if higher else 'lower'} on all {seeds} seeds"
    return "supported" if higher else "contradicted", reason


def _is_lucky(*entries: Entry) -> bool:
    """Whether the luck of a training is in a comparison."""
    return not all(is_untrained(method) for method, _ in entries)


def _at_most(word: Word, seeds: int) -> Word:
    """A verdict on what was trained: on few seeds no more than an indication."""
    for_few: dict[Word, Word] = {
        "supported": "indicated",
        "reached": "indicated",
        "contradicted": "indicated against",
        "not reached": "indicated against",
    }
    return word if seeds >= ENOUGH_SEEDS else for_few.get(word, word)


def _interval(difference: Difference) -> str:
    low, high, p = _percent(difference.low), _percent(difference.high), difference.p
    if low is None or high is None:
        return ""
    tested = "" if math.isnan(p) else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"
    return f" (95 % interval {low:+.2f} to {high:+.2f}{tested})"


def _percent(share: float) -> float | None:
    """A share times 100; None for NaN."""
    return None if math.isnan(share) else 100 * share


def _value(study: Study, entry: Entry, claim: Value, panel: Panel) -> Finding:
    """Whether a method's score is within the tolerance of the published one."""
    score = 100 * _score_of(study, entry, claim.over.group)
    estimate = study.evidence.estimate(entry, claim.over.group)
    low, high = (_percent(end) for end in (estimate.low, estimate.high)) if estimate else (None, None)
    name, gap, around = _short(entry, panel), score - claim.value, f"{claim.value:g} ± {claim.tolerance:g}"
    if entry in study.ignored:
        return Finding("void", f"{name} scores {score:.2f}, but {study.ignored[entry]}", score, low, high)
    seeds = len(study.summary.seeds[entry])
    text = f"{name} scores {score:.2f} {claim.over.words}, {_runs(seeds, estimate)}"
    if low is not None and high is not None:
        text += f" (95 % interval {low:.2f} to {high:.2f})"
    text += f", {abs(gap):.2f} points {'above' if gap > 0 else 'below'} the published {claim.value:.2f}"
    word: Word = "inconclusive"
    # Rounded, so that a score that is off by exactly the tolerance is within it whatever binary fractions do.
    if round(abs(gap), 9) <= claim.tolerance:
        word, text = "supported", f"{text}, within the tolerance of {claim.tolerance:g}"
    elif low is None or high is None:
        return Finding(word, f"{text}; no test items were kept, so there is no interval", score)
    elif high < claim.value - claim.tolerance or low > claim.value + claim.tolerance:
        word, text = "contradicted", f"{text}; the interval does not reach {around}"
    else:
        text += f"; the interval reaches {around}"
    return Finding(_at_most(word, seeds) if _is_lucky(entry) else word, text, score, low, high)


def _runs(seeds: int, estimate: Estimate | None) -> str:
    seeds = estimate.seeds if estimate else seeds
    if seeds == 1:
        return "one seed"
    spread = _percent(estimate.seed_sd) if estimate else None
    return f"{seeds} seeds" + (f" with standard deviation {spread:.2f}" if spread is not None else "")


# -- costs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reduced:
    """Whether a cost is lower by up to so many per cent, against a rival or several that score alike.

    "Up to" is reached where the largest saving is as large: over all texts and all that was measured before them, or,
    by the law of costs, over the conditions under which it was published (`causal2vec.efficiency.published`).
    """

    study: Study
    claim: Reduction
    panel: Panel
    measured: Measured
    first: Entry
    rivals: list[Entry]

    @cached_property
    def savings(self) -> list[Saving]:
        """The savings that the claim is about, on like terms.

        Examples stand before the rival's texts alone only where they are the rival's own way of working: a saving
        against any method that was handed a long prompt would say nothing about that method.
        """
        at = self.claim.at
        return [
            saving
            for rival in self.rivals
            for saving in savings(self.measured, self.first, rival)
            if (at is None or saving.text == str(at))
            and (saving.setting == saving.own_setting or shows_examples(self.study.manifest, rival[0]))
            and not math.isnan(self.point(saving))
        ]

    @property
    def floor(self) -> float:
        """What is enough."""
        return self.claim.value - self.claim.tolerance

    def point(self, saving: Saving) -> float:
        """What is saved of the cost that the claim is about."""
        return saving.shorter if self.claim.cost == "length" else saving.faster

    def range(self, saving: Saving) -> tuple[float, float]:
        """The worst and the best case over the repeats of both."""
        return (saving.faster_low, saving.faster_high) if self.claim.cost == "time" else (saving.shorter,) * 2

    @property
    def found(self) -> Finding:
        """The verdict; what a cost is does not hang on a seed, but which rival is the best does."""
        finding = self._finding()
        if self.claim.second != BEST_RIVAL or not _is_lucky(self.first, *self.rivals):
            return finding
        seeds = min(len(self.study.summary.seeds[entry]) for entry in self.rivals)
        return replace(finding, verdict=_at_most(finding.verdict, seeds))

    def _finding(self) -> Finding:
        measured = [rival for rival in self.rivals if any(saving.rival == rival for saving in self.savings)]
        if self.rivals[0] not in measured:
            where = "" if self.claim.at is None else f" on texts of {text_words(str(self.claim.at))}"
            cost = "tokens into the LLM" if self.claim.cost == "length" else "time, on equal terms,"
            both = f"{_short(self.first, self.panel)} and {_short(self.rivals[0], self.panel)}"
            raise NotRunError(f"there is no measured {cost} of both {both}{where}")
        best = max(self.savings, key=self.point)
        # The ends of the largest saving are the largest of the ends, whichever text they come from.
        lows, highs = zip(*map(self.range, self.savings), strict=True)
        low, high = (math.nan, math.nan) if any(map(math.isnan, highs)) else (max(lows), max(highs))
        text = f"{self._headline(best)}; measured: {self._all_points()}{self._held()}"
        unknown = [_short(rival, self.panel) for rival in self.rivals if rival not in measured]
        if unknown:
            text += f"; no costs of {listed(unknown)}, which scores as well"
        words, published = self._published()
        text += words
        word: Word = "inconclusive"
        untried = [_short(rival, self.panel) for rival in measured if self._untried(rival)]
        if round(self.point(best), 9) >= self.floor or published:
            word = "reached"
        elif untried:
            text += f"; {listed(untried)} was not measured with the examples that it puts before a text"
        elif high < self.floor:
            word = "not reached"
        elif math.isnan(high):
            text += "; the range over repeats is unknown"
        else:
            text += f"; the range over repeats reaches {self.floor:g} %"
        ends = (None, None) if math.isnan(high) or low == high else (low, high)
        return Finding(word, text, self.point(best), *ends)

    def _untried(self, rival: Entry) -> bool:
        shown = any(saving.rival == rival and saving.setting == EXAMPLES for saving in self.savings)
        return shows_examples(self.study.manifest, rival[0]) and not shown

    def _published(self) -> tuple[str, bool]:
        """What is saved at the published conditions, in words, and whether that is as much as was claimed."""
        if self.study.published is None or self.claim.at is not None or self.claim.first != SAVES:
            return "", False
        known: Any = self.study.published
        rivals = [twin_of(method) for method, _ in self.rivals]
        column = "tokens_saved" if self.claim.cost == "length" else "time_saved"
        known = known[(known["base"] == self.panel.base) & known["rival"].isin(rivals) & known[column].notna()]
        if known.empty:
            return "", False
        parts = []
        for part in PARTS:
            own = known[(known["part"] == part) & (known["reuse"] == READ_AGAIN)]
            if len(own):
                best, held = own.loc[own[column].idxmax()], own.loc[own[column] >= self.floor, "task"].nunique()
                tasks = own["task"].nunique()
                parts.append(f"{part}: {held} of {tasks} tasks, most {best[column]:.1f} % ({best['task']})")
        once = known.loc[known["reuse"] == READ_ONCE, column]
        text = (
            f"; at the published conditions ({PUBLISHED_ON}, bge-en-icl's examples, by the law of costs) "
            f"{self.floor:g} % and more for {'; '.join(parts)}"
        )
        text += f"; most {once.max():.1f} % where each reads once what its texts share" if len(once) else ""
        return text, bool((known[column] >= self.floor).any())

    def _headline(self, best: Saving) -> str:
        what = "tokens into the LLM" if self.claim.cost == "length" else "time"
        point = self.point(best)
        amount = f"saves at most {point:.1f} %" if point >= 0 else f"needs at least {-point:.1f} % more"
        condition = "" if best.kind == _BARE else f", {kind_words(*best.kind)}"
        return (
            f"{_short(self.first, self.panel)} {amount} of the {what} ({text_words(best.text)}{condition}, "
            f"against {_short(best.rival, self.panel)}{self._aside(best)})"
        )

    def _aside(self, best: Saving) -> str:
        """What the number alone would hide: the encoder's own tokens, or the machine."""
        ours, theirs = best.ours, best.theirs
        if self.claim.cost == "time":
            tokens = f"{ours['batch_tokens']} tokens" if ours["batch_tokens"] else ours["batch_size"]
            return f", on {ours['device']}, {ours['dtype']}, batches of {tokens}"
        encoder = [_encoder_tokens(row) for row in (ours, theirs)]
        if not any(encoder):
            return ""
        both = saved(computed(ours) + encoder[0], computed(theirs) + encoder[1])
        return f"; {both:.1f} % with the encoder's tokens counted too"

    def _all_points(self) -> str:
        """Every saving, by rival and condition."""
        several = {saving.kind for saving in self.savings} != {_BARE}
        texts = []
        for rival in dict.fromkeys(saving.rival for saving in self.savings):
            own = [saving for saving in self.savings if saving.rival == rival]
            parts = []
            for kind in dict.fromkeys(saving.kind for saving in own):
                points = self._points([saving for saving in own if saving.kind == kind])
                parts.append((f"with {kind_words(*kind)} " if several else "") + points)
            texts.append(f"against {_short(rival, self.panel)} {'; '.join(parts)}")
        return "; ".join(texts)

    def _points(self, points: list[Saving]) -> str:
        ranged = len(points) > _LISTED and points[0].kind != _BARE
        shown = [end(points, key=self.point) for end in (min, max)] if ranged else points
        texts = [f"{self.point(saving):.1f} % at {text_words(saving.text)}" for saving in shown]
        return f"{' to '.join(texts)} ({len(points)} lengths and tasks)" if ranged else listed(texts)

    def _held(self) -> str:
        """In how many cases the claim holds, and what is left where the rival reads a shared beginning once."""
        if {saving.kind for saving in self.savings} == {_BARE}:
            return "; no instruction or examples before the texts were measured"
        held = [saving for saving in self.savings if round(self.point(saving), 9) >= self.floor]
        text = f"; {self.floor:g} % and more in {len(held)} of {len(self.savings)} cases"
        kinds = dict.fromkeys(kind_words(*saving.kind) for saving in held)
        text += f" ({'; '.join(kinds)})" if kinds else ""
        once = [self.point(saving) for saving in self.savings if saving.reuse == READ_ONCE]
        return text + (f"; at most {max(once):.1f} % where the rival reads once what its texts share" if once else "")


def _encoder_tokens(row: Row) -> float:
    # A method without an encoder has none of its tokens, whether the file says so with a zero or a gap.
    return 0.0 if math.isnan(row["encoder_tokens"]) else float(row["encoder_tokens"])
