"""The figures of differences: every method against the reference, and every value of an ablated setting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from causal2vec.reporting.analysis.compare import Panel, compare
from causal2vec.reporting.analysis.evidence import ALL, Difference, Group
from causal2vec.reporting.analysis.study import Ablation, Study
from causal2vec.reporting.analysis.summary import Entry, entry_name, is_untrained
from causal2vec.reporting.read.types import AVERAGE
from causal2vec.reporting.show.figures.style import (
    INDENT,
    Design,
    Look,
    draw_interval,
    finish,
    handle,
    label_rows,
    new_figure,
    set_scale,
)
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.figures.typeset import drawable, shortened

REFERENCE = "causal2vec"
"""The method that the suite is about; where it is absent, the best one takes its place."""

FILLED = "filled: significant (interval without zero, p < 0.05, no seed against it); hollow: not"
BARS = "bars: paired 95 % interval over test items"

_ROW = 0.1
_VALUE_ROW = 0.17
"""Inches per marker, and per line of text."""

_VALUE_WIDTH = 1.25


def forest(study: Study, design: Design) -> Figure | None:
    """Each method minus the reference, on average and per type of task, with intervals; a panel per compared base.

    Trained methods, or untrained ones where nothing is trained. None unless something can be compared.
    """
    references = {
        panel.base: found
        for panel in compare(study.summary.entries, design.bases)
        if (found := _reference(study, panel)) is not None
    }
    panels = [
        Panel(p.base, rivals, p.title)
        for p in compare(study.summary.entries, design.bases)
        if p.base in references and (rivals := _compared(study, p.entries, references[p.base]))
    ]
    if not panels:
        return None
    groups = [(AVERAGE, ALL), *((name, ("type", name)) for name in study.summary.types)]
    heights = [0.45 + len(groups) * (0.1 + _ROW * max(1, len(panel.entries))) for panel in panels]
    figure, grid = new_figure(panels, heights, indent=INDENT)
    samples: dict[str, Line2D] = {}
    differences: list[Difference | None] = []
    for panel, axes in zip(panels, grid, strict=True):
        reference = references[panel.base]
        for number, (_, group) in enumerate(groups):
            axes.axhspan(number - 0.5, number + 0.5, color="white" if number % 2 else "#F3F3F3", zorder=0)
            for row, entry in enumerate(panel.entries):
                difference = study.evidence.difference(entry, reference, group)
                if difference is not None:
                    y = number + 0.86 * ((row + 0.5) / len(panel.entries) - 0.5)
                    about = f"{entry_name(entry, panel.entries)} minus {reference[0]}, {group[1]}"
                    _draw_difference(axes, difference, y, design.looks[entry], about)
                differences.append(difference)
        samples |= {design.name(e, panel): handle(_filled(design.looks[e])) for e in panel.entries}
        types = {name: len(tasks) for name, tasks in study.summary.types.items()}
        label_rows(axes, {AVERAGE: len(study.summary.tasks)} | types)
        _mark_zero(axes)
        axes.set_xlabel(f"difference to {shortened(design.name(reference, panel), 0.8)} (points)")
    finish(figure, samples, [_remarks(differences)], design.stamp)
    return figure


def _reference(study: Study, panel: Panel) -> Entry | None:
    """Whom a panel's entries are compared with; None where nothing has an average."""
    for untrained in (False, True):
        members = [e for e in panel.entries if is_untrained(e[0]) == untrained]
        if len(members) < 2:
            continue
        own = [e for e in members if e == (REFERENCE, panel.base)]
        averages = {e: study.summary.average(e, study.summary.tasks) for e in own or members}
        known = {e: average for e, average in averages.items() if average is not None}
        # A reference that lacks a task is still one for the types that it has.
        return own[0] if own else max(known, key=lambda e: known[e]) if known else None
    return None


def _compared(study: Study, entries: list[Entry], reference: Entry) -> list[Entry]:
    """The entries of the reference's kind that have any difference to it."""
    groups: list[Group] = [ALL, *(("type", name) for name in study.summary.types)]
    rivals = [e for e in entries if e != reference and is_untrained(e[0]) == is_untrained(reference[0])]
    return [e for e in rivals if any(study.evidence.difference(e, reference, group) for group in groups)]


def _filled(look: Look, filled: bool = True) -> Look:
    return Look(look.colour, look.marker, look.line, not filled)


