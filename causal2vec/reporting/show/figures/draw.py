"""The figures: quality by type, loss; and all of them, written to files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from causal2vec.reporting.analysis.compare import Panel, compare
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import (
    Entry,
    entry_name,
    is_untrained,
    is_variant,
    pairs,
    sort_entries,
    twin_of,
)
from causal2vec.reporting.show.figures.audit import audit
from causal2vec.reporting.show.figures.captions import TITLES, captions
from causal2vec.reporting.show.figures.costs import FILLED, HOLLOW, score_vs_length, score_vs_time, throughput_vs_length
from causal2vec.reporting.show.figures.growth import cost_vs_length
from causal2vec.reporting.show.figures.heatmap import heatmap
from causal2vec.reporting.show.figures.ranks import ranks
from causal2vec.reporting.show.figures.reuse import prefix_reuse
from causal2vec.reporting.show.figures.savings import published_savings, shorter_faster
from causal2vec.reporting.show.figures.statistics import ablations, forest
from causal2vec.reporting.show.figures.style import (
    INDENT,
    INTERVALS,
    Design,
    draw_interval,
    finish,
    handle,
    label_rows,
    looks,
    new_figure,
    score_text,
    set_scale,
    styled,
)
from causal2vec.reporting.show.figures.svg import hover, save

__all__ = ["captions", "draw_plots", "loss_curves", "scores_by_type", "write_plots"]


def write_plots(study: Study, output: Path) -> list[Path]:
    """Draw every figure that the study has data for, as SVG and PNG into the folder ``output``.

    Variants of an ablation appear in the figure of the ablations alone, and where their cost was measured on purpose.

    Returns:
        The files written; `captions` has a text for each base name.
    """
    with styled():
        figures = draw_plots(study)
        return [
            path
            for name, figure in figures.items()
            for path in save(figure, output, name, TITLES[name], captions()[name])
        ]


def draw_plots(study: Study) -> dict[str, Figure]:
    """Base name -> figure, for every figure that the study has data for; to be called under `styled`."""
    plain = _without_variants(study)
    # Over everything there is, so that an entry looks the same in all figures.
    frames = [frame for frame in (plain.costs, plain.training, plain.conditions) if frame is not None]
    entries = [*plain.summary.entries, *(entry for frame in frames for entry in pairs(frame))]
    style = looks(list(dict.fromkeys(entries)), study.order, study.bases)
    design = Design(style, study.order, study.bases, study.stamp)
    drawn = {name: draw(study if name == "ablations" else plain, design) for name, draw in FIGURES.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _without_variants(study: Study) -> Study:
    def plain(frame: pd.DataFrame | None) -> pd.DataFrame | None:
        return None if frame is None else frame[~frame["method"].map(is_variant).astype(bool)]

    entries = [entry for entry in study.summary.entries if not is_variant(entry[0])]
    return replace(
        study,
        summary=replace(study.summary, entries=entries),
        costs=plain(study.costs),
        training=plain(study.training),
        audit=None if study.audit is None or study.audit.empty else plain(study.audit),
    )


def scores_by_type(study: Study, design: Design) -> Figure | None:
    """Average score per task type, one line of markers per method and its untrained twin; None without entries."""
    summary = study.summary
    panels = compare(summary.entries, design.bases) if summary.entries else []
    if not panels:
        return None
    rows = [list(dict.fromkeys(_row_of(entry) for entry in panel.entries)) for panel in panels]
    heights = [0.4 + len(summary.types) * (0.08 + 0.1 * len(names)) for names in rows]
    figure, grid = new_figure(panels, heights, indent=INDENT)
    samples: dict[str, Entry] = {}
    for panel, axes, names in zip(panels, grid, rows, strict=True):
        _draw_types(axes, panel, names, study, design)
        # One sample per line of markers: the filled one, if there is one.
        for name in names:
            first, *_ = sorted((e for e in panel.entries if _row_of(e) == name), key=lambda e: is_untrained(e[0]))
            samples.setdefault(design.name(first, panel), first)
    grid[-1].set_xlabel("average score")
    groups = list(summary.types.items())
    gaps = any(summary.average(entry, tasks) is None for entry in summary.entries for _, tasks in groups)
    kinds = {("type", name) for name, _ in groups}
    known = any(group in kinds and not math.isnan(e.low) for (_, group), e in study.evidence.estimates.items())
    remarks = [FILLED, HOLLOW] if any(is_untrained(method) for method, _ in summary.entries) else []
    remarks += [*([INTERVALS] if known else []), *(["incomplete averages not shown"] if gaps else [])]
    finish(figure, {t: handle(design.looks[e]) for t, e in samples.items()}, ["; ".join(remarks)], design.stamp)
    return figure


def _draw_types(axes: Axes, panel: Panel, names: list[Entry], study: Study, design: Design) -> None:
    types = study.summary.types
    for number, (kind, tasks) in enumerate(types.items()):
        axes.axhspan(number - 0.5, number + 0.5, color="#F3F3F3" if number % 2 else "white", zorder=0)
        for entry in panel.entries:
            value = study.summary.average(entry, tasks)
            if value is None:
                continue
            y = number + 0.86 * ((names.index(_row_of(entry)) + 0.5) / len(names) - 0.5)
            estimate = study.evidence.estimate(entry, ("type", kind))
            if estimate is not None:
                draw_interval(axes, design.looks[entry], (100 * estimate.low, 100 * estimate.high), (y, y))
            gid = hover(f"{entry_name(entry, study.summary.entries)}, {kind}: {score_text(value, estimate)}")
            style = design.looks[entry].marker_style()
            axes.plot([100 * value], [y], linestyle="none", zorder=3, gid=gid, markersize=5, **style)
    label_rows(axes, {kind: len(tasks) for kind, tasks in types.items()})


def _row_of(entry: Entry) -> Entry:
    """The line of markers that an entry shares with its twin on the same base."""
    return twin_of(entry[0]), entry[1]


def loss_curves(study: Study, design: Design) -> Figure | None:
    """Training loss against step, one line per run; several seeds of a method share its look. None without losses."""
    frame = pd.DataFrame(columns=["method", "base", "seed", "loss"]) if study.training is None else study.training
    found = zip(pairs(frame), frame["seed"], frame["loss"], strict=True)
    runs = [(entry, seed, points) for entry, seed, points in found if points]
    if not runs:
        return None
    panels = compare(sort_entries(list(dict.fromkeys(entry for entry, _, _ in runs)), design.order), design.bases)
    figure, grid = new_figure(panels, 2.3)
    samples = {}
    for panel, axes in zip(panels, grid, strict=True):
        values: list[float] = []
        for number, entry in enumerate(panel.entries):
            samples[design.name(entry, panel)] = handle(design.looks[entry], line=True)
            for seed, points in ((s, p) for owner, s, p in runs if owner == entry):
                steps, losses = _smooth(points)
                values += losses
                every = max(1, len(losses) // 6)
                axes.plot(
                    steps,
                    losses,
                    color=design.looks[entry].colour,
                    linestyle=design.looks[entry].line,
                    markevery=(number * every // len(panel.entries), every),
                    gid=hover(
                        f"{entry_name(entry, panel.entries)}, seed {seed}: {losses[-1]:.3g} at step {steps[-1]:g}"
                    ),
                    **design.looks[entry].marker_style(),
                )
        set_scale(axes, "x", [])
        set_scale(axes, "y", values)
        axes.set_ylabel("training loss")
    grid[-1].set_xlabel("training step")
    widths = sorted({_window(len(points)) for _, _, points in runs})
    finish(figure, samples, [f"lines: running mean over {' to '.join(map(str, widths))} steps"], design.stamp)
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


FIGURES: dict[str, Callable[[Study, Design], Figure | None]] = {
    "score_vs_time": score_vs_time,
    "score_vs_length": score_vs_length,
    "throughput_vs_length": throughput_vs_length,
    "cost_vs_length": cost_vs_length,
    "prefix_reuse": prefix_reuse,
    "shorter_faster": shorter_faster,
    "published_savings": published_savings,
    "scores_by_type": scores_by_type,
    "forest": forest,
    "ranks": ranks,
    "heatmap": heatmap,
    "ablations": ablations,
    "audit": audit,
    "loss_curves": loss_curves,
}
"""Base name of the files -> what draws the figure, in the order in which a reader wants them."""
