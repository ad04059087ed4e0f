"""The figures: quality by type, loss; and all of them, written to files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from causal2vec.errors import UserError
from causal2vec.reporting.compare import check_bases, compare
from causal2vec.reporting.costplots import (
    FILLED,
    HOLLOW,
    score_vs_length,
    score_vs_time,
    throughput_vs_length,
)
from causal2vec.reporting.schema import read_efficiency, read_training
from causal2vec.reporting.scores import read_scores
from causal2vec.reporting.style import Design, handle, legend_below, looks, new_figure, save, set_scale, styled
from causal2vec.reporting.summary import Entry, Summary, is_untrained, pairs, sort_entries, summarise, twin_of


def write_plots(
    scores: Path,
    efficiency: Path | None,
    training: list[Path],
    output: Path,
    *,
    note: str,
    order: list[str],
    bases: list[str] | None = None,
) -> list[Path]:
    """Draw every figure as SVG and PNG into the folder ``output``.

    Args:
        scores: ``scores.csv``.
        efficiency: ``efficiency.csv``; without it there are no figures of cost.
        training: ``training.json`` files; without any there are no loss curves.
        output: The folder for the figures.
        note: One line for every figure, such as the config's scale note.
        order: Methods in display order; others follow alphabetically.
        bases: The compared bases, one panel each; entries on other bases are controls, shown in every panel.
            Without any, every base has a panel.

    Returns:
        The files written.

    Raises:
        UserError: A file is missing or does not hold what it should, or a compared base has no scores.
    """
    summary = summarise(read_scores(scores), order)
    check_bases(summary.entries, bases)
    costs = None if efficiency is None else read_efficiency(efficiency)
    records = read_training(training) if training else None
    # Over everything there is, so that an entry looks the same in all figures.
    entries = [*summary.entries, *(e for frame in (costs, records) if frame is not None for e in pairs(frame))]
    design = Design(looks(list(dict.fromkeys(entries)), order, bases), order, bases, note)
    figures: dict[str, Callable[[], Figure]] = {"scores_by_type": lambda: scores_by_type(summary, design)}
    if costs is not None:
        figures["score_vs_time"] = lambda: score_vs_time(summary, costs, design)
        figures["score_vs_length"] = lambda: score_vs_length(summary, costs, design)
        figures["throughput_vs_length"] = lambda: throughput_vs_length(costs, design)
    if records is not None:
        figures["loss_curves"] = lambda: loss_curves(records, design)
    paths = []
    with styled():
        for name, draw in figures.items():
            paths += save(draw(), output, name)
    return paths


def scores_by_type(summary: Summary, design: Design) -> Figure:
    """Average score per task type, one line of markers per method and its untrained twin."""
    panels = compare(summary.entries, design.bases)
    rows = [list(dict.fromkeys(_row_of(entry) for entry in panel.entries)) for panel in panels]
    height = 0.08 + 0.085 * max(len(names) for names in rows)
    figure, grid = new_figure(panels, 0.5 + len(summary.types) * height)
    samples: dict[str, Entry] = {}
    gaps = False
    for panel, axes, names in zip(panels, grid, rows, strict=True):
        for number, tasks in enumerate(summary.types.values()):
            axes.axhspan(number - 0.5, number + 0.5, color="#F3F3F3" if number % 2 else "white", zorder=0)
            for entry in panel.entries:
                value = summary.average(entry, tasks)
                if value is None:
                    gaps = True
                    continue
                y = number + 0.8 * ((names.index(_row_of(entry)) + 0.5) / len(names) - 0.5)
                axes.plot([100 * value], [y], linestyle="none", zorder=3, **design.looks[entry].marker_style())
        axes.set_yticks(range(len(summary.types)), [f"{t} ({len(n)})" for t, n in summary.types.items()])
        axes.set_ylim(len(summary.types) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        set_scale(axes, "x", [])
        # One sample per line of markers: the filled one, if there is one.
        for name in names:
            first, *_ = sorted((e for e in panel.entries if _row_of(e) == name), key=lambda e: is_untrained(e[0]))
            samples.setdefault(design.name(first, panel), first)
    grid[-1].set_xlabel("average score")
    twins = [FILLED, HOLLOW] if any(is_untrained(method) for method, _ in summary.entries) else []
    remarks = ["; ".join([*twins, *(["incomplete averages not shown"] if gaps else [])]), design.note]
    legend_below(figure, {text: handle(design.looks[entry]) for text, entry in samples.items()}, remarks)
    return figure


def _row_of(entry: Entry) -> Entry:
    """The line of markers that an entry shares with its twin on the same base."""
    return twin_of(entry[0]), entry[1]


def loss_curves(training: pd.DataFrame, design: Design) -> Figure:
    """Training loss against step, one line per run; several seeds of a method share its look."""
    runs = [(entry, points) for entry, points in zip(pairs(training), training["loss"], strict=True) if points]
    if not runs:
        raise UserError("no training record holds any loss; train with at least one logged step")
    panels = compare(sort_entries(list(dict.fromkeys(entry for entry, _ in runs)), design.order), design.bases)
    figure, grid = new_figure(panels, 2.3)
    samples = {}
    for panel, axes in zip(panels, grid, strict=True):
        values: list[float] = []
        for number, entry in enumerate(panel.entries):
            look = design.looks[entry]
            samples[design.name(entry, panel)] = handle(look, line=True)
            for points in (found for owner, found in runs if owner == entry):
                steps, losses = _smooth(points)
                values += losses
                every = max(1, len(losses) // 6)
                axes.plot(
                    steps,
                    losses,
                    color=look.colour,
                    linestyle=look.line,
                    markevery=(number * every // len(panel.entries), every),
                    **look.marker_style(),
                )
        set_scale(axes, "x", [])
        set_scale(axes, "y", values)
        axes.set_ylabel("training loss")
    grid[-1].set_xlabel("training step")
    widths = sorted({_window(len(points)) for _, points in runs})
    legend_below(figure, samples, [f"lines: running mean over {' to '.join(map(str, widths))} steps", design.note])
    return figure


def _window(steps: int) -> int:
    """Steps in the running mean: ten, fewer in a very short run, 2 % of a long one."""
    return max(1, min(10, steps // 4), steps // 50)


def _smooth(points: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    """Steps and losses, the latter as a centred running mean.

    A batch comes from one source of pairs, and sources differ in how hard they are: single steps hide the course.
    """
    ordered = sorted(points, key=lambda point: point["step"])
    losses = pd.Series([float(point["loss"]) for point in ordered])
    smooth = losses.rolling(_window(len(losses)), center=True, min_periods=1).mean()
    return [point["step"] for point in ordered], smooth.tolist()
