"""Every score at one look: tasks down, methods across."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from causal2vec.reporting.analysis.compare import Panel, compare, split_trained
from causal2vec.reporting.analysis.evidence import ALL, Group
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, entry_name
from causal2vec.reporting.read.types import AVERAGE
from causal2vec.reporting.show.figures.style import FULL_WIDTH, MARGIN, WIDTH, Design, finish, new_figure, score_text
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.figures.typeset import drawable, line_height, shortened, text_width
from causal2vec.reporting.show.tables.grid import GAP

COLOURS = LinearSegmentedColormap.from_list("below_above", ["#E08A2E", "#FFFFFF", "#5AA2D6"], N=41)
"""Orange to white to blue; both ends are equally dark, and black text is readable on all of it."""

_LABELS = 2.1
_CELL = 0.46
_SPACE = 0.5
"""Inches for names of tasks and for a cell, at most; and between groups of columns, in cells."""

_DECIMAL = 0.225
"""Inches; what a bold number with a decimal needs in the smallest print."""

_NAMES = 1.6
_MISSING = "#DDDDDD"


@dataclass
class _Layout:
    """Where everything stands, in cells: columns per group of entries, and rows."""

    blocks: list[list[Entry]]
    rows: list[tuple[str, Group | None, list[str]]]
    columns: dict[Entry, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, block in enumerate(self.blocks):
            start = sum(map(len, self.blocks[:number])) + _SPACE * number
            self.columns |= {entry: start + i for i, entry in enumerate(block)}

    @property
    def width(self) -> float:
        """The whole width in cells."""
        return sum(map(len, self.blocks)) + _SPACE * (len(self.blocks) - 1)


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
    rows: list[tuple[str, Group | None, list[str]]] = [(f"{AVERAGE} ({len(summary.tasks)})", ALL, summary.tasks)]
    for kind, tasks in summary.types.items():
        rows += [(kind, None, []), *((task, ("task", task), [task]) for task in tasks)]
    layouts = [_Layout([p.entries for p in split_trained([panel])], rows) for panel in panels]
    labels = min(_LABELS, max(text_width(drawable(text)) for text, _, _ in rows)) + 0.15
    cell = min(_CELL, *((FULL_WIDTH - labels - 0.2) / layout.width for layout in layouts))
    width = max(WIDTH, labels + 0.2 + cell * max(layout.width for layout in layouts))
    row = 0.17 if len(rows) < 40 else 0.145
    top = [
        min(_NAMES, max(text_width(line) for name in _names(p, cell) for line in name.splitlines())) + 0.15
        for p in panels
    ]
    figure, grid = new_figure(panels, [row * len(rows) + t + 0.25 for t in top], width, labels)
    differences = [_differences(study, layout) for layout in layouts]
    limit, clipped = _limit(differences)
    for panel, axes, layout, found in zip(panels, grid, layouts, differences, strict=True):
        _draw(axes, study, layout, found, Normalize(-limit, limit), cell)
        _label(axes, panel, layout, cell)
        axes.set_xlim(0, (width - labels - 0.2) / cell)
    _colour_bar(figure, grid, limit, clipped, width)
    finish(figure, {}, [_remark(layouts, differences)], design.stamp)
    return figure


def _names(panel: Panel, cell: float) -> list[str]:
    """The columns' names; a base stands on a line of its own where the column has room for two."""
    names = [drawable(entry_name(entry, panel.entries)) for entry in panel.entries]
    parts = [name.split(" (", maxsplit=1) if cell >= 2.2 * line_height() else [name] for name in names]
    return ["\n(".join(shortened(part, _NAMES) for part in lines) for lines in parts]


def _differences(study: Study, layout: _Layout) -> dict[tuple[Entry, str], float | None]:
    """(entry, row) -> score minus the mean of its block, over those of the block that have one."""
    found: dict[tuple[Entry, str], float | None] = {}
    for block in layout.blocks:
        for text, group, tasks in layout.rows:
            if group is None:
                continue
            scores = {entry: study.summary.average(entry, tasks) for entry in block}
            known = [score for score in scores.values() if score is not None]
            for entry, score in scores.items():
                found[entry, text] = None if score is None else score - math.fsum(known) / len(known)
    return found


