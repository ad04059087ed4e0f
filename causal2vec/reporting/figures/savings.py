"""The figure of savings: how many times the tokens and the time of one method its rivals need, over the length."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from causal2vec.reporting.compare import Panel, compare
from causal2vec.reporting.conditions import COMPARISONS, Measured, Saving, measured_on, text_words, with_variants
from causal2vec.reporting.figures.style import FULL_WIDTH, MARGIN, Design, finish, handle
from causal2vec.reporting.figures.svg import hover
from causal2vec.reporting.figures.typeset import drawable, shortened, wrapped
from causal2vec.reporting.schema import READ_ONCE
from causal2vec.reporting.study import Study
from causal2vec.reporting.summary import Entry, is_untrained, sort_entries, twin_of
from causal2vec.reporting.tables.savings import panel_savings

REFERENCE = "causal2vec"
CLAIMED = {"shorter": 85.0, "faster": 82.0}
"""Per cent that the paper's abstract says are saved at most (arXiv 2507.23386v1)."""

_ROWS = {"shorter": "tokens", "faster": "time"}
_NOUNS = {"shorter": "fewer tokens", "faster": "less time"}
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_REMARKS = (
    f"how many times {REFERENCE}'s tokens and time a rival needs; 1: as much; dashed: the paper's claim; filled: every "
    "token read; open: a beginning that all texts share is read once by the rival"
)


def shorter_faster(study: Study, design: Design) -> Figure | None:
    """Rivals' tokens and time over causal2vec's against the text's length, by what stands before the texts.

    None where no rival on the same base was measured beside it on texts of one length.
    """
    if study.conditions is None:
        return None
    measured = Measured(study.conditions)
    entries = sort_entries(measured.entries, with_variants(design.order, measured.entries))
    parts = [(panel, _drawable(measured, panel)) for panel in compare(entries, design.bases)]
    parts = [(panel, found) for panel, found in parts if found]
    if not parts:
        return None
    columns = [kind for kind in COMPARISONS if any(_kind(s) == kind for _, found in parts for s in found)]
    rows = [(panel, found, key) for panel, found in parts for key in _ROWS]
    figure = Figure(figsize=(FULL_WIDTH, 0.35 + 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey="row")
    samples: dict[str, Line2D] = {}
    for (panel, found, key), line in zip(rows, grid, strict=True):
        for axes, kind in zip(line, columns, strict=True):
            _draw_panel(axes, [s for s in found if _kind(s) == kind], key, design)
        _finish_row(list(line), key, found)
        base = f"{shortened(drawable(panel.title), 1.6)}\n" if panel.title else ""
        line[0].set_ylabel(f"{base}{_ROWS[key]}, rival / {REFERENCE}")
        rivals = dict.fromkeys(saving.rival for saving in found)
        samples |= {design.name(e, panel): handle(replace(design.looks[e], hollow=False), line=True) for e in rivals}
    room = FULL_WIDTH / len(columns) - 0.3 - 4 * MARGIN
    for axes, kind in zip(grid[0], columns, strict=True):
        axes.set_title(wrapped(COMPARISONS[kind], room), loc="left")
    lengths = sorted({int(saving.text) for _, found in parts for saving in found})
    for axes in grid[-1]:
        _label_lengths(axes, lengths)
        axes.set_xlabel("text length (tokens)")
    remarks = [_REMARKS, measured_on(study.conditions, study.manifest)]
    finish(figure, samples, ["; ".join(filter(None, remarks))], design.stamp)
    return figure


def _kind(saving: Saving) -> tuple[str, str]:
    return saving.setting, saving.own_setting


def _drawable(measured: Measured, panel: Panel) -> list[Saving]:
    """Savings on texts of one length; of a method and its twin the method's, as they cost the same."""
    found = [saving for saving in panel_savings(measured, panel, REFERENCE) if saving.text.isdigit()]
    trained = {saving.rival for saving in found if not is_untrained(saving.rival[0])}
    return [s for s in found if s.rival in trained or (twin_of(s.rival[0]), s.rival[1]) not in trained]


def _times(saving: Saving, key: str) -> float:
    """How many times one's own cost the rival's is; NaN where unknown."""
    share = 1 - getattr(saving, key) / 100
    return 1 / share if share > 0 else math.nan


def _draw_panel(axes: Axes, found: list[Saving], key: str, design: Design) -> None:
    axes.axhline(1, color="#444444", linewidth=0.8, zorder=1)
    axes.axhline(1 / (1 - CLAIMED[key] / 100), color="#444444", linewidth=0.9, linestyle="--", zorder=1)
    lines: dict[tuple[Entry, str], list[Saving]] = {}
    for saving in found:
        if not math.isnan(_times(saving, key)):
            lines.setdefault((saving.rival, saving.reuse), []).append(saving)
    for (rival, reuse), points in lines.items():
        look = replace(design.looks[rival], hollow=reuse == READ_ONCE)
        x, y = [int(s.text) for s in points], [_times(s, key) for s in points]
        style: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "linewidth": 0.9}
        axes.plot(x, y, zorder=2, **style)
        for saving, length, times in zip(points, x, y, strict=True):
            gid = hover(_about(saving, key))
            axes.plot([length], [times], linestyle="none", markersize=4.5, zorder=3, gid=gid, **look.marker_style())


def _about(saving: Saving, key: str) -> str:
    once = ", read once" if saving.reuse == READ_ONCE else ""
    amount = f"{getattr(saving, key):.1f} % {_NOUNS[key]}"
    return f"against {saving.rival[0]}{once}, {COMPARISONS[_kind(saving)]}: {amount} at {text_words(saving.text)}"


def _finish_row(line: list[Axes], key: str, found: list[Saving]) -> None:
    """One logarithmic scale along a row, with the claim's place named."""
    claimed = 1 / (1 - CLAIMED[key] / 100)
    values = [times for s in found if not math.isnan(times := _times(s, key))]
    low, high = min([1.0, *values]) / 1.3, max([claimed, *values]) * 1.5
    for axes in line:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        axes.yaxis.set_major_locator(FixedLocator([step for step in _STEPS if low <= step <= high]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    label = f"{CLAIMED[key]:g} % {_NOUNS[key]}"
    place: dict[str, Any] = {"xytext": (0, 2), "xycoords": line[0].get_yaxis_transform(), "textcoords": "offset points"}
    # Where a grid line runs behind the words, they stay readable.
    line[0].annotate(label, (0.02, claimed), **place, path_effects=[withStroke(linewidth=2, foreground="white")])


def _plain(value: float, _: int | None) -> str:
    return f"{value:,.10g}"


def _label_lengths(axes: Axes, lengths: list[int]) -> None:
    """A logarithmic axis that names the lengths; every second one where they are many."""
    axes.set_xscale("log")
    named = lengths if len(lengths) <= 4 else lengths[::2]
    axes.set_xlim(lengths[0] / 1.5, lengths[-1] * 1.5)
    axes.xaxis.set_major_locator(FixedLocator([float(length) for length in named]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
