"""How figures look: one look for each method, text that fits, and the marks that all figures are made of."""

from __future__ import annotations

import contextlib
import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from causal2vec.reporting.analysis.compare import Panel, compare, short_name
from causal2vec.reporting.analysis.evidence import Difference, Estimate
from causal2vec.reporting.analysis.summary import Entry, is_untrained, sort_entries, twin_of
from causal2vec.reporting.read.schema import UNTRAINED_SUFFIX
from causal2vec.reporting.read.visible import one_line
from causal2vec.reporting.show.figures.svg import hover

WIDTH, FULL_WIDTH = 3.5, 7.0
"""Inches; one column of a two-column page, so that an 8 pt font is 8 pt in print, and both columns."""

MARGIN = 0.05
"""Inches of paper beside text that spans the figure."""

ROW_NAME, WIDE_NAME = 1.3, 1.75
INDENT = ROW_NAME + 0.4
"""Inches for the name of a row, at most, and where rows are methods with their bases; for the former with its ticks."""

TEXT_SIZE, STAMP_SIZE = 8.0, 6.5
"""Points."""

LINE_HEIGHT = 1.28
"""From one line of text to the next, in sizes of the font."""

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

FILLED = "filled: trained"
HOLLOW = f"hollow: untrained ({UNTRAINED_SUFFIX})"
INTERVALS = "bars: 95 % interval over test items"

GREY, DARK = "#777777", "#444444"

KNOWN = ("causal2vec", "last_token", "echo", "bidirectional", "encoder_only")
"""The suite's own methods look the same in every figure, whichever of them it shows."""

_HANDLE = 2.6
"""How long a legend's sample is, in sizes of the font."""

_BREAKS = (r"(?<=\s)|(?<=\S)(?=\+)", r"(?<=[_=,/-])", r"")
"""Where a line of text may end: between words and settings; if need be within names, or anywhere."""

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


# Text.


def drawable(text: str) -> str:
    """``text`` on one line, with a box for each character that the font lacks."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if font.get_char_index(ord(c)) else "□" for c in one_line(text))


@cache
def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """Width of one line in inches, in the default font at ``size`` points."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)
    return float(width) / 72


def line_height(size: float = TEXT_SIZE) -> float:
    """Inches from one line to the next."""
    return size * LINE_HEIGHT / 72


