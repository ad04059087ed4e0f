"""How figures look: one look for each method, text that fits, a legend and a stamp below."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from causal2vec.reporting.analysis.compare import Panel, compare, short_name
from causal2vec.reporting.analysis.evidence import Estimate
from causal2vec.reporting.analysis.summary import Entry, is_untrained, sort_entries, twin_of
from causal2vec.reporting.show.figures.typeset import (
    LINE_HEIGHT,
    STAMP_SIZE,
    TEXT_SIZE,
    drawable,
    line_height,
    shortened,
    text_width,
    wrapped,
)

WIDTH = 3.5
"""Inches; one column of a two-column page, so that an 8 pt font is 8 pt in print."""

OKABE_ITO = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "<", ">")
LINES: tuple[Any, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (1, 1)),
    (0, (7, 3)),
    (0, (3, 1)),
)

FULL_WIDTH = 7.0
"""Inches; both columns, for what does not fit in one."""

MARGIN = 0.05
"""Inches of paper beside text that spans the figure."""

INTERVALS = "bars: 95 % interval over test items"

_ROW_NAME = 1.3
INDENT = _ROW_NAME + 0.4
"""Inches for the name of a row, at most, and with its number of tasks."""

_HANDLE = 2.6
"""How long a legend's sample is, in sizes of the font."""

KNOWN = ("causal2vec", "last_token", "echo", "bidirectional", "encoder_only")
"""The suite's own methods look the same in every figure, whichever of them it shows."""

_RC: dict[Any, Any] = {
    "font.size": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.labelsize": TEXT_SIZE,
    "xtick.labelsize": TEXT_SIZE,
    "ytick.labelsize": TEXT_SIZE,
    "legend.fontsize": TEXT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 5.5,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.hashsalt": "causal2vec",
    "svg.fonttype": "path",
    "savefig.dpi": 300,
}


@dataclass(frozen=True)
class Look:
    """How one method is drawn; its untrained twin has the same look with a hollow marker."""

    colour: str
    marker: str
    line: Any
    hollow: bool

    def marker_style(self) -> dict[str, Any]:
        """Arguments for a marker of this look."""
        return {
            "marker": self.marker,
            "markeredgecolor": self.colour,
            "markerfacecolor": "white" if self.hollow else self.colour,
            "markeredgewidth": 1.1,
        }


@dataclass(frozen=True)
class Design:
    """What all figures of one report share.

    Attributes:
        looks: The look of every entry.
        order: Methods in display order.
        bases: The compared bases, if they are named.
        stamp: What stands at the bottom of every figure.
    """

    looks: dict[Entry, Look]
    order: list[str]
    bases: list[str] | None
    stamp: str

    def name(self, entry: Entry, panel: Panel) -> str:
        """What a panel calls an entry; the same in every figure, whichever of its rivals the figure lacks."""
        everyone = {found.base: found.entries for found in compare(list(self.looks), self.bases)}
        return drawable(short_name(entry, everyone.get(panel.base, [entry])))


def looks(entries: list[Entry], order: list[str], bases: list[str] | None) -> dict[Entry, Look]:
    """A look for each entry, distinct by colour, marker and line while there are no more than eight methods.

    Entries of one method on several bases look the same where each has a panel of its own; where they share one,
    they have their method's colour and differ by marker and line.
    """
    families = list(dict.fromkeys(twin_of(method) for method, _ in sort_entries(entries, order)))
    free = iter(range(len(KNOWN), len(KNOWN) + len(families)))
    numbers = {f: KNOWN.index(f) if f in KNOWN else next(free) for f in families}
    result = {}
    for entry in entries:
        n = numbers[twin_of(entry[0])]
        variant = _variant(entry, entries, bases)
        # These steps lead to a marker and a line that differ at first sight.
        marker, line = MARKERS[(n + 2 * variant) % len(MARKERS)], LINES[(n + 3 * variant) % len(LINES)]
        result[entry] = Look(OKABE_ITO[n % len(OKABE_ITO)], marker, line, is_untrained(entry[0]))
    return result


def _variant(entry: Entry, entries: list[Entry], bases: list[str] | None) -> int:
    """Which of its method's bases an entry is on, counting those that share a panel; 0 is the plain one."""
    method, base = entry
    if not bases or base in bases:
        return 0
    family = [(m, b) for m, b in entries if twin_of(m) == twin_of(method)]
    trained = {b for m, b in family if not is_untrained(m)}
    others = sorted({b for _, b in family if b not in bases}, key=lambda b: (b not in trained, b))
    return others.index(base) + any(b in bases for _, b in family)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's own defaults plus this style, whatever the user's settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(
    panels: list[Panel], heights: float | list[float], width: float = WIDTH, indent: float = 0.6
) -> tuple[Figure, list[Axes]]:
    """A figure with the axes of each panel below each other; ``indent`` is left of them; all measures in inches."""
    tall = heights if isinstance(heights, list) else [heights] * len(panels)
    figure = Figure(figsize=(width, sum(tall)), layout="constrained")
    grid = [row[0] for row in figure.subplots(len(panels), 1, squeeze=False, height_ratios=tall)]
    for panel, axes in zip(panels, grid, strict=True):
        if panel.title:
            axes.set_title(shortened(drawable(panel.title), width - indent - 2 * MARGIN), loc="left")
    return figure, grid


