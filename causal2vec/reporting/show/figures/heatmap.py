"""Every score at one look: tasks down, methods across."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from causal2vec.reporting.analysis.compare import Panel, compare, split_trained
from causal2vec.reporting.analysis.evidence import ALL, Group
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, Summary, entry_name
from causal2vec.reporting.read.types import AVERAGE
from causal2vec.reporting.show.figures.style import (
    FULL_WIDTH,
    MARGIN,
    WIDTH,
    Design,
    drawable,
    finish,
    fitted,
    line_height,
    new_figure,
    score_text,
    text_width,
)
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.tables.grid import GAP

COLOURS = LinearSegmentedColormap.from_list("below_above", ["#E08A2E", "#FFFFFF", "#5AA2D6"], N=41)
"""Orange to white to blue; both ends are equally dark, and black text is readable on all of it."""

_LABELS, _NAMES, _CELL = 2.1, 1.75, 0.46
"""Inches for names of tasks, for names of methods, and for a cell, at most."""

_SPACE = 0.5
"""Between groups of columns, in cells."""

_DECIMAL = 0.225
"""Inches; what a bold number with a decimal needs in the smallest print."""

_MISSING = "#DDDDDD"


class _Row(NamedTuple):
    """A row: the average, a task, or the heading of a type, which has no tasks."""

    text: str
    group: Group | None
    tasks: list[str]


class _Cell(NamedTuple):
    """A score with its place, and its difference to the mean of its block; NaN and 0 where there is none."""

    entry: Entry
    x: float
    y: int
    score: float
    difference: float
    best: bool


def heatmap(study: Study, design: Design) -> Figure | None:
    """Score of every entry on every task, coloured by its difference to the mean of its block on that task.

    A block is what the tables rank among each other: the trained entries of a compared base with the controls, or
    the untrained ones. Tasks go down, so that 56 of them make the figure taller; bases stand below each other.
    None for fewer than two entries.
    """
    summary = study.summary
    if len(summary.entries) < 2:
        return None
    panels = compare(summary.entries, design.bases)
    rows = [_Row(f"{AVERAGE} ({len(summary.tasks)})", ALL, summary.tasks)]
    for kind, tasks in summary.types.items():
        rows += [_Row(kind, None, []), *(_Row(task, ("task", task), [task]) for task in tasks)]
    blocks = [[part.entries for part in split_trained([panel])] for panel in panels]
    columns = max(sum(map(len, parts)) + _SPACE * (len(parts) - 1) for parts in blocks)
    labels = min(_LABELS, max(text_width(drawable(row.text)) for row in rows)) + 0.15
    cell = min(_CELL, (FULL_WIDTH - labels - 0.2) / columns)
    width = max(WIDTH, labels + 0.2 + cell * columns)
    names = [_names(panel, cell) for panel in panels]
    tops = [max(text_width(line) for name in found.values() for line in name.split("\n")) + 0.4 for found in names]
    height = 0.17 if len(rows) < 40 else 0.145
    figure, grid = new_figure(panels, [height * len(rows) + top for top in tops], width, labels)
    cells = [_cells(summary, parts, rows) for parts in blocks]
    differences = np.abs([found.difference for panel in cells for found in panel])
    # Few outliers must not pale all the rest.
    limit = max(0.01, float(np.percentile(differences, 97)))
    for axes, parts, found, name in zip(grid, blocks, cells, names, strict=True):
        for one in found:
            _draw_cell(axes, one, rows[one.y], study, COLOURS(Normalize(-limit, limit)(one.difference)), cell)
        order = [entry for block in parts for entry in block]
        _label(axes, rows, {_column(parts, entry) + 0.5: name[entry] for entry in order})
        axes.set_xlim(0, (width - labels - 0.2) / cell)
    _colour_bar(figure, grid, limit, bool(differences.max() > limit * (1 + 1e-9)))
    remarks = {
        "colour: points above or below the mean of its group of columns": True,
        "bold: best of its group of columns": any(len(block) > 1 for parts in blocks for block in parts),
        "left group of columns: trained, right: untrained": any(len(parts) > 1 for parts in blocks),
        f"{GAP}: no score, and the mean is over the others": any(math.isnan(c.score) for found in cells for c in found),
    }
    finish(figure, {}, [text for text, holds in remarks.items() if holds], design.stamp)
    return figure


def _names(panel: Panel, cell: float) -> dict[Entry, str]:
    """The columns' names, in two lines where a column has room for them."""
    lines = 2 if cell >= 2.2 * line_height() else 1
    names = {entry: drawable(entry_name(entry, panel.entries)) for entry in panel.entries}
    return {entry: fitted(name, _NAMES, lines) for entry, name in names.items()}


