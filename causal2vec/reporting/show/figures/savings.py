"""The figures of savings: how much shorter and faster Causal2Vec is, over lengths and on the published tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from causal2vec.efficiency.names import (
    EMBED,
    EXAMPLES,
    INSTRUCTION,
    PARTS,
    PLAIN,
    PUBLISHED_ON,
    READ_AGAIN,
    READ_ONCE,
    SAVES,
    saved,
)
from causal2vec.reporting.analysis.compare import Panel, compare
from causal2vec.reporting.analysis.savings import (
    CLAIMED,
    Measured,
    computed,
    fixed_lengths,
    measured_on,
    shows_examples,
    with_variants,
)
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import is_untrained, is_variant, sort_entries, twin_of
from causal2vec.reporting.show.figures.style import (
    DARK,
    FULL_WIDTH,
    MARGIN,
    Design,
    Look,
    drawable,
    finish,
    fitted,
    handle,
    mark,
    move_aside,
    set_scale,
    wrapped,
)

_NOUNS = {"tokens": "fewer tokens", "ms": "less time"}
_LOWEST = -150.0
"""Per cent below which nothing is drawn: how much more is needed matters no longer."""

_REMARKS = (
    f"{SAVES}'s saving in per cent of a rival's cost, below 0 it needs more",
    "markers: measured, those at one place side by side",
    "lines: by the law of costs",
    "dashed: the paper's claim",
    "filled, solid: every token read",
    "open, dotted: a beginning that all texts share is read once by whoever can",
)


class _Case(NamedTuple):
    """What was read; ``text`` and ``prompt`` in tokens."""

    method: str
    setting: str
    reuse: str
    text: int
    prompt: float


class _Cost(NamedTuple):
    tokens: float
    ms: float


class _Saving(NamedTuple):
    """What is saved against a rival at one place of an axis."""

    rival: str
    reuse: str
    x: float
    tokens: float
    ms: float


_Costs = Mapping[_Case, _Cost]


def _measured(conditions: pd.DataFrame, base: str) -> _Costs:
    """Measured costs per text on one base; of a method and its twin, which cost the same, the method's own count."""
    rows = fixed_lengths(conditions[conditions["base"] == base]).to_dict("records")
    return {
        _Case(twin_of(row["method"]), row["setting"], row["reuse"], row["length"], float(row["prompt_tokens"] or 0)): (
            _Cost(computed({str(key): value for key, value in row.items()}), float(row["seconds_per_1000_texts"]))
        )
        for row in sorted(rows, key=lambda row: not is_untrained(row["method"]))
    }


def _by_law(law: pd.DataFrame | None, base: str) -> _Costs:
    """The same by the law of costs."""
    rows = [] if law is None else law[(law["base"] == base) & (law["what"] == EMBED)].to_dict("records")
    keys = ("method", "setting", "reuse", "text_tokens", "prompt_tokens")
    return {_Case(*(row[key] for key in keys)): _Cost(row["computed_tokens"], row["ms_per_text"]) for row in rows}


@dataclass(frozen=True)
class _Asked:
    """What the figure asks of a base, by what was measured on it.

    Attributes:
        instruction: Tokens of the instruction; 0 without one.
        shown: Tokens of the instruction and examples that stand before most lengths of text, of several the longest.
        text: The length of text behind which most lengths of examples were measured.
        grows: Whether there are several lengths of examples.
    """

    instruction: float
    shown: float
    text: int
    grows: bool

    @classmethod
    def of(cls, costs: _Costs) -> _Asked:
        examples = {(case.text, case.prompt) for case in costs if case.setting == EXAMPLES and case.prompt}
        prompts, texts = [prompt for _, prompt in examples], [text for text, _ in examples]
        return cls(
            instruction=min((c.prompt for c in costs if c.setting == INSTRUCTION and c.prompt), default=0.0),
            shown=max(prompts, key=lambda prompt: (prompts.count(prompt), prompt), default=0.0),
            text=max(sorted(texts), key=texts.count, default=0),
            grows=len(set(prompts)) > 1,
        )

    def places(self, axis: str, costs: _Costs, shows: bool) -> list[tuple[float, tuple[str, int, float]]]:
        """Along an axis: x, and what a rival that ``shows`` examples or none reads there (setting, text, prompt)."""
        texts = sorted({case.text for case in costs})
        if axis == "documents":
            return [(text, (PLAIN, text, 0.0)) for text in texts]
        if not self.instruction:
            return []
        if axis == "queries":
            setting, prompt = (EXAMPLES, self.shown) if shows and self.shown else (INSTRUCTION, self.instruction)
            return [(text, (setting, text, prompt)) for text in texts]
        prompts = sorted({case.prompt for case in costs if case.setting == EXAMPLES and case.prompt})
        behind = [(INSTRUCTION, self.instruction), *((EXAMPLES, prompt) for prompt in prompts)]
        return [(p - self.instruction, (s, self.text, p)) for s, p in behind] if shows and self.grows else []

    def title(self, axis: str) -> str:
        """What stands above a column."""
        return {
            "documents": "documents: nothing before the text",
            "queries": f"queries: an instruction; {self.shown - self.instruction:.0f} tokens of examples where a "
            "rival shows some",
            "examples": f"queries of {self.text} tokens: an instruction, and the rival's examples",
        }[axis]


