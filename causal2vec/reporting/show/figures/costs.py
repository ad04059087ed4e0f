"""The figures of cost: quality against cost, and throughput against length."""

from __future__ import annotations

import itertools
import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from causal2vec.efficiency.names import MIXED
from causal2vec.reporting.analysis.compare import Panel, compare, counterpart
from causal2vec.reporting.analysis.evidence import ALL
from causal2vec.reporting.analysis.savings import fixed_lengths
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, Summary, entry_name, is_untrained, pairs, sort_entries, twin_of
from causal2vec.reporting.read.schema import UNTRAINED_SUFFIX
from causal2vec.reporting.read.types import listed
from causal2vec.reporting.show.figures.labels import freeze_layout, place_labels
from causal2vec.reporting.show.figures.style import (
    INTERVALS,
    Design,
    Look,
    draw_interval,
    finish,
    handle,
    new_figure,
    score_text,
    set_scale,
)
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.figures.typeset import drawable, text_width
from causal2vec.reporting.show.tables.grid import format_number

FILLED = "filled: trained"
HOLLOW = f"hollow: untrained ({UNTRAINED_SUFFIX})"

Point = tuple[float, float]


CROWDED = 14
"""With more markers than this in a panel, their names stand in the legend."""

LABEL_WIDTH = 1.3
"""Inches; a longer name stands in the legend."""


def score_vs_time(study: Study, design: Design) -> Figure | None:
    """Average score against seconds per 1,000 texts of mixed length; None without any such pair of numbers."""
    text = "seconds per 1,000 texts (mixed lengths)"
    return _score_against(study, design, "seconds_per_1000_texts", text, "s per 1,000 texts")


def score_vs_length(study: Study, design: Design) -> Figure | None:
    """Average score against the tokens that the LLM reads per text; None without any such pair of numbers."""
    text = "tokens into the LLM per text (mean, mixed lengths)"
    return _score_against(study, design, "llm_tokens", text, "tokens per text")


def pareto(points: list[Point]) -> list[int]:
    """Indices of the points (cost, score) that no other beats in both, from cheap to dear."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def _score_against(study: Study, design: Design, column: str, text: str, unit: str) -> Figure | None:
    costs = {} if study.costs is None else mixed_costs(study.costs, column)
    points = cost_points(study.summary, costs)
    if not points:
        return None
    panels = compare(list(points), design.bases)
    figure, grid = new_figure(panels, 2.6)
    paths: list[list[list[Point]]] = []
    direct: list[list[str]] = []
    samples: dict[str, Line2D] = {}
    for panel, axes in zip(panels, grid, strict=True):
        spots = [points[entry] for entry in panel.entries]
        front = _steps([spots[i] for i in pareto(spots)])
        axes.plot(*zip(*front, strict=True), color="#777777", linestyle=":", linewidth=1, zorder=1)
        bars = [_draw_point(axes, entry, points[entry], unit, study, design) for entry in panel.entries]
        paths.append([front, *(bar for bar in bars if bar)])
        names, in_legend = _names(panel, design)
        direct.append(names)
        for entry in in_legend:
            samples.setdefault(design.name(entry, panel), handle(design.looks[entry]))
        set_scale(axes, "x", [x for x, _ in spots])
        axes.margins(x=0.12, y=0.12)
        axes.set_ylabel(f"average score (tasks: {len(study.summary.tasks)})")
    grid[-1].set_xlabel(text)
    notes = ["dotted: Pareto front"] if any(len(lines[0]) > 1 for lines in paths) else []
    notes += [INTERVALS] if any(len(lines) > 1 for lines in paths) else []
    finish(figure, samples, ["; ".join([*notes, *remarks(study.summary, points, costs)])], design.stamp)
    freeze_layout(figure)
    for panel, axes, lines, texts in zip(panels, grid, paths, direct, strict=True):
        obstacles = [place for line in lines for place in _along(axes, line)]
        place_labels(figure, axes, [points[e] for e in panel.entries], texts, obstacles)
    return figure


def _draw_point(axes: Axes, entry: Entry, point: Point, unit: str, study: Study, design: Design) -> list[Point]:
    """A marker with its interval, whose two ends are returned; none where there is no interval."""
    (x, y), look = point, design.looks[entry]
    estimate = study.evidence.estimate(entry, ALL)
    ends = [] if estimate is None or math.isnan(estimate.low) else [100 * estimate.low, 100 * estimate.high]
    if ends:
        draw_interval(axes, look, (x, x), (ends[0], ends[1]))
    # The costs are rounded as in the tables: three digits that count.
    about = f"{entry_name(entry, study.summary.entries)}: {score_text(y / 100, estimate)}"
    gid = hover(f"{about}, {format_number(x, 'sig3')} {unit}")
    axes.plot([x], [y], linestyle="none", zorder=3, gid=gid, **look.marker_style())
    return [(x, end) for end in ends]


def _names(panel: Panel, design: Design) -> tuple[list[str], list[Entry]]:
    """The text beside each marker of a panel, empty for those that stand in the legend; and those, trained first."""
    texts = []
    for entry in panel.entries:
        name = design.name(entry, panel)
        # Names that tell bases apart are too long to stand among the markers.
        plain = name == drawable(twin_of(entry[0])) and text_width(name) <= LABEL_WIDTH
        texts.append(name if plain and len(panel.entries) <= CROWDED else "")
    absent = [entry for entry, name in zip(panel.entries, texts, strict=True) if not name]
    return texts, sorted(absent, key=lambda entry: is_untrained(entry[0]))


def mixed_costs(efficiency: pd.DataFrame, column: str) -> dict[Entry, float]:
    """A cost of every entry measured on texts of mixed length."""
    mixed = efficiency[efficiency["text_tokens"] == MIXED]
    return {entry: float(cost) for entry, cost in zip(pairs(mixed), mixed[column], strict=True)}


def cost_points(summary: Summary, costs: dict[Entry, float]) -> dict[Entry, Point]:
    """Cost and average score (0 to 100) of every entry that has both.

    A method and its untrained twin run the same computation, so that one of them stands for both.
    """
    points = {}
    for entry in summary.entries:
        average = summary.average(entry, summary.tasks)
        cost = costs.get(entry, costs.get(counterpart(entry), math.nan))
        if average is not None and not math.isnan(cost):
            points[entry] = (cost, 100 * average)
    return points


def remarks(summary: Summary, points: dict[Entry, Point], costs: dict[Entry, float]) -> list[str]:
    """What the reader must know of the markers: their look, borrowed costs, what is not there."""
    borrowed = [method for method, base in points if (method, base) not in costs]
    left_out = [entry_name(e, summary.entries) for e in summary.entries if e not in points]
    found = {
        FILLED: any(is_untrained(method) for method, _ in points),
        HOLLOW: any(is_untrained(method) for method, _ in points),
        "untrained twins: cost of their method": any(is_untrained(method) for method in borrowed),
        "methods not measured: cost of their untrained twin": not all(is_untrained(method) for method in borrowed),
        f"not shown, incomplete: {listed(left_out)}": bool(left_out),
    }
    return [text for text, needed in found.items() if needed]


def _steps(front: list[Point]) -> list[Point]:
    """The front as a staircase: between two points, the cheaper one's score is what its cost buys."""
    path = front[:1]
    for (_, before), (x, y) in itertools.pairwise(front):
        path += [(x, before), (x, y)]
    return path


