"""The figure of the audit: what each part finds with its own, the mean and another token, and who looks at it."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, pairs, sort_entries
from causal2vec.reporting.show.figures.style import FULL_WIDTH, Design, finish
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.figures.typeset import drawable

_PARTS = {"whole": "whole", "contextual": "h(Contextual)", "eos": "h(EOS)"}
_SWAPS = {
    "own": ("each text its own token", "o", "black"),
    "mean": ("the mean token instead", "s", "white"),
    "other": ("another text's token", "X", "white"),
}
_FROM: dict[str, tuple[str, Any]] = {"eos": ("attention from EOS", "-"), "text": ("attention from the text", "--")}


def audit(study: Study, design: Design) -> Figure | None:
    """Left: MRR of each part under the swap test. Right: attention to the Contextual token by layer, mean over seeds.

    One row per method with a Contextual token; None where none was audited.
    """
    if study.audit is None or "mrr_own_contextual" not in study.audit:
        return None
    frame = study.audit.dropna(subset=["mrr_own_contextual"])
    if frame.empty:
        return None
    entries: list[Entry] = sort_entries(list(dict.fromkeys(pairs(frame))), design.order)
    figure = Figure(figsize=(FULL_WIDTH, 0.5 + 1.3 * len(entries)), layout="constrained")
    grid = figure.subplots(len(entries), 2, squeeze=False, sharex="col")
    for entry, (left, right) in zip(entries, grid, strict=True):
        rows = frame[(frame["method"] == entry[0]) & (frame["base"] == entry[1])]
        for swap, (words, marker, fill) in _SWAPS.items():
            for place, (part, title) in enumerate(_PARTS.items()):
                value = float(rows[f"mrr_{swap}_{part}"].mean())
                gid = hover(f"{entry[0]}, {title}, {words}: {value:.1f}")
                style = {"marker": marker, "color": "black", "markerfacecolor": fill}
                left.plot([value], [place], linestyle="none", zorder=3, gid=gid, **style)
        left.set_yticks(range(len(_PARTS)), list(_PARTS.values()))
        left.set_ylim(len(_PARTS) - 0.5, -0.5)
        left.set_title(drawable(f"{entry[0]}, MRR on validation pairs"), loc="left")
        for name, (words, line) in _FROM.items():
            layers = [sum(v) / len(v) for v in zip(*(row[name] for row in rows["layers"]), strict=True)]
            gid = hover(f"{entry[0]}, {words}: {', '.join(f'{100 * share:.1f}' for share in layers)} %")
            right.plot(range(1, len(layers) + 1), [100 * x for x in layers], line, color="black", marker=".", gid=gid)
        right.set_title("attention to the token (%)", loc="left")
        right.set_ylim(bottom=0)
    grid[-1][1].set_xlabel("layer")
    samples = {
        words: Line2D([], [], linestyle="none", marker=marker, color="black", markerfacecolor=fill)
        for words, marker, fill in _SWAPS.values()
    }
    samples |= {words: Line2D([], [], linestyle=line, marker=".", color="black") for words, line in _FROM.values()}
    finish(figure, samples, ["a token that is not used leaves h(EOS) where it is when it is swapped"], design.stamp)
    return figure
