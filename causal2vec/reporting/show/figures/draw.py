"""All figures of a study, written to files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import is_variant, pairs
from causal2vec.reporting.show.figures.captions import TITLES, captions
from causal2vec.reporting.show.figures.comparisons import ablations, forest, ranks, scores_by_type
from causal2vec.reporting.show.figures.costs import (
    cost_vs_length,
    prefix_reuse,
    score_vs_length,
    score_vs_time,
    throughput_vs_length,
)
from causal2vec.reporting.show.figures.heatmap import heatmap
from causal2vec.reporting.show.figures.savings import published_savings, shorter_faster
from causal2vec.reporting.show.figures.style import Design, looks, styled
from causal2vec.reporting.show.figures.svg import save
from causal2vec.reporting.show.figures.training import audit, loss_curves


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