def _along(axes: Axes, path: list[Point]) -> list[Point]:
    """Places along a line on the screen, a few pixels apart, for labels to keep clear of."""
    places = []
    corners = [axes.transData.transform(point) for point in path]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        count = max(2, int(math.hypot(x1 - x0, y1 - y0) / 6))
        places += [(x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count) for i in range(count + 1)]
    return places


def throughput_vs_length(study: Study, design: Design) -> Figure | None:
    """Texts per second against text length, with the range over repeats, on logarithmic axes.

    An untrained twin is drawn only where its trained method is not there, as the two would coincide.
    Without a row of a fixed length there is no figure.
    """
    rows = pd.DataFrame() if study.costs is None else fixed_lengths(study.costs)
    if rows.empty:
        return None
    entries = sort_entries(list(dict.fromkeys(pairs(rows))), design.order)
    drawn = [e for e in entries if not is_untrained(e[0]) or counterpart(e) not in entries]
    panels = compare(drawn, design.bases)
    figure, grid = new_figure(panels, 2.5)
    samples = {}
    for panel, axes in zip(panels, grid, strict=True):
        for number, entry in enumerate(panel.entries):
            own = rows[(rows["method"] == entry[0]) & (rows["base"] == entry[1])]
            _draw_throughput(axes, own, number, design.looks[entry], entry_name(entry, drawn))
            samples[design.name(entry, panel)] = handle(design.looks[entry], line=True)
        here = rows[[entry in panel.entries for entry in pairs(rows)]]
        set_scale(axes, "x", here["length"].tolist(), always=True)
        set_scale(axes, "y", here["texts_per_second"].tolist(), always=True)
        axes.set_xticks(sorted(set(here["length"])))
        axes.set_ylabel("texts per second")
    grid[-1].set_xlabel("text length (tokens of the base's tokenizer)")
    hidden = ["untrained twins not drawn"] if len(drawn) < len(entries) else []
    finish(figure, samples, ["; ".join(["bars: lowest and highest repeat", *hidden])], design.stamp)
    return figure


def _draw_throughput(axes: Axes, rows: pd.DataFrame, number: int, look: Look, name: str) -> None:
    middle = rows["texts_per_second"]
    axes.errorbar(
        rows["length"],
        middle,
        yerr=[
            (middle - rows["texts_per_second_min"]).clip(lower=0).fillna(0),
            (rows["texts_per_second_max"] - middle).clip(lower=0).fillna(0),
        ],
        color=look.colour,
        linestyle=look.line,
        # Later lines are thinner and have smaller markers, so that one that is covered still shows.
        linewidth=max(0.8, 1.8 - 0.25 * number),
        elinewidth=0.8,
        capsize=2,
    )
    for length, speed in zip(rows["length"], middle, strict=True):
        gid = hover(f"{name}: {format_number(speed, 'sig3')} texts per second of {length} tokens")
        size = max(4.5, 7.5 - 0.7 * number)
        axes.plot([length], [speed], linestyle="none", markersize=size, gid=gid, **look.marker_style())
