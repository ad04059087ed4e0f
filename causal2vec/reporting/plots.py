"""The figures: quality by type, loss; and all of them, written to files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from causal2vec.errors import UserError
from causal2vec.reporting.costplots import (
    FILLED,
    HOLLOW,
    score_vs_length,
    score_vs_time,
    throughput_vs_length,
)
from causal2vec.reporting.schema import read_efficiency, read_training
from causal2vec.reporting.scores import read_scores
from causal2vec.reporting.style import handle, legend_below, looks, new_figure, save, set_scale, styled
from causal2vec.reporting.summary import Summary, sort_entries, summarise, twin_of


def write_plots(
    scores: Path,
    efficiency: Path | None,
    training: list[Path],
    output: Path,
    *,
    note: str,
    order: list[str],
) -> list[Path]:
    """Draw every figure as SVG and PNG into the folder ``output``.

    Args:
        scores: ``scores.csv``.
        efficiency: ``efficiency.csv``; without it there are no figures of cost.
        training: ``training.json`` files; without any there are no loss curves.
        output: The folder for the figures.
        note: One line for every figure, such as the config's scale note.
        order: Methods in display order; others follow alphabetically.

    Returns:
        The files written.

    Raises:
        UserError: A file is missing or does not hold what it should.
    """
    summary = summarise(read_scores(scores), order)
    figures: dict[str, Callable[[], Figure]] = {
        "scores_by_type": lambda: scores_by_type(summary, note, order)
    }
    if efficiency is not None:
        costs = read_efficiency(efficiency)
        figures["score_vs_time"] = lambda: score_vs_time(summary, costs, note, order)
        figures["score_vs_length"] = lambda: score_vs_length(summary, costs, note, order)
        figures["throughput_vs_length"] = lambda: throughput_vs_length(costs, note, order)
    if training:
        records = read_training(training)
        figures["loss_curves"] = lambda: loss_curves(records, note, order)
    paths = []
    with styled():
        for name, draw in figures.items():
            paths += save(draw(), output, name)
    return paths


def scores_by_type(summary: Summary, note: str, order: list[str]) -> Figure:
    """Average score per task type, one line of markers per method."""
    style = looks([method for method, _ in summary.entries], order)
    bases = list(dict.fromkeys(base for _, base in summary.entries))
    families = list(dict.fromkeys(twin_of(method) for method, _ in summary.entries))
    figure, panels = new_figure(bases, 0.5 + len(summary.types) * (0.08 + 0.085 * len(families)))
    gaps = False
    for base, axes in panels.items():
        for row, tasks in enumerate(summary.types.values()):
            axes.axhspan(row - 0.5, row + 0.5, color="#F3F3F3" if row % 2 else "white", zorder=0)
            for method, _ in (entry for entry in summary.entries if entry[1] == base):
                value = summary.average((method, base), tasks)
                if value is None:
                    gaps = True
                    continue
                y = row + 0.8 * ((families.index(twin_of(method)) + 0.5) / len(families) - 0.5)
                axes.plot([100 * value], [y], linestyle="none", zorder=3, **style[method].marker_style())
        axes.set_yticks(range(len(summary.types)), [f"{t} ({len(n)})" for t, n in summary.types.items()])
        axes.set_ylim(len(summary.types) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        set_scale(axes, "x", [])
    axes.set_xlabel("average score")
    twins = [FILLED, HOLLOW] if any(look.hollow for look in style.values()) else []
    remarks = ["; ".join([*twins, *(["incomplete averages not shown"] if gaps else [])]), note]
    # One sample per method and twin pair: the filled one, if there is one.
    samples = {f: handle(style.get(f) or next(style[m] for m in style if twin_of(m) == f)) for f in families}
    legend_below(figure, samples, remarks)
    return figure


def loss_curves(training: pd.DataFrame, note: str, order: list[str]) -> Figure:
    """Training loss against step, one line per run; several seeds of a method share its look."""
    runs = list(zip(training["method"], training["base"], training["loss"], strict=True))
    entries = sort_entries(list(dict.fromkeys((m, b) for m, b, points in runs if points)), order)
    if not entries:
        raise UserError("no training record holds any loss; train with at least one logged step")
    methods = list(dict.fromkeys(method for method, _ in entries))
    style = looks(methods, order)
    figure, panels = new_figure(list(dict.fromkeys(base for _, base in entries)), 2.3)
    for base, axes in panels.items():
        values: list[float] = []
        for number, method in enumerate(methods):
            for points in (p for m, b, p in runs if (m, b) == (method, base) and p):
                ordered = sorted(points, key=lambda point: point["step"])
                losses = pd.Series([float(point["loss"]) for point in ordered])
                # A centred mean over 2 % of the run: enough to tell lines apart, too little to move them.
                smooth = losses.rolling(max(1, len(losses) // 50), center=True, min_periods=1).mean()
                values += smooth.tolist()
                every = max(1, len(losses) // 6)
                axes.plot(
                    [point["step"] for point in ordered],
                    smooth,
                    color=style[method].colour,
                    linestyle=style[method].line,
                    markevery=(number * every // len(methods), every),
                    **style[method].marker_style(),
                )
        set_scale(axes, "x", [])
        set_scale(axes, "y", values)
        axes.set_ylabel("training loss")
    axes.set_xlabel("training step")
    legend_below(figure, {method: handle(style[method], line=True) for method in methods}, [note])
    return figure
