"""How figures look, and how they are saved so that equal data give equal bytes."""

from __future__ import annotations

import contextlib
import io
import itertools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from causal2vec.files import atomic_file
from causal2vec.reporting.compare import Panel, compare, short_name
from causal2vec.reporting.summary import Entry, is_untrained, sort_entries, twin_of

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

_LINE = 56
"""Characters of 8 pt that fit across a figure."""

KNOWN = ("causal2vec", "last_token", "echo", "bidirectional", "encoder_only")
"""The suite's own methods look the same in every figure, whichever of them it shows."""

_RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
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
        note: One line below every figure.
    """

    looks: dict[Entry, Look]
    order: list[str]
    bases: list[str] | None
    note: str

    def name(self, entry: Entry, panel: Panel) -> str:
        """What a panel calls an entry; the same in every figure, whichever of its rivals the figure lacks."""
        everyone = {found.base: found.entries for found in compare(list(self.looks), self.bases)}
        return short_name(entry, everyone[panel.base])


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


def new_figure(panels: list[Panel], height: float) -> tuple[Figure, list[Axes]]:
    """A figure of column width with the axes of each panel, each ``height`` inches high."""
    figure = Figure(figsize=(WIDTH, height * len(panels)), layout="constrained")
    grid = [row[0] for row in figure.subplots(len(panels), 1, squeeze=False)]
    for panel, axes in zip(panels, grid, strict=True):
        if panel.title:
            axes.set_title(panel.title, loc="left")
    return figure, grid


def handle(look: Look, *, line: bool = False) -> Line2D:
    """A legend's sample of a look."""
    return Line2D([], [], color=look.colour, linestyle=look.line if line else "none", **look.marker_style())


def legend_below(figure: Figure, samples: dict[str, Line2D], remarks: list[str]) -> None:
    """The legend below the panels, under the remarks; the figure grows by what they need."""
    # Matplotlib drops labels that start with an underscore; a space in front keeps them.
    labels = [f" {text}" if text.startswith("_") else text for text in samples]
    columns = _legend_columns(labels)
    # A base moves to a line of its own where that lets columns stand side by side, or else would not fit.
    broken = [text.replace(" (", "\n(") for text in labels]
    if _legend_columns(broken) > columns or max(map(len, labels), default=0) > _LINE - 5:
        columns, labels = _legend_columns(broken), broken
    title = "\n".join(textwrap.fill(remark, _LINE) for remark in remarks if remark)
    legend = figure.legend(
        list(samples.values()),
        labels,
        loc="outside lower left",
        ncols=columns,
        handlelength=2.6,
        handletextpad=0.5,
        columnspacing=1.0,
        borderaxespad=0.2,
        borderpad=0.2,
        title=title,
        title_fontsize=8,
        alignment="left",
    )
    legend.get_title().set_color("#444444")
    heights = [1 + text.count("\n") for text in labels]
    # Matplotlib fills column by column, the first ones with what does not divide evenly.
    deep, more = divmod(len(labels), columns)
    starts = [deep * i + min(i, more) for i in range(columns + 1)]
    rows = max(sum(heights[start:end]) for start, end in itertools.pairwise(starts))
    lines = len(title.splitlines()) + rows * 1.2 + 0.8
    figure.set_figheight(figure.get_figheight() + lines * 0.135)


def _legend_columns(labels: list[str]) -> int:
    longest = max((len(line) for text in labels for line in text.splitlines()), default=0)
    return 3 if longest <= 10 else 2 if longest <= 22 else 1


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


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG, without dates or versions; the two paths."""
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
    paths = []
    for suffix, about in metadata.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=about)
        path = folder / f"{name}.{suffix}"
        with atomic_file(path) as draft:
            draft.write_bytes(buffer.getvalue())
        paths.append(path)
    return paths