def _limit(differences: list[dict[tuple[Entry, str], float | None]]) -> tuple[float, bool]:
    """Where the colours end: few outliers must not pale all the rest; and whether anything lies beyond."""
    sizes = np.array([abs(d) for found in differences for d in found.values() if d is not None] or [0.0])
    limit = max(0.01, float(np.percentile(sizes, 97)))
    return limit, bool(sizes.max() > limit * (1 + 1e-9))


def _draw(
    axes: Axes,
    study: Study,
    layout: _Layout,
    differences: dict[tuple[Entry, str], float | None],
    scale: Normalize,
    cell: float,
) -> None:
    size = 7.5 if cell >= 0.3 else 6.0 if cell >= _DECIMAL else 6.5 if cell >= 0.16 else 5.0
    for y, (text, group, tasks) in enumerate(layout.rows):
        for block in layout.blocks if group else []:
            shown = {entry: study.summary.average(entry, tasks) for entry in block}
            best = max((f"{100 * s:5.1f}" for s in shown.values() if s is not None), default="")
            for entry, score in shown.items():
                x, difference = layout.columns[entry], differences[entry, text]
                colour = _MISSING if difference is None else COLOURS(scale(difference))
                about = _about(study, entry, text, group, difference)
                axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6, gid=about))
                label = GAP if score is None else f"{100 * score:5.1f}"
                heavy = label == best and len(block) > 1
                # Narrow cells hold whole numbers only.
                label = label if score is None or cell >= _DECIMAL else f"{100 * score:.0f}"
                axes.text(
                    x + 0.5,
                    y + 0.52,
                    label.strip(),
                    size=size,
                    ha="center",
                    va="center_baseline",
                    fontweight="bold" if heavy else "normal",
                    gid=about,
                )


def _about(study: Study, entry: Entry, text: str, group: Group | None, difference: float | None) -> str:
    name = f"{entry_name(entry, study.summary.entries)}, {text}"
    if difference is None or group is None:
        return hover(f"{name}: no score")
    tasks = study.summary.tasks if group == ALL else [group[1]]
    score = study.summary.average(entry, tasks) or 0.0
    value = score_text(score, study.evidence.estimate(entry, group))
    return hover(f"{name}: {value}, {100 * difference:+.1f} to the mean")


def _label(axes: Axes, panel: Panel, layout: _Layout, cell: float) -> None:
    count = len(layout.rows)
    axes.set(ylim=(count, 0))
    axes.set_yticks([y + 0.5 for y in range(count)], [shortened(drawable(text), _LABELS) for text, _, _ in layout.rows])
    for label, (_, group, _) in zip(axes.get_yticklabels(), layout.rows, strict=True):
        label.set_fontweight("bold" if group in (None, ALL) else "normal")
    by_entry = dict(zip(panel.entries, _names(panel, cell), strict=True))
    axes.set_xticks(
        [x + 0.5 for x in layout.columns.values()],
        [by_entry[entry] for entry in layout.columns],
        rotation=90,
        ha="center",
        va="bottom",
    )
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=2)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _colour_bar(figure: Figure, grid: list[Axes], limit: float, clipped: bool, width: float) -> None:
    height = figure.get_figheight() + 2.8 * line_height()
    figure.set_figheight(height)
    bar = figure.colorbar(
        ScalarMappable(Normalize(-100 * limit, 100 * limit), COLOURS),
        ax=grid,
        location="bottom",
        fraction=0.12 / height,
        aspect=(width - 2 * MARGIN) * 0.6 / 0.12,
        shrink=0.6,
        pad=0.01,
        extend="both" if clipped else "neither",
    )
    bar.outline.set_linewidth(0.4)


def _remark(layouts: list[_Layout], differences: list[dict[tuple[Entry, str], float | None]]) -> str:
    texts = ["colour: points above or below the mean of its group of columns"]
    texts += ["bold: best of its group of columns"] if any(len(b) > 1 for x in layouts for b in x.blocks) else []
    if any(len(layout.blocks) > 1 for layout in layouts):
        texts.append("left group of columns: trained, right: untrained")
    if any(difference is None for found in differences for difference in found.values()):
        texts.append(f"{GAP}: no score, and the mean is over the others")
    return "; ".join(texts)