_AXES = {"documents": "text length (tokens)", "queries": "text length (tokens)", "examples": "examples (tokens)"}


def _savings(costs: _Costs, axis: str, asked: _Asked, rivals: dict[str, bool]) -> list[_Saving]:
    """What is saved along an axis against every rival, from left to right."""
    found = []
    for rival, shows in rivals.items():
        for reuse in (READ_AGAIN, READ_ONCE):
            for x, (setting, text, prompt) in asked.places(axis, costs, shows):
                theirs = costs.get(_Case(rival, setting, reuse, text, prompt))
                own = (PLAIN, 0.0) if axis == "documents" else (INSTRUCTION, asked.instruction)
                # Whoever can read a shared beginning once does so where the rival does.
                cases = [_Case(SAVES, own[0], how, text, own[1]) for how in (reuse, READ_AGAIN)]
                ours = next((costs[case] for case in cases if case in costs), None)
                if ours and theirs:
                    found.append(_Saving(rival, reuse, x, *map(saved, ours, theirs)))
    return sorted(found, key=lambda saving: saving.x)


def shorter_faster(study: Study, design: Design) -> Figure | None:
    """Causal2Vec's savings in tokens and time over the text's length and over the rival's examples.

    None where no rival on the same base was measured beside it on texts of one length.
    """
    if study.conditions is None:
        return None
    entries = sort_entries(measured := Measured(study.conditions).entries, with_variants(design.order, measured))
    found: list[tuple[Panel, _Asked, dict[str, list[_Saving]], dict[str, list[_Saving]]]] = []
    for panel in compare(entries, design.bases):
        points, law = _measured(study.conditions, panel.base), _by_law(study.law, panel.base)
        rivals, asked = _rivals(study, panel), _Asked.of(points)
        marks, lines = ({axis: _savings(costs, axis, asked, rivals) for axis in _AXES} for costs in (points, law))
        if any(marks.values()):
            found.append((panel, asked, marks, lines))
    columns = [axis for axis in _AXES if any(marks[axis] for _, _, marks, _ in found)]
    if not columns:
        return None
    figure = Figure(figsize=(FULL_WIDTH, 0.45 + 3.6 * len(found)), layout="constrained")
    grid = figure.subplots(2 * len(found), len(columns), squeeze=False, sharey="row")
    samples: dict[str, Line2D] = {}
    rows = [(key, *part) for part in found for key in CLAIMED]
    for (key, panel, _, marks, lines), line in zip(rows, grid, strict=True):
        looks = {twin_of(e[0]): replace(design.looks[e], hollow=False, line="-") for e in reversed(panel.entries)}
        for axis, axes in zip(columns, line, strict=True):
            _draw_savings(axes, key, marks[axis], lines[axis], looks)
            axes.set_xlabel(_AXES[axis])
            places = [] if axis == "examples" else sorted({s.x for s in marks[axis]})
            set_scale(axes, "x", places, always=True)
            if places:
                axes.set(xlim=(places[0] / 2, places[-1] * 2), xticks=places if len(places) <= 4 else places[::2])
        values = [value for axis in columns for s in marks[axis] if not math.isnan(value := getattr(s, key))]
        line[0].set_ylim(max(_LOWEST, min([0.0, *values])) - 8, 105)
        base = f"{fitted(drawable(panel.title), 1.6)}\n" if panel.title else ""
        line[0].set_ylabel(f"{base}{_NOUNS[key]} (%)")
        words, place = f"{CLAIMED[key]:g} % {_NOUNS[key]}", line[0].get_yaxis_transform()
        # Where a line runs behind the words, they stay readable.
        halo = [withStroke(linewidth=2, foreground="white")]
        line[0].text(0.02, CLAIMED[key] + 3.5, words, transform=place, path_effects=halo)
        shown = {saving.rival for axis in columns for saving in marks[axis]}
        drawn = [e for e in panel.entries if twin_of(e[0]) in shown]
        samples |= {design.name(e, panel): handle(looks[twin_of(e[0])]) for e in drawn}
    for axis, axes in zip(columns, grid[0], strict=True):
        axes.set_title(wrapped(found[0][1].title(axis), FULL_WIDTH / len(columns) - 0.3 - 4 * MARGIN), loc="left")
    finish(figure, samples, [*_REMARKS, measured_on(study.conditions, study.manifest)], design.stamp)
    return figure