def _draw_difference(axes: Axes, found: Difference, y: float, look: Look, about: str) -> None:
    draw_interval(axes, look, (100 * found.low, 100 * found.high), (y, y))
    style: dict[str, Any] = _filled(look, found.significant).marker_style()
    axes.plot(
        [100 * found.difference], [y], linestyle="none", markersize=5, zorder=3, gid=_about(found, about), **style
    )


def _about(found: Difference, about: str) -> str:
    text = f"{about}: {100 * found.difference:+.1f}"
    if not math.isnan(found.low):
        text += f" (95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f})"
    if not math.isnan(found.p_holm):
        text += f", p = {found.p_holm:.2g}"
    return hover(text)


def _remarks(found: list[Difference | None]) -> str:
    known = [difference for difference in found if difference is not None]
    tested = any(not math.isnan(difference.low) for difference in known)
    texts = [BARS, FILLED] if tested else ["hollow: not tested, as there are no results per test item"]
    return "; ".join([*texts, *(["incomplete averages not shown"] if len(known) < len(found) else [])])


def _mark_zero(axes: Axes) -> None:
    axes.axvline(0, color="#444444", linewidth=0.8, zorder=1)
    axes.margins(x=0.08)


@dataclass(frozen=True)
class _Line:
    """One line of the figure of ablations: a heading, or a value with its difference to the default."""

    label: str
    entry: Entry | None = None
    default: Entry | None = None


def ablations(study: Study, design: Design) -> Figure | None:
    """Each value of an ablated setting minus the method's own, over all tasks; None without scored variants."""
    scored = set(study.summary.entries)
    bases = [p.base for p in compare(study.summary.entries, design.bases)] if scored else []
    lines = {base: _lines(study.ablations, base, scored) for base in bases}
    shown = [base for base in bases if lines[base]]
    if not shown:
        return None
    panels = [Panel(base, [], base if len(bases) > 1 else "") for base in shown]
    figure, grid = new_figure(panels, [0.5 + _VALUE_ROW * len(lines[base]) for base in shown], indent=INDENT)
    found = []
    for panel, axes in zip(panels, grid, strict=True):
        for y, line in enumerate(lines[panel.base]):
            if line.entry is None or line.default is None:
                continue
            look = design.looks.get(line.default) or Look("#000000", "o", "-", False)
            if line.entry == line.default:
                axes.plot([0], [y], linestyle="none", marker="|", color="#444444", markersize=8, zorder=3)
                continue
            difference = _difference(study, line.entry, line.default)
            if difference is not None:
                _draw_difference(axes, difference, y, look, f"{line.label} minus the default")
            found.append(difference)
        count = len(lines[panel.base])
        axes.set_yticks(range(count), [line.label for line in lines[panel.base]])
        axes.set_ylim(count - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        set_scale(axes, "x", [])
        _mark_zero(axes)
        for text, line in zip(axes.get_yticklabels(), lines[panel.base], strict=True):
            text.set_fontweight("normal" if line.entry else "bold")
        axes.tick_params(axis="y", length=0)
    grid[-1].set_xlabel("difference to the default (points)")
    finish(figure, {}, [_remarks(found)], design.stamp)
    return figure


def _lines(asked: list[Ablation], base: str, scored: set[Entry]) -> list[_Line]:
    lines = []
    for ablation in asked:
        values = {value: (method, base) for value, method in ablation.variants.items() if (method, base) in scored}
        default = (ablation.method, base)
        if default not in scored or not set(values.values()) - {default}:
            continue
        assumed = " (assumed)" if ablation.assumed else ""
        key = ablation.axis.rpartition(".")[2]
        lines.append(_Line(shortened(drawable(f"{key}{assumed}"), 1.2 * _VALUE_WIDTH)))
        for value, entry in values.items():
            mark = " (default)" if entry == default else ""
            text = shortened(drawable(value), _VALUE_WIDTH * (0.6 if mark else 1)) + mark
            lines.append(_Line(text, entry, default))
    return lines


def _difference(study: Study, entry: Entry, default: Entry) -> Difference | None:
    """Over all tasks, from the statistics or, without them, from the scores alone; None where a task is missing."""
    found = study.evidence.difference(entry, default, ALL)
    first, second = (study.summary.average(e, study.summary.tasks) for e in (entry, default))
    if found is not None or first is None or second is None:
        return found
    gap = math.nan
    return Difference(first - second, gap, gap, gap, gap, 0, 0, gap, gap, gap, gap, gap)
