"""The figures of savings: how much shorter and faster one method is, over lengths, and where it was published."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

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
from causal2vec.reporting.show.figures.style import FULL_WIDTH, MARGIN, Design, finish, handle
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.figures.typeset import drawable, shortened, wrapped

_NOUNS = {"tokens": "fewer tokens", "ms": "less time"}
_LOWEST = -150.0
"""Per cent below which nothing is drawn: how much more is needed matters no longer."""

_REMARKS = (
    f"{SAVES}'s saving in per cent of a rival's cost, below 0 it needs more; markers: measured; lines: by the law of "
    "costs; dashed: the paper's claim; filled: every token read; open and dotted: a beginning that all texts share "
    "is read once by whoever can"
)

Case = tuple[str, str, str, int, float]
"""Method, setting, reuse, tokens of the text, tokens of the prompt."""


@dataclass(frozen=True)
class _Saving:
    """What is saved against a rival at one place of an axis."""

    rival: str
    reuse: str
    x: float
    tokens: float
    ms: float


class _Costs:
    """Tokens and milliseconds per text, measured or by the law, on one base."""

    def __init__(self, cases: Iterable[tuple[Case, float, float]]) -> None:
        self.found = {case: (tokens, ms) for case, tokens, ms in cases}
        self.prompts = {s: sorted({c[4] for c in self.found if c[1] == s and c[4]}) for s in (INSTRUCTION, EXAMPLES)}
        self.texts = sorted({case[3] for case in self.found})

    @classmethod
    def measured(cls, conditions: pd.DataFrame, base: str) -> _Costs:
        rows = fixed_lengths(conditions[conditions["base"] == base])
        # Of a method and its untrained twin, which cost the same, the method's own rows count.
        rows = rows.iloc[[*sorted(range(len(rows)), key=lambda i: not is_untrained(rows["method"].iloc[i]))]]
        rows = rows.assign(method=[twin_of(method) for method in rows["method"]])
        return cls(
            (
                (row["method"], row["setting"], row["reuse"], row["length"], float(row["prompt_tokens"] or 0)),
                computed({str(key): value for key, value in row.items()}),
                float(row["seconds_per_1000_texts"]),
            )
            for row in rows.to_dict("records")
        )

    @classmethod
    def by_law(cls, law: pd.DataFrame | None, base: str) -> _Costs:
        rows: Any = [] if law is None else law[(law["base"] == base) & (law["what"] == EMBED)].to_dict("records")
        return cls(
            (
                (row["method"], row["setting"], row["reuse"], row["text_tokens"], row["prompt_tokens"]),
                row["computed_tokens"],
                row["ms_per_text"],
            )
            for row in rows
        )

    def saving(self, rival: str, case: tuple[str, str, int, float], own: tuple[str, float], x: float) -> _Saving | None:
        setting, reuse, text, prompt = case
        theirs = self.found.get((rival, setting, reuse, text, prompt))
        # Whoever can read a shared beginning once does so where the rival does.
        ours = next(
            (self.found[c] for r in (reuse, READ_AGAIN) if (c := (SAVES, own[0], r, text, own[1])) in self.found), None
        )
        if not ours or not theirs:
            return None
        return _Saving(rival, reuse, x, *(saved(a, b) for a, b in zip(ours, theirs, strict=True)))

    def documents(self, rivals: dict[str, bool], _: _Costs) -> list[_Saving]:
        """Bare texts, over their length."""
        return self._over_lengths(rivals, lambda shows: (PLAIN, 0.0), (PLAIN, 0.0))

    def queries(self, rivals: dict[str, bool], asked: _Costs) -> list[_Saving]:
        """Behind an instruction, and behind examples too where the rival shows some, over the text's length."""
        if not asked.prompts[INSTRUCTION]:
            return []
        ours = INSTRUCTION, asked.prompts[INSTRUCTION][0]
        shown = EXAMPLES, asked.common_examples()
        return self._over_lengths(rivals, lambda shows: shown if shows and shown[1] else ours, ours)

    def examples(self, rivals: dict[str, bool], asked: _Costs) -> list[_Saving]:
        """Texts of one length behind ever more examples of the rival's."""
        shown = [case for case in asked.found if case[1] == EXAMPLES and case[4]]
        if not asked.prompts[INSTRUCTION] or len({case[4] for case in shown}) < 2:
            return []
        least = asked.prompts[INSTRUCTION][0]
        text = asked.text_of_examples()
        places = [(INSTRUCTION, least), *((EXAMPLES, prompt) for prompt in self.prompts[EXAMPLES])]
        found = [
            self.saving(rival, (setting, reuse, text, prompt), (INSTRUCTION, least), prompt - least)
            for rival, shows in rivals.items()
            if shows
            for reuse in (READ_AGAIN, READ_ONCE)
            for setting, prompt in places
        ]
        return sorted((s for s in found if s), key=lambda saving: saving.x)

    def common_examples(self) -> float:
        """The prompt with examples that was measured before most lengths of text; of several the longest."""
        texts = {p: len({c[3] for c in self.found if c[1] == EXAMPLES and c[4] == p}) for p in self.prompts[EXAMPLES]}
        return max(texts, key=lambda prompt: (texts[prompt], prompt), default=0.0)

    def text_of_examples(self) -> int:
        """The length of text behind which most lengths of examples were measured."""
        prompts = {t: len({c[4] for c in self.found if c[1] == EXAMPLES and c[3] == t}) for t in self.texts}
        return max(prompts, key=lambda text: prompts[text])

    def _over_lengths(self, rivals: dict[str, bool], of: Any, own: tuple[str, float]) -> list[_Saving]:
        found = [
            self.saving(rival, (of(shows)[0], reuse, text, of(shows)[1]), own, text)
            for rival, shows in rivals.items()
            for reuse in (READ_AGAIN, READ_ONCE)
            for text in self.texts
        ]
        return [saving for saving in found if saving]