def _rivals(study: Study, panel: Panel) -> dict[str, bool]:
    """The rivals on a panel's base, and whether they show examples; a method and its untrained twin cost the same."""
    names = [twin_of(m) for m, base in panel.entries if base == panel.base and not is_variant(m)]
    return {name: shows_examples(study.manifest, name) for name in names if name != SAVES}


def _draw_savings(axes: Axes, key: str, marks: list[_Saving], lines: list[_Saving], looks: dict[str, Look]) -> None:
    axes.axhline(0, color=DARK, linewidth=0.8, zorder=1)
    axes.axhline(CLAIMED[key], color=DARK, linewidth=0.9, linestyle="--", zorder=1)
    series = sorted({(s.rival, s.reuse) for s in marks}, key=lambda one: (list(looks).index(one[0]), one[1]))
    for number, one in enumerate(series[::-1]):
        measured, law = ([s for s in found if (s.rival, s.reuse) == one] for found in (marks, lines))
        rival, once = one[0], one[1] == READ_ONCE
        look, drawn = replace(looks[rival], hollow=once), law or measured
        ys = [max(getattr(s, key), _LOWEST) for s in drawn]
        style: Any = {"color": look.colour, "linestyle": ":" if once else "-", "linewidth": 0.9, "zorder": 2}
        axes.plot([s.x for s in drawn], ys, **style)
        for saving in measured:
            if not math.isnan(value := getattr(saving, key)):
                about = f"against {rival}{', read once' if once else ''}: {value:.1f} % {_NOUNS[key]}"
                about += f" at {saving.x:,.0f} tokens"
                marker = mark(axes, saving.x, max(value, _LOWEST), look, about, markersize=4)
                move_aside(axes, marker, number, len(series))


_TASK_ROW, _TASK_SIZE, _LEAST = 0.115, 5.5, -110.0
_TASK_REMARKS = (
    f"{SAVES}'s saving in tokens into the LLM on {PUBLISHED_ON}, examples as bge-en-icl publishes them, by the law of "
    "costs",
    "dashed: the paper's claim",
    "filled: every token read",
    "open: a beginning that all texts share read once by whoever can, where that makes a difference",
    f"at the left edge: {-_LEAST:.0f} % more and beyond",
)


def published_savings(study: Study, design: Design) -> Figure | None:
    """Causal2Vec's savings in tokens on every task of the published benchmark, by rival; None without a law's rows."""
    if study.published is None:
        return None
    frame = study.published
    panels = [p for p in compare(study.summary.entries, design.bases) if p.base in set(frame["base"])]
    if not panels:
        return None
    figure = Figure(figsize=(FULL_WIDTH, _TASK_ROW * 57 * len(panels) + 0.5), layout="constrained")
    grid = figure.subplots(len(panels), len(PARTS), squeeze=False, sharey="row", sharex=True)
    samples: dict[str, Line2D] = {}
    for panel, line in zip(panels, grid, strict=True):
        own = frame[frame["base"] == panel.base]
        best = own[own["reuse"] == READ_AGAIN].sort_values("tokens_saved", kind="stable")
        tasks = list(dict.fromkeys(best["task"][::-1]))[::-1]
        entries = {twin_of(entry[0]): entry for entry in reversed(panel.entries)}
        drawn = [rival for rival in dict.fromkeys(own["rival"]) if rival in entries]
        for part, axes in zip(PARTS, line, strict=True):
            axes.axvline(0, color=DARK, linewidth=0.8, zorder=1)
            axes.axvline(CLAIMED["tokens"], color=DARK, linewidth=0.9, linestyle="--", zorder=1)
            for rival in drawn:
                look = replace(design.looks[entries[rival]], hollow=False)
                _draw_tasks(axes, own[(own["part"] == part) & (own["rival"] == rival)], tasks, look)
                samples[design.name(entries[rival], panel)] = handle(look)
            axes.set_ylim(-1, len(tasks))
            axes.set_title(part, loc="left")
        line[0].set_yticks(range(len(tasks)), tasks, fontsize=_TASK_SIZE)
        if panel.title:
            line[0].set_ylabel(fitted(drawable(panel.title), 4, 1))
    for axes in grid[-1]:
        axes.set_xlim(_LEAST, 105)
        axes.set_xlabel("fewer tokens (%)")
    finish(figure, samples, _TASK_REMARKS, design.stamp)
    return figure


def _draw_tasks(axes: Axes, rows: pd.DataFrame, tasks: list[str], look: Look) -> None:
    again = rows[rows["reuse"] == READ_AGAIN].set_index("task")["tokens_saved"]
    for row in rows.to_dict("records"):
        once, value = row["reuse"] == READ_ONCE, row["tokens_saved"]
        if not once or abs(value - again[row["task"]]) >= 0.05:
            where = f"{row['task']}, {row['part']}, against {row['rival']}{', read once' if once else ''}"
            about, own = f"{where}: {value:.1f} % fewer tokens", replace(look, hollow=once)
            mark(axes, max(value, _LEAST), tasks.index(row["task"]), own, about, markersize=3, clip_on=False)
