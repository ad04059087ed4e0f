"""The figure of what it changes to read once what all texts share."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from causal2vec.efficiency.names import PLAIN, READ_AGAIN, READ_ONCE
from causal2vec.reporting.analysis.compare import Panel, compare
from causal2vec.reporting.analysis.savings import (
    SETTINGS,
    Measured,
    measured_on,
    text_rank,
    text_words,
    with_variants,
)
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, entry_name, sort_entries
from causal2vec.reporting.show.figures.growth import TIME
from causal2vec.reporting.show.figures.style import INDENT, Design, finish, new_figure, set_scale
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.figures.typeset import drawable, shortened, wrapped
from causal2vec.reporting.show.tables.grid import format_number

_NAME = 1.35
"""Inches for the name of a row."""

_ROW = 0.25
_REMARKS = (
    "filled: a beginning that all texts share is read for each of them; open: read once, where the method allows it; "
    "right: rank without and with it"
)


def prefix_reuse(study: Study, design: Design) -> Figure | None:
    """Time per text of every method without and with reuse of what its texts share, and the ranks by it.

    One panel per compared base and setting, on the shortest and on the longest texts measured so; None where no
    method was measured with reuse behind an instruction or examples.
    """
    if study.conditions is None:
        return None
    measured = Measured(study.conditions)
    entries = sort_entries(measured.entries, with_variants(design.order, measured.entries))
    parts = [
        (Panel(panel.base, members, panel.heading(_title(*case))), case)
        for panel in compare(entries, design.bases)
        for case in _cases(measured, panel)
        if (members := [e for e in panel.entries if measured.own(e, case[0], READ_AGAIN, case[1])])
    ]
    if not parts:
        return None
    panels = [panel for panel, _ in parts]
    figure, grid = new_figure(panels, [0.55 + _ROW * len(panel.entries) for panel in panels], indent=INDENT)
    for (panel, case), axes in zip(parts, grid, strict=True):
        _draw_panel(axes, panel, [_times(measured, entry, case) for entry in panel.entries], design)
    grid[-1].set_xlabel("milliseconds per text")
    rows = study.conditions[study.conditions["setting"] != PLAIN]
    finish(figure, {}, ["; ".join(filter(None, [_REMARKS, measured_on(rows, study.manifest)]))], design.stamp)
    return figure


def _title(setting: str, text: str) -> str:
    return f"{setting}, {text_words(text)}"


def _cases(measured: Measured, panel: Panel) -> list[tuple[str, str]]:
    """For each setting, the shortest and the longest texts on which somebody was measured with reuse."""
    found = []
    for setting in [name for name in SETTINGS if name != PLAIN]:
        texts = [
            text
            for case, text in measured.cases
            if case == setting and any(measured.own(entry, setting, READ_ONCE, text) for entry in panel.entries)
        ]
        texts = [text for text in texts if text.isdigit()] or texts[:1]
        texts.sort(key=text_rank)
        found += [(setting, text) for text in dict.fromkeys([*texts[:1], *texts[-1:]])]
    return found


def _times(measured: Measured, entry: Entry, case: tuple[str, str]) -> tuple[float, float | None]:
    """Milliseconds per text without reuse, and with it where there is any."""
    again, once = (measured.own(entry, case[0], reuse, case[1]) or {} for reuse in (READ_AGAIN, READ_ONCE))
    return float(again[TIME]), once.get(TIME)


def _draw_panel(axes: Axes, panel: Panel, times: list[tuple[float, float | None]], design: Design) -> None:
    before, after = _ranks([again for again, _ in times]), _ranks([once or again for again, once in times])
    for y, (entry, (again, once)) in enumerate(zip(panel.entries, times, strict=True)):
        look, name = replace(design.looks[entry], hollow=False), entry_name(entry, panel.entries)
        about = f"{name}: {format_number(again, 'sig3')} ms per text"
        if once is not None:
            saved = f"{name}, read once: {format_number(once, 'sig3')} ms per text"
            axes.plot([again, once], [y, y], color=look.colour, linewidth=1.4, zorder=2)
            style = replace(look, hollow=True).marker_style()
            axes.plot([once], [y], linestyle="none", zorder=4, gid=hover(saved), **style)
        axes.plot([again], [y], linestyle="none", zorder=3, gid=hover(about), **look.marker_style())
        text = f"{before[y]} → {after[y]}" if before[y] != after[y] else str(before[y])
        axes.text(1.03, y, text, transform=axes.get_yaxis_transform(), va="center")
    names = [_row_name(design.name(entry, panel)) for entry in panel.entries]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    set_scale(axes, "x", [time for pair in times for time in pair if time is not None])
    if axes.get_xscale() == "log":
        # Fewer numbers than usual, as names take half the width.
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 100 * low else (1,)))


def _row_name(name: str) -> str:
    """A variant's name in two lines."""
    lines = [shortened(drawable(line), _NAME) for line in name.replace("+", " +", 1).split(" ", 1)]
    return "\n".join(wrapped(line, _NAME) for line in lines)


def _ranks(times: list[float]) -> list[int]:
    """The rank of every time, 1 being the shortest; equal times share one."""
    return [1 + sum(other < time for other in times) for time in times]