def handle(look: Look, *, line: bool = False) -> Line2D:
    """A legend's sample of a look."""
    return Line2D([], [], color=look.colour, linestyle=look.line if line else "none", **look.marker_style())


def finish(figure: Figure, samples: dict[str, Line2D], remarks: list[str], stamp: str) -> None:
    """Below the panels: remarks, the legend, and last the stamp in small print; the figure grows by what they need."""
    width, panels = figure.get_figwidth() - 2 * MARGIN, figure.get_figheight()
    small = wrapped(drawable(stamp), width, STAMP_SIZE)
    title = "\n".join(wrapped(drawable(remark), width) for remark in remarks if remark)
    foot = MARGIN + len(small.splitlines()) * line_height(STAMP_SIZE) + (MARGIN if small else 0.0)
    legend = _legend(figure, samples, title) if samples or title else None
    rise = foot if legend is None else foot + legend.get_window_extent().height / figure.dpi + MARGIN
    figure.set_figheight(panels + rise)
    bottom = rise / (panels + rise)
    cast(ConstrainedLayoutEngine, figure.get_layout_engine()).set(rect=(0, bottom, 1, 1 - bottom))
    if legend is not None:
        legend.set_bbox_to_anchor((0, foot / (panels + rise)), figure.transFigure)
    if small:
        place = (MARGIN / figure.get_figwidth(), MARGIN / (panels + rise))
        figure.text(*place, small, size=STAMP_SIZE, color="#555555", linespacing=LINE_HEIGHT).set_in_layout(False)


def _legend(figure: Figure, samples: dict[str, Line2D], title: str) -> Legend:
    labels, columns = _columns(list(samples), figure.get_figwidth() - 2 * MARGIN)
    legend = figure.legend(
        list(samples.values()),
        labels,
        loc="lower left",
        ncols=columns,
        handlelength=_HANDLE,
        handletextpad=0.5,
        columnspacing=1.0,
        borderaxespad=0,
        borderpad=MARGIN * 72 / TEXT_SIZE,
        title=title,
        title_fontsize=TEXT_SIZE,
        alignment="left",
    )
    legend.get_title().set_color("#444444")
    legend.get_title().set_linespacing(LINE_HEIGHT)
    legend.set_in_layout(False)
    return legend


def _columns(names: list[str], width: float) -> tuple[list[str], int]:
    """The legend's labels, broken where they must be, and how many fit side by side."""
    # Matplotlib drops labels that start with an underscore; a space in front keeps them.
    labels = [f" {text}" if text.startswith("_") else text for text in map(drawable, names)]
    room = width - (_HANDLE + 1) * TEXT_SIZE / 72

    def fitting(texts: list[str]) -> int:
        longest = max((text_width(line) for text in texts for line in text.splitlines()), default=0.0)
        each = longest + (_HANDLE + 1.5) * TEXT_SIZE / 72
        return max(1, min(4, len(texts), int((width + TEXT_SIZE / 72) / each)))

    # A base moves to a line of its own where that lets more columns stand side by side.
    broken = [text.replace(" (", "\n(") for text in labels]
    if fitting(broken) > fitting(labels):
        return broken, fitting(broken)
    return [text if text_width(text) <= room else wrapped(text, room) for text in labels], fitting(labels)


def label_rows(axes: Axes, labels: dict[str, int]) -> None:
    """Rows from top to bottom, named by ``labels`` (name -> how many tasks); plain numbers along them."""
    names = [f"{shortened(drawable(name), _ROW_NAME)} ({count})" for name, count in labels.items()]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    set_scale(axes, "x", [])


def draw_interval(axes: Axes, look: Look, x: tuple[float, float], y: tuple[float, float]) -> None:
    """A thin bar from one end of an interval to the other; nothing where the ends are not known."""
    if not any(map(math.isnan, (*x, *y))):
        # Caps, because bars of one colour may lie on each other.
        cap = "|" if y[0] == y[1] else "_"
        axes.plot(x, y, color=look.colour, linewidth=0.9, marker=cap, markersize=3.5, markeredgewidth=0.9, zorder=2)


def score_text(score: float, estimate: Estimate | None) -> str:
    """A score (0 to 1) times 100, with its interval if there is one."""
    if estimate is None or math.isnan(estimate.low):
        return f"{100 * score:.1f}"
    return f"{100 * score:.1f} (95 % interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def set_scale(axes: Axes, which: Literal["x", "y"], values: list[float], *, always: bool = False) -> None:
    """A logarithmic axis if the values spread more than tenfold; plain numbers either way."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    positive = bool(values) and min(values) > 0
    if positive and (always or max(values) > 10 * min(values)):
        axes.set(**{f"{which}scale": "log"})
        few = max(values) < 100 * min(values)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