def wrapped(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """``text`` in lines no wider than ``width`` inches, broken within a name only where it is wider than a line."""
    return "\n".join(stripped for line in _lines(text, width, size, _BREAKS) if (stripped := line.strip()))


def _lines(text: str, width: float, size: float, breaks: tuple[str, ...]) -> list[str]:
    lines = [""]
    for piece in re.split(breaks[0], text):
        if text_width((lines[-1] + piece).rstrip(), size) <= width:
            lines[-1] += piece
        elif len(breaks) > 1 and text_width(piece.rstrip(), size) > width:
            lines += _lines(piece, width, size, breaks[1:])
        else:
            lines.append(piece)
    return lines


def fitted(text: str, width: float, lines: int = 2) -> str:
    """``text`` in at most so many lines; one that is too long has an ellipsis in its middle, as ends tell most."""

    def without(dropped: int) -> str:
        head = (len(text) - dropped + 1) // 2
        return wrapped(f"{text[:head]}…{text[head + dropped :]}" if dropped else text, width)

    return without(bisect_left(range(len(text)), True, key=lambda dropped: without(dropped).count("\n") < lines))


def score_text(score: float, estimate: Estimate | None) -> str:
    """A score (0 to 1) times 100, with its interval if there is one."""
    if estimate is None or math.isnan(estimate.low):
        return f"{100 * score:.1f}"
    return f"{100 * score:.1f} (95 % interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


# A figure: its panels, and what stands below them.


def new_figure(
    panels: list[Panel], heights: float | list[float], width: float = WIDTH, indent: float = 0.6
) -> tuple[Figure, list[Axes]]:
    """A figure with the axes of each panel below each other; ``indent`` is left of them; all measures in inches."""
    tall = heights if isinstance(heights, list) else [heights] * len(panels)
    figure = Figure(figsize=(width, sum(tall)), layout="constrained")
    grid = [row[0] for row in figure.subplots(len(panels), 1, squeeze=False, height_ratios=tall)]
    for panel, axes in zip(panels, grid, strict=True):
        if panel.title:
            axes.set_title(fitted(drawable(panel.title), width - indent - 2 * MARGIN), loc="left")
    return figure, grid


def handle(look: Look, *, line: bool = False) -> Line2D:
    """A legend's sample of a look."""
    return Line2D([], [], color=look.colour, linestyle=look.line if line else "none", **look.marker_style())


def finish(figure: Figure, samples: dict[str, Line2D], remarks: Iterable[str], stamp: str) -> None:
    """Below the panels: remarks, the legend, and last the stamp in small print; the figure grows by what they need."""
    width, panels = figure.get_figwidth() - 2 * MARGIN, figure.get_figheight()
    small = wrapped(drawable(stamp), width, STAMP_SIZE)
    title = wrapped(drawable("; ".join(filter(None, remarks))), width)
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
    sample, width = (_HANDLE + 1.5) * TEXT_SIZE / 72, figure.get_figwidth() - 2 * MARGIN
    # Matplotlib drops labels that start with an underscore; a space in front keeps them. A base has its own line.
    names = [f" {text}" if text.startswith("_") else text.replace(" (", "\n(") for text in map(drawable, samples)]
    labels = ["\n".join(wrapped(line, width - sample) or line for line in name.split("\n")) for name in names]
    longest = max((text_width(line) for label in labels for line in label.split("\n")), default=0.0)
    legend = figure.legend(
        list(samples.values()),
        labels,
        loc="lower left",
        ncols=max(1, min(4, len(labels), int((width + TEXT_SIZE / 72) / (longest + sample)))),
        handlelength=_HANDLE,
        handletextpad=0.5,
        columnspacing=1.0,
        borderaxespad=0,
        borderpad=MARGIN * 72 / TEXT_SIZE,
        title=title,
        title_fontsize=TEXT_SIZE,
        alignment="left",
    )
    legend.get_title().set(color=DARK, linespacing=LINE_HEIGHT)
    legend.set_in_layout(False)
    return legend


# Marks and axes.


def mark(axes: Axes, x: float, y: float, look: Look, about: str, **style: Any) -> Line2D:
    """One marker, which tells ``about`` on hover."""
    options: dict[str, Any] = {"linestyle": "none", "zorder": 3} | look.marker_style() | style
    [line] = axes.plot([x], [y], gid=hover(about), **options)
    return line


def draw_interval(
    axes: Axes, look: Look, found: Estimate | Difference | None, at: float, *, vertical: bool = False
) -> bool:
    """A thin bar from one end of an interval to the other, times 100; whether the interval is known."""
    if found is None or math.isnan(found.low):
        return False
    ends, there = [100 * found.low, 100 * found.high], [at, at]
    # Caps, because bars of one colour may lie on each other.
    style: dict[str, Any] = {"marker": "_" if vertical else "|", "markersize": 3.5, "markeredgewidth": 0.9}
    axes.plot(*((there, ends) if vertical else (ends, there)), color=look.colour, linewidth=0.9, zorder=2, **style)
    return True


def write_beside(axes: Axes, text: str, x: float, y: float, side: int = 1, **style: Any) -> None:
    """Text on the right of a mark, or on its left where ``side`` is -1."""
    place: dict[str, Any] = {"textcoords": "offset points", "va": "center_baseline"}
    axes.annotate(text, (x, y), (7 * side, 0), ha="left" if side > 0 else "right", **place, **style)


def move_aside(axes: Axes, artist: Artist, number: int, count: int) -> None:
    """Shift the ``number``-th of ``count`` marks sideways on the page, so that none hides another; its data stay."""
    inches = (number - (count - 1) / 2) * min(3.5, 18 / count) / 72
    artist.set_transform(artist.get_transform() + ScaledTranslation(inches, 0, axes.figure.dpi_scale_trans))


def label_rows(axes: Axes, names: list[str], width: float = ROW_NAME) -> None:
    """Rows from top to bottom with their names, in two lines where need be; plain numbers along them."""
    axes.set_yticks(range(len(names)), [fitted(drawable(name), width) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    set_scale(axes, "x", [])


def label_groups(axes: Axes, tasks: dict[str, int]) -> None:
    """Rows of several markers each, every second one shaded, named with the number of their tasks."""
    label_rows(axes, [f"{name} ({count})" for name, count in tasks.items()])
    for number in range(1, len(tasks), 2):
        axes.axhspan(number - 0.5, number + 0.5, color="#F3F3F3", zorder=0)


def within_row(row: int, place: int, count: int) -> float:
    """Where the ``place``-th of ``count`` markers of a row stands."""
    return row + 0.86 * ((place + 0.5) / count - 0.5)


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