def _column(blocks: list[list[Entry]], entry: Entry) -> float:
    number = next(number for number, block in enumerate(blocks) if entry in block)
    return sum(map(len, blocks[:number])) + _SPACE * number + blocks[number].index(entry)


def _cells(summary: Summary, blocks: list[list[Entry]], rows: list[_Row]) -> list[_Cell]:
    cells = []
    for block in blocks:
        for y, row in enumerate(rows):
            scores = {entry: score for entry in block if (score := summary.average(entry, row.tasks)) is not None}
            mean = math.fsum(scores.values()) / len(scores) if scores else 0.0
            best = max((f"{100 * score:5.1f}" for score in scores.values()), default="")
            for entry in block if row.group else []:
                score = scores.get(entry, math.nan)
                heavy = f"{100 * score:5.1f}" == best and len(block) > 1
                cells.append(_Cell(entry, _column(blocks, entry), y, score, scores.get(entry, mean) - mean, heavy))
    return cells


def _draw_cell(axes: Axes, cell: _Cell, row: _Row, study: Study, colour: tuple[float, ...], width: float) -> None:
    size = 7.5 if width >= 0.3 else 6.0 if width >= _DECIMAL else 6.5 if width >= 0.16 else 5.0
    missing = math.isnan(cell.score)
    estimate = study.evidence.estimate(cell.entry, row.group) if row.group else None
    value = f"{score_text(cell.score, estimate)}, {100 * cell.difference:+.1f} to the mean"
    name = f"{entry_name(cell.entry, study.summary.entries)}, {row.text}"
    gid = hover(f"{name}: {'no score' if missing else value}")
    face = _MISSING if missing else colour
    axes.add_patch(Rectangle((cell.x, cell.y), 1, 1, facecolor=face, edgecolor="white", linewidth=0.6, gid=gid))
    # Narrow cells hold whole numbers only.
    label = GAP if missing else f"{100 * cell.score:.{int(width >= _DECIMAL)}f}"
    weight = "bold" if cell.best else "normal"
    place: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
    axes.text(cell.x + 0.5, cell.y + 0.52, label, size=size, fontweight=weight, gid=gid, **place)


def _label(axes: Axes, rows: list[_Row], names: dict[float, str]) -> None:
    axes.set(ylim=(len(rows), 0))
    axes.set_yticks([y + 0.5 for y in range(len(rows))], [fitted(drawable(row.text), _LABELS, 1) for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.group in (None, ALL) else "normal")
    axes.set_xticks(list(names), list(names.values()), rotation=90, ha="center", va="bottom")
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=2)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _colour_bar(figure: Figure, grid: list[Axes], limit: float, clipped: bool) -> None:
    height = figure.get_figheight() + 2.8 * line_height()
    figure.set_figheight(height)
    bar = figure.colorbar(
        ScalarMappable(Normalize(-100 * limit, 100 * limit), COLOURS),
        ax=grid,
        location="bottom",
        fraction=0.12 / height,
        aspect=(figure.get_figwidth() - 2 * MARGIN) * 0.6 / 0.12,
        shrink=0.6,
        pad=0.01,
        extend="both" if clipped else "neither",
    )
    bar.outline.set_linewidth(0.4)
