"""The figures of what training did: the loss, and whether the Contextual token is used."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from causal2vec.reporting.analysis.compare import compare
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import entry_name, pairs, sort_entries
from causal2vec.reporting.show.figures.style import (
    FULL_WIDTH,
    Design,
    Look,
    drawable,
    finish,
    handle,
    label_rows,
    mark,
    new_figure,
    set_scale,
)
from causal2vec.reporting.show.figures.svg import hover

_PARTS = {"whole": "whole", "contextual": "h(Contextual)", "eos": "h(EOS)"}
_SWAPS = {
    "own": ("each text its own token", Look("black", "o", "none", False)),
    "mean": ("the mean token instead", Look("black", "s", "none", True)),
    "other": ("another text's token", Look("black", "X", "none", True)),
}
_FROM: dict[str, tuple[str, Any]] = {"eos": ("attention from EOS", "-"), "text": ("attention from the text", "--")}


def loss_curves(study: Study, design: Design) -> Figure | None:
    """Training loss against step, one line per run; several seeds of a method share its look. None without losses."""
    if study.training is None or not any(study.training["loss"]):
        return None
    frame = study.training[study.training["loss"].map(bool)]
    panels = compare(sort_entries(list(dict.fromkeys(pairs(frame))), design.order), design.bases)
    figure, grid = new_figure(panels, 2.3)
    samples, windows = {}, set()
    for panel, axes in zip(panels, grid, strict=True):
        shown: list[float] = []
        for number, entry in enumerate(panel.entries):
            look = design.looks[entry]
            samples[design.name(entry, panel)] = handle(look, line=True)
            for row in frame[[found == entry for found in pairs(frame)]].to_dict("records"):
                points = pd.DataFrame(row["loss"]).sort_values("step", kind="stable")
                window = _window(len(points))
                windows.add(window)
                # A batch comes from one source of pairs, and sources differ in how hard they are.
                losses = points["loss"].astype(float).rolling(window, center=True, min_periods=1).mean().tolist()
                shown += losses
                every = max(1, len(losses) // 6)
                steps, name = points["step"].tolist(), entry_name(entry, panel.entries)
                axes.plot(
                    steps,
                    losses,
                    color=look.colour,
                    linestyle=look.line,
                    # The first methods lie on top.
                    zorder=3 - number / 100,
                    markevery=(number * every // len(panel.entries), every),
                    gid=hover(f"{name}, seed {row['seed']}: {losses[-1]:.3g} at step {steps[-1]:g}"),
                    **look.marker_style(),
                )
        set_scale(axes, "x", [])
        set_scale(axes, "y", shown)
        axes.set_ylabel("training loss")
    grid[-1].set_xlabel("training step")
    finish(figure, samples, [f"lines: running mean over {' to '.join(map(str, sorted(windows)))} steps"], design.stamp)
    return figure


def _window(steps: int) -> int:
    """Steps in the running mean: ten, fewer in a very short run, 2 % of a long one."""
    return max(1, min(10, steps // 4), steps // 50)


def audit(study: Study, design: Design) -> Figure | None:
    """Left: MRR of each part under the swap test. Right: attention to the Contextual token by layer, mean over seeds.

    One row per method with a Contextual token; None where none was audited.
    """
    if study.audit is None or "mrr_own_contextual" not in study.audit:
        return None
    frame = study.audit.dropna(subset=["mrr_own_contextual"])
    if frame.empty:
        return None
    entries = sort_entries(list(dict.fromkeys(pairs(frame))), design.order)
    figure = Figure(figsize=(FULL_WIDTH, 0.5 + 1.3 * len(entries)), layout="constrained")
    grid = figure.subplots(len(entries), 2, squeeze=False, sharex="col")
    for entry, (left, right) in zip(entries, grid, strict=True):
        rows = frame[[found == entry for found in pairs(frame)]]
        label_rows(left, list(_PARTS.values()))
        left.grid(visible=True, axis="y")
        for place, (words, look) in enumerate(_SWAPS.values()):
            swap = list(_SWAPS)[place]
            for row, (part, title) in enumerate(_PARTS.items()):
                value = float(rows[f"mrr_{swap}_{part}"].mean())
                # One below another, so that equal numbers do not hide each other.
                mark(left, value, row + 0.2 * (place - 1), look, f"{entry[0]}, {title}, {words}: {value:.1f}")
        left.set_title(drawable(f"{entry[0]}, MRR on validation pairs"), loc="left")
        for name, (words, line) in _FROM.items():
            layers = [100 * sum(v) / len(v) for v in zip(*(layer[name] for layer in rows["layers"]), strict=True)]
            gid = hover(f"{entry[0]}, {words}: {', '.join(f'{share:.1f}' for share in layers)} %")
            right.plot(range(1, len(layers) + 1), layers, line, color="black", marker=".", gid=gid)
        right.set_title("attention to the token (%)", loc="left")
        right.set_ylim(bottom=0)
    grid[-1][1].set_xlabel("layer")
    samples = {words: handle(look) for words, look in _SWAPS.values()}
    samples |= {words: Line2D([], [], linestyle=line, marker=".", color="black") for words, line in _FROM.values()}
    finish(figure, samples, ["a token that is not used leaves h(EOS) where it is when it is swapped"], design.stamp)
    return figure
