"""The curves of `causal2vec.bench.scaling` as a table and as figures that read in black and white."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from causal2vec.bench.scaling import Point
from causal2vec.reporting.analysis.compare import Panel
from causal2vec.reporting.show.figures.style import (
    LINES,
    MARKERS,
    OKABE_ITO,
    Look,
    finish,
    handle,
    new_figure,
    set_scale,
    styled,
)
from causal2vec.reporting.show.figures.svg import hover, save
from causal2vec.reporting.show.tables.grid import format_number
from causal2vec.runtime.files import atomic_file


class Drawing(NamedTuple):
    """One figure: its title, the quantities in its panels with what the axes say, and what to look for."""

    title: str
    panels: dict[str, str]
    x: str
    caption: str


DRAWINGS = {
    "texts": Drawing(
        "Embedding more and more texts",
        {"speed": "texts per second", "memory": "MB at the peak"},
        "texts",
        "Texts per second and peak memory beyond the model against the number of texts. The speed should stay, and "
        "memory grow by no more than the vectors.",
    ),
    "lengths": Drawing(
        "Embedding longer and longer texts",
        {"tokens": "tokens per second", "memory": "MB at the peak"},
        "tokens per text",
        "Tokens per second and peak memory beyond the model against the length of the texts. A level line means that "
        "cost is linear in the length; where it falls, attention shows.",
    ),
    "batches": Drawing(
        "Training on larger and larger batches",
        {"memory": "MB at the peak"},
        "pairs per batch",
        "Peak memory of a training step beyond the model against the batch size. With gradient caching it should stay.",
    ),
    "jobs": Drawing(
        "Planning more and more jobs",
        {"seconds": "seconds"},
        "jobs",
        "Seconds that the workflow takes to plan against the number of jobs.",
    ),
}


def write_scaling(points: list[Point], stamp: str, folder: Path) -> list[Path]:
    """``scaling.csv``, and one figure (SVG and PNG) per curve that there are points of; returns all paths."""
    path = folder / "scaling.csv"
    with atomic_file(path) as draft:
        pd.DataFrame(points, columns=Point._fields).to_csv(draft, index=False, float_format="%.6g")
    paths = [path]
    with styled():
        for curve, drawing in DRAWINGS.items():
            if own := [point for point in points if point.curve == curve]:
                figure = draw(own, drawing, stamp)
                paths += save(figure, folder, f"scaling_{curve}", drawing.title, drawing.caption)
    return paths


def draw(points: list[Point], drawing: Drawing, stamp: str) -> Figure:
    """A figure of one curve, a panel for each quantity; call it within `styled`."""
    figure, grid = new_figure([Panel("", []) for _ in drawing.panels], 1.9)
    samples = {}
    looks = {
        series: Look(OKABE_ITO[n % len(OKABE_ITO)], MARKERS[n % len(MARKERS)], LINES[n % len(LINES)], n % 2 == 1)
        for n, series in enumerate(dict.fromkeys(point.series for point in points))
    }
    for axes, (quantity, label) in zip(grid, drawing.panels.items(), strict=True):
        own = [point for point in points if point.quantity == quantity]
        for series in dict.fromkeys(point.series for point in own):
            line, look = sorted(p for p in own if p.series == series), looks[series]
            middle = [p.y for p in line]
            bars = [[p.y - p.y_min for p in line], [p.y_max - p.y for p in line]]
            axes.errorbar([p.x for p in line], middle, yerr=bars, color=look.colour, linestyle=look.line, capsize=2)
            for p in line:
                gid = hover(f"{series}: {format_number(p.y, 'sig3')} {p.unit} at {p.x:,.0f} {p.x_unit}")
                axes.plot([p.x], [p.y], linestyle="none", gid=gid, **look.marker_style())
            samples[series] = handle(look, line=True)
        set_scale(axes, "x", [p.x for p in own], always=True)
        if len(ticks := sorted({p.x for p in own})) <= 5:
            axes.set_xticks(ticks)
        set_scale(axes, "y", [])
        axes.set_ylim(bottom=0, top=1.15 * max((p.y_max for p in own), default=1.0) or 1.0)
        axes.set_ylabel(label)
    grid[-1].set_xlabel(drawing.x)
    finish(figure, samples, [], stamp)
    return figure
