"""The figures of cost: quality against cost, and throughput against length."""

from __future__ import annotations

import itertools
import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from causal2vec.errors import UserError
from causal2vec.reporting.labels import freeze_layout, place_labels
from causal2vec.reporting.schema import MIXED, UNTRAINED_SUFFIX
from causal2vec.reporting.style import handle, legend_below, looks, new_figure, set_scale
from causal2vec.reporting.summary import (
    Entry,
    Summary,
    entry_name,
    is_untrained,
    sort_entries,
    twin_of,
)

FILLED = "filled: trained"
HOLLOW = f"hollow: untrained ({UNTRAINED_SUFFIX})"


def score_vs_time(summary: Summary, efficiency: pd.DataFrame, note: str, order: list[str]) -> Figure:
    """Average score against seconds per 1,000 texts of mixed length."""
    label = "seconds per 1,000 texts (mixed lengths)"
    return _score_against(summary, efficiency, "seconds_per_1000_texts", label, note, order)


def score_vs_length(summary: Summary, efficiency: pd.DataFrame, note: str, order: list[str]) -> Figure:
    """Average score against the tokens that the LLM reads per text."""
    label = "tokens into the LLM per text (mean, mixed lengths)"
    return _score_against(summary, efficiency, "llm_tokens", label, note, order)


def pareto(points: list[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, score) that no other beats in both, from cheap to dear."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def _score_against(
    summary: Summary, efficiency: pd.DataFrame, column: str, label: str, note: str, order: list[str]
) -> Figure:
    points = _cost_points(summary, efficiency, column)
    if not points:
        raise UserError(
            f"no method has both an average over all tasks and a number in {column!r} of a row with "
            f"text_tokens {MIXED!r} of the efficiency file; complete its evaluation or its measurement"
        )
    left_out = [entry_name(e, summary.entries) for e in summary.entries if e not in points]
    style = looks([method for method, _ in points], order)
    figure, panels = new_figure(list(dict.fromkeys(base for _, base in points)), 2.6)
    paths = {}
    for base, axes in panels.items():
        here = {method: point for (method, b), point in points.items() if b == base}
        spots = list(here.values())
        paths[base] = _steps([spots[i] for i in pareto(spots)])
        axes.plot(*zip(*paths[base], strict=True), color="#777777", linestyle=":", linewidth=1, zorder=1)
        for method, (x, y) in here.items():
            axes.plot([x], [y], linestyle="none", zorder=3, **style[method].marker_style())
        set_scale(axes, "x", [x for x, _ in spots])
        axes.margins(x=0.12, y=0.12)
        axes.set_ylabel(f"average score (tasks: {len(summary.tasks)})")
    axes.set_xlabel(label)
    twins = [FILLED, HOLLOW] if any(look.hollow for look in style.values()) else []
    rest = [f"not shown, incomplete: {', '.join(left_out)}"] if left_out else []
    legend_below(figure, {}, ["; ".join([*twins, "dotted: Pareto front", *rest]), note])
    freeze_layout(figure)
    for base, axes in panels.items():
        here = {method: point for (method, b), point in points.items() if b == base}
        names = [twin_of(method) for method in here]
        place_labels(figure, axes, list(here.values()), names, _along(axes, paths[base]))
    return figure


def _cost_points(summary: Summary, efficiency: pd.DataFrame, column: str) -> dict[Entry, tuple[float, float]]:
    """Cost and average score (0 to 100) of every entry that has both."""
    mixed = efficiency[efficiency["text_tokens"] == MIXED]
    costs = {
        (m, b): float(cost) for m, b, cost in zip(mixed["method"], mixed["base"], mixed[column], strict=True)
    }
    points = {}
    for entry in summary.entries:
        average = summary.average(entry, summary.tasks)
        if average is not None and not math.isnan(costs.get(entry, math.nan)):
            points[entry] = (costs[entry], 100 * average)
    return points


def _steps(front: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The front as a staircase: between two points, the cheaper one's score is what its cost buys."""
    path = front[:1]
    for (_, before), (x, y) in itertools.pairwise(front):
        path += [(x, before), (x, y)]
    return path


def _along(axes: Axes, path: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places along a line on the screen, a few pixels apart, for labels to keep clear of."""
    places = []
    corners = [axes.transData.transform(point) for point in path]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        count = max(2, int(math.hypot(x1 - x0, y1 - y0) / 6))
        places += [(x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count) for i in range(count + 1)]
    return places


def throughput_vs_length(efficiency: pd.DataFrame, note: str, order: list[str]) -> Figure:
    """Texts per second against text length, with the range over repeats, on logarithmic axes.

    An untrained twin is drawn only where its trained method is not there, as the two would coincide.
    """
    rows = efficiency[efficiency["text_tokens"] != MIXED]
    if rows.empty:
        raise UserError("the efficiency file has no row of a fixed text length; measure at least one length")
    rows = rows.assign(length=rows["text_tokens"].astype(int)).sort_values("length")
    entries = sort_entries(list(dict.fromkeys(zip(rows["method"], rows["base"], strict=True))), order)
    drawn = [e for e in entries if not is_untrained(e[0]) or (twin_of(e[0]), e[1]) not in entries]
    methods = list(dict.fromkeys(method for method, _ in drawn))
    style = looks(methods, order)
    figure, panels = new_figure(list(dict.fromkeys(base for _, base in drawn)), 2.5)
    for base, axes in panels.items():
        for number, method in enumerate(methods):
            mine = rows[(rows["method"] == method) & (rows["base"] == base)]
            middle = mine["texts_per_second"]
            axes.errorbar(
                mine["length"],
                middle,
                yerr=[
                    (middle - mine["texts_per_second_min"]).clip(lower=0).fillna(0),
                    (mine["texts_per_second_max"] - middle).clip(lower=0).fillna(0),
                ],
                color=style[method].colour,
                linestyle=style[method].line,
                # Later lines are thinner and have smaller markers, so that one that is covered still shows.
                markersize=max(3.5, 7.5 - number),
                linewidth=max(0.8, 1.8 - 0.25 * number),
                elinewidth=0.8,
                capsize=2,
                **style[method].marker_style(),
            )
        here = rows[rows["base"] == base]
        set_scale(axes, "x", here["length"].tolist(), always=True)
        set_scale(axes, "y", here["texts_per_second"].tolist(), always=True)
        axes.set_xticks(sorted(set(here["length"])))
        axes.set_ylabel("texts per second")
    axes.set_xlabel("text length (tokens of the base's tokenizer)")
    hidden = ["untrained twins not drawn"] if len(drawn) < len(entries) else []
    remarks = ["; ".join(["bars: lowest and highest repeat", *hidden]), note]
    legend_below(figure, {method: handle(style[method], line=True) for method in methods}, remarks)
    return figure
