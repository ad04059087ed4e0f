"""How figures look, and how they are saved so that equal data give equal bytes."""

from __future__ import annotations

import contextlib
import io
import math
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
from causal2vec.reporting.summary import is_untrained, sort_entries, twin_of

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


def looks(methods: list[str], order: list[str]) -> dict[str, Look]:
    """A look for each method, distinct by colour, marker and line while there are no more than eight."""
    families = list(dict.fromkeys(twin_of(m) for m, _ in sort_entries([(m, "") for m in methods], order)))
    free = iter([i for i in range(len(KNOWN) + len(families)) if i >= len(KNOWN)])
    numbers = {f: KNOWN.index(f) if f in KNOWN else next(free) for f in families}
    result = {}
    for method in methods:
        n = numbers[twin_of(method)]
        marker, line = MARKERS[n % len(MARKERS)], LINES[n % len(LINES)]
        result[method] = Look(OKABE_ITO[n % len(OKABE_ITO)], marker, line, is_untrained(method))
    return result


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's own defaults plus this style, whatever the user's settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(bases: list[str], height: float) -> tuple[Figure, dict[str, Axes]]:
    """A figure of column width with one panel per base, each ``height`` inches high.

    Methods are compared on the same base, so several bases in one panel would only cover each other.
    """
    figure = Figure(figsize=(WIDTH, height * len(bases)), layout="constrained")
    grid = figure.subplots(len(bases), 1, squeeze=False)
    panels = {base: grid[i][0] for i, base in enumerate(bases)}
    if len(bases) > 1:
        for base, axes in panels.items():
            axes.set_title(base, loc="left")
    return figure, panels


def handle(look: Look, *, line: bool = False) -> Line2D:
    """A legend's sample of a look."""
    return Line2D([], [], color=look.colour, linestyle=look.line if line else "none", **look.marker_style())


def legend_below(figure: Figure, samples: dict[str, Line2D], remarks: list[str]) -> None:
    """The legend below the panels, under the remarks; the figure grows by what they need."""
    # Matplotlib drops labels that start with an underscore; a space in front keeps them.
    labels = [f" {label}" if label.startswith("_") else label for label in samples]
    longest = max((len(label) for label in labels), default=0)
    columns = 3 if longest <= 10 else 2 if longest <= 22 else 1
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
    lines = len(title.splitlines()) + math.ceil(len(labels) / columns) * 1.2 + 0.8
    figure.set_figheight(figure.get_figheight() + lines * 0.135)


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