_AXES = {"documents": _Costs.documents, "queries": _Costs.queries, "examples": _Costs.examples}


def shorter_faster(study: Study, design: Design) -> Figure | None:
    """Causal2Vec's savings in tokens and time over the text's length and over the rival's examples.

    None where no rival on the same base was measured beside it on texts of one length.
    """
    if study.conditions is None:
        return None
    entries = sort_entries(measured := Measured(study.conditions).entries, with_variants(design.order, measured))
    rows: list[tuple[Panel, _Costs, dict[str, tuple[list[_Saving], list[_Saving]]], str]] = []
    for panel in compare(entries, design.bases):
        rivals = _rivals(study, panel)
        points, lines = _Costs.measured(study.conditions, panel.base), _Costs.by_law(study.law, panel.base)
        cells = {name: (make(points, rivals, points), make(lines, rivals, points)) for name, make in _AXES.items()}
        if any(found for found, _ in cells.values()):
            rows += [(panel, points, cells, key) for key in CLAIMED]
    if not rows:
        return None
    columns = [name for name in _AXES if any(cells[name][0] for _, _, cells, _ in rows)]
    figure = Figure(figsize=(FULL_WIDTH, 0.45 + 1.8 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharey="row")
    samples: dict[str, Line2D] = {}
    for (panel, points, cells, key), line in zip(rows, grid, strict=True):
        looks = {twin_of(e[0]): replace(design.looks[e], hollow=False) for e in reversed(panel.entries)}
        for name, axes in zip(columns, line, strict=True):
            _draw_cell(axes, *cells[name], key, looks)
            _finish_axis(axes, name, points, [s.x for s in cells[name][0]])
        _finish_row(list(line), key, [s for name in columns for s in cells[name][0]])
        base = f"{shortened(drawable(panel.title), 1.6)}\n" if panel.title else ""
        line[0].set_ylabel(f"{base}{_NOUNS[key]} (%)")
        shown = {saving.rival for name in columns for saving in cells[name][0]}
        samples |= {design.name(e, panel): handle(looks[twin_of(e[0])], line=True)
                    for e in panel.entries if twin_of(e[0]) in shown}  # fmt: skip
    room = FULL_WIDTH / len(columns) - 0.3 - 4 * MARGIN
    for name, axes in zip(columns, grid[0], strict=True):
        axes.set_title(wrapped(_title(name, rows[0][1]), room), loc="left")
    finish(
        figure,
        samples,
        ["; ".join(filter(None, [_REMARKS, measured_on(study.conditions, study.manifest)]))],
        design.stamp,
    )
    return figure


def _rivals(study: Study, panel: Panel) -> dict[str, bool]:
    """The rivals on a panel's base, and whether they show examples; a method and its untrained twin cost the same."""
    names = [twin_of(m) for m, base in panel.entries if base == panel.base and not is_variant(m)]
    return {name: shows_examples(study.manifest, name) for name in names if name != SAVES}


def _title(name: str, points: _Costs) -> str:
    if name == "documents":
        return "documents: nothing before the text"
    shown = points.common_examples() - (points.prompts[INSTRUCTION] or [0.0])[0]
    if name == "queries":
        return f"queries: an instruction; {shown:.0f} tokens of examples where a rival shows some"
    return f"queries of {points.text_of_examples()} tokens: an instruction, and the rival's examples"


def _draw_cell(axes: Axes, points: list[_Saving], lines: list[_Saving], key: str, looks: dict[str, Any]) -> None:
    axes.axhline(0, color="#444444", linewidth=0.8, zorder=1)
    axes.axhline(CLAIMED[key], color="#444444", linewidth=0.9, linestyle="--", zorder=1)
    order = [(s.rival, s.reuse) for s in points]
    for rival, reuse in dict.fromkeys(order):
        look = replace(looks[rival], hollow=reuse == READ_ONCE)
        drawn = [s for s in lines if (s.rival, s.reuse) == (rival, reuse)] or [
            s for s in points if (s.rival, s.reuse) == (rival, reuse)
        ]
        style: dict[str, Any] = {"color": look.colour, "linestyle": ":" if look.hollow else look.line, "linewidth": 0.9}
        axes.plot([s.x for s in drawn], [max(getattr(s, key), _LOWEST) for s in drawn], zorder=2, **style)
    for saving in points:
        value = getattr(saving, key)
        if math.isnan(value):
            continue
        look = replace(looks[saving.rival], hollow=saving.reuse == READ_ONCE)
        once = ", read once" if saving.reuse == READ_ONCE else ""
        gid = hover(f"against {saving.rival}{once}: {value:.1f} % {_NOUNS[key]} at {saving.x:,.0f} tokens")
        axes.plot([saving.x], [max(value, _LOWEST)], linestyle="none", markersize=4, zorder=3, gid=gid,
                  **look.marker_style())  # fmt: skip


def _finish_axis(axes: Axes, name: str, points: _Costs, places: list[float]) -> None:
    if name == "examples":
        axes.set_xlabel("examples (tokens)")
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        return
    axes.set_xlabel("text length (tokens)")
    if places:
        axes.set_xscale("log")
        lengths = sorted(set(places))
        axes.set_xlim(lengths[0] / 1.5, lengths[-1] * 1.5)
        axes.xaxis.set_major_locator(FixedLocator(lengths if len(lengths) <= 4 else lengths[::2]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))


def _finish_row(line: list[Axes], key: str, found: list[_Saving]) -> None:
    """One scale along a row, with the claim's place named."""
    values = [value for s in found if not math.isnan(value := getattr(s, key))]
    line[0].set_ylim(max(_LOWEST, min([0.0, *values])) - 8, 105)
    label = f"{CLAIMED[key]:g} % {_NOUNS[key]}"
    place: dict[str, Any] = {"xytext": (0, 2), "xycoords": line[0].get_yaxis_transform(), "textcoords": "offset points"}
    # Where a line runs behind the words, they stay readable.
    line[0].annotate(label, (0.02, CLAIMED[key]), **place, path_effects=[withStroke(linewidth=2, foreground="white")])


def _plain(value: float, _: int | None) -> str:
    return f"{value:,.10g}"


def published_savings(study: Study, design: Design) -> Figure | None:
    """Causal2Vec's savings in tokens on every task of the published benchmark, by rival; None without a law's rows."""
    if study.published is None:
        return None
    frame: Any = study.published
    panels = [p for p in compare(study.summary.entries, design.bases) if p.base in set(frame["base"])]
    if not panels:
        return None
    figure = Figure(figsize=(FULL_WIDTH, _TASK_ROW * 57 * len(panels) + 0.5), layout="constrained")
    grid = figure.subplots(len(panels), len(PARTS), squeeze=False, sharey="row", sharex=True)
    samples: dict[str, Line2D] = {}
    for panel, line in zip(panels, grid, strict=True):
        own = frame[frame["base"] == panel.base]
        again = own[own["reuse"] == READ_AGAIN]
        tasks = list(dict.fromkeys(again.sort_values("tokens_saved", kind="stable")["task"][::-1]))[::-1]
        places = {task: place for place, task in enumerate(tasks)}
        looks = {twin_of(e[0]): (replace(design.looks[e], hollow=False), e) for e in reversed(panel.entries)}
        for part, axes in zip(PARTS, line, strict=True):
            axes.axvline(0, color="#444444", linewidth=0.8, zorder=1)
            axes.axvline(CLAIMED["tokens"], color="#444444", linewidth=0.9, linestyle="--", zorder=1)
            for rival in dict.fromkeys(own["rival"]):
                if rival in looks:
                    _draw_tasks(axes, own[(own["part"] == part) & (own["rival"] == rival)], places, looks[rival][0])
                    samples[design.name(looks[rival][1], panel)] = handle(looks[rival][0])
            axes.set_ylim(-1, len(tasks))
            axes.set_title(part, loc="left")
        line[0].set_yticks(range(len(tasks)), tasks, fontsize=_TASK_SIZE)
        if panel.title:
            line[0].set_ylabel(shortened(drawable(panel.title), 4))
    for axes in grid[-1]:
        axes.set_xlim(_LEAST, 105)
        axes.set_xlabel("fewer tokens (%)")
    finish(figure, samples, [_TASK_REMARKS], design.stamp)
    return figure


_TASK_ROW, _TASK_SIZE, _LEAST = 0.115, 5.5, -110.0
_TASK_REMARKS = (
    f"{SAVES}'s saving in tokens into the LLM on {PUBLISHED_ON}, examples as bge-en-icl publishes them, by the law of "
    f"costs; dashed: the paper's claim; filled: every token read; open: a beginning that all texts share read once by "
    f"whoever can, where that makes a difference; at the left edge: {-_LEAST:.0f} % more and beyond"
)


def _draw_tasks(axes: Axes, rows: Any, places: dict[str, int], look: Any) -> None:
    again = rows[rows["reuse"] == READ_AGAIN].set_index("task")["tokens_saved"]
    for row in rows.to_dict("records"):
        once = row["reuse"] == READ_ONCE
        if once and abs(row["tokens_saved"] - again[row["task"]]) < 0.05:
            continue
        words = f"{row['task']}, {row['part']}, against {row['rival']}{', read once' if once else ''}"
        gid = hover(f"{words}: {row['tokens_saved']:.1f} % fewer tokens")
        style = replace(look, hollow=once).marker_style()
        axes.plot([max(row["tokens_saved"], _LEAST)], [places[row["task"]]], linestyle="none", gid=gid, zorder=3,
                  **(style | {"markersize": 3}))  # fmt: skip
