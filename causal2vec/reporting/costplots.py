"""The figures of cost: quality against cost, and throughput against length."""

from __future__ import annotations

import itertools
import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from causal2vec.errors import UserError
from causal2vec.reporting.compare import compare, counterpart
from causal2vec.reporting.labels import freeze_layout, place_labels
from causal2vec.reporting.schema import MIXED, UNTRAINED_SUFFIX
from causal2vec.reporting.style import Design, handle, legend_below, new_figure, set_scale
from causal2vec.reporting.summary import Entry, Summary, entry_name, is_untrained, listed, pairs, sort_entries, twin_of

FILLED = "filled: trained"
HOLLOW = f"hollow: untrained ({UNTRAINED_SUFFIX})"

Point = tuple[float, float]


def score_vs_time(summary: Summary, efficiency: pd.DataFrame, design: Design) -> Figure:
    """Average score against seconds per 1,000 texts of mixed length."""
    text = "seconds per 1,000 texts (mixed lengths)"
    return _score_against(summary, efficiency, "seconds_per_1000_texts", text, design)


def score_vs_length(summary: Summary, efficiency: pd.DataFrame, design: Design) -> Figure:
    """Average score against the tokens that the LLM reads per text."""
    text = "tokens into the LLM per text (mean, mixed lengths)"
    return _score_against(summary, efficiency, "llm_tokens", text, design)


def pareto(points: list[Point]) -> list[int]:
    """Indices of the points (cost, score) that no other beats in both, from cheap to dear."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def _score_against(summary: Summary, efficiency: pd.DataFrame, column: str, text: str, design: Design) -> Figure:
    costs = mixed_costs(efficiency, column)
    points = cost_points(summary, costs)
    if not points:
        raise UserError(
            f"no method has both an average over all tasks and a number in {column!r} of a row with "
            f"text_tokens {MIXED!r} of the efficiency file; complete its evaluation or its measurement"
        )
    panels = compare(list(points), design.bases)
    figure, grid = new_figure(panels, 2.6)
    paths: list[list[Point]] = []
    direct: list[list[str]] = []
    samples: dict[str, Line2D] = {}
    for panel, axes in zip(panels, grid, strict=True):
        spots = [points[entry] for entry in panel.entries]
        paths.append(_steps([spots[i] for i in pareto(spots)]))
        axes.plot(*zip(*paths[-1], strict=True), color="#777777", linestyle=":", linewidth=1, zorder=1)
        for entry in panel.entries:
            x, y = points[entry]
            axes.plot([x], [y], linestyle="none", zorder=3, **design.looks[entry].marker_style())
        names = {entry: design.name(entry, panel) for entry in panel.entries}
        # Names that tell bases apart are too long to stand among the markers.
        long = {e: name for e, name in names.items() if name != twin_of(e[0])}
        samples |= {name: handle(design.looks[e]) for e, name in long.items()}
        direct.append(["" if e in long else name for e, name in names.items()])
        set_scale(axes, "x", [x for x, _ in spots])
        axes.margins(x=0.12, y=0.12)
        axes.set_ylabel(f"average score (tasks: {len(summary.tasks)})")
    grid[-1].set_xlabel(text)
    front = ["dotted: Pareto front"] if any(len(path) > 1 for path in paths) else []
    legend_below(figure, samples, ["; ".join([*front, *remarks(summary, points, costs)]), design.note])
    freeze_layout(figure)
    for panel, axes, path, texts in zip(panels, grid, paths, direct, strict=True):
        place_labels(figure, axes, [points[e] for e in panel.entries], texts, _along(axes, path))
    return figure


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


def throughput_vs_length(efficiency: pd.DataFrame, design: Design) -> Figure:
    """Texts per second against text length, with the range over repeats, on logarithmic axes.

    An untrained twin is drawn only where its trained method is not there, as the two would coincide.
    """
    rows = efficiency[efficiency["text_tokens"] != MIXED]
    if rows.empty:
        raise UserError("the efficiency file has no row of a fixed text length; measure at least one length")
    rows = rows.assign(length=rows["text_tokens"].astype(int)).sort_values("length")
    entries = sort_entries(list(dict.fromkeys(pairs(rows))), design.order)
    drawn = [e for e in entries if not is_untrained(e[0]) or counterpart(e) not in entries]
    panels = compare(drawn, design.bases)
    figure, grid = new_figure(panels, 2.5)
    samples = {}
    for panel, axes in zip(panels, grid, strict=True):
        for number, entry in enumerate(panel.entries):
            _draw_throughput(
                axes, rows[(rows["method"] == entry[0]) & (rows["base"] == entry[1])], entry, number, design
            )
            samples[design.name(entry, panel)] = handle(design.looks[entry], line=True)
        here = rows[[entry in panel.entries for entry in pairs(rows)]]
        set_scale(axes, "x", here["length"].tolist(), always=True)
        set_scale(axes, "y", here["texts_per_second"].tolist(), always=True)
        axes.set_xticks(sorted(set(here["length"])))
        axes.set_ylabel("texts per second")
    grid[-1].set_xlabel("text length (tokens of the base's tokenizer)")
    hidden = ["untrained twins not drawn"] if len(drawn) < len(entries) else []
    legend_below(figure, samples, ["; ".join(["bars: lowest and highest repeat", *hidden]), design.note])
    return figure


def _draw_throughput(axes: Axes, rows: pd.DataFrame, entry: Entry, number: int, design: Design) -> None:
    look, middle = design.looks[entry], rows["texts_per_second"]
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
        markersize=max(4.5, 7.5 - 0.7 * number),
        linewidth=max(0.8, 1.8 - 0.25 * number),
        elinewidth=0.8,
        capsize=2,
        **look.marker_style(),
    )
