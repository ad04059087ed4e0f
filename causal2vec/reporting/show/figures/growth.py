"""The figure of how cost grows: time per text against the text's length."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from causal2vec.reporting.analysis.compare import compare, counterpart
from causal2vec.reporting.analysis.savings import fixed_lengths, measured_on
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import entry_name, is_untrained, pairs, sort_entries
from causal2vec.reporting.show.figures.style import Design, Look, finish, handle, new_figure, set_scale
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.tables.grid import format_number

TIME = "seconds_per_1000_texts"
"""As many milliseconds per text."""

_GUIDE = "#777777"


def cost_vs_length(study: Study, design: Design) -> Figure | None:
    """Milliseconds per text against its length, on logarithmic axes, one line per method.

    Dotted guides rise in proportion to the length. An untrained twin is drawn only where its method is not there.
    None unless two lengths were measured.
    """
    rows = pd.DataFrame() if study.costs is None else fixed_lengths(study.costs)
    if rows.empty or rows["length"].nunique() < 2:
        return None
    entries = sort_entries(list(dict.fromkeys(pairs(rows))), design.order)
    drawn = [e for e in entries if not is_untrained(e[0]) or counterpart(e) not in entries]
    panels = compare(drawn, design.bases)
    figure, grid = new_figure(panels, 2.7)
    samples = {}
    for panel, axes in zip(panels, grid, strict=True):
        here = rows[[entry in panel.entries for entry in pairs(rows)]]
        _draw_guides(axes, here)
        for number, entry in enumerate(panel.entries):
            own = here[(here["method"] == entry[0]) & (here["base"] == entry[1])]
            _draw_line(axes, own, number, design.looks[entry], entry_name(entry, drawn))
            samples[design.name(entry, panel)] = handle(design.looks[entry], line=True)
        set_scale(axes, "x", here["length"].tolist(), always=True)
        set_scale(axes, "y", here[TIME].tolist(), always=True)
        axes.set_xticks(sorted(set(here["length"])))
        axes.set_ylabel("milliseconds per text")
    grid[-1].set_xlabel("text length (tokens of the base's tokenizer)")
    remarks = ["dotted: in proportion to the length", measured_on(rows, study.manifest)]
    finish(figure, samples, ["; ".join(filter(None, remarks))], design.stamp)
    return figure


def _draw_guides(axes: Axes, rows: pd.DataFrame) -> None:
    """Straight lines of slope one through the first point of the fastest and of the slowest method."""
    shortest, longest = rows["length"].min(), rows["length"].max()
    first = rows.loc[rows["length"] == shortest, TIME]
    for start in sorted({first.min(), first.max()}):
        end = start * longest / shortest
        axes.plot([shortest, longest], [start, end], color=_GUIDE, linestyle=":", linewidth=1, zorder=1)


def _draw_line(axes: Axes, rows: pd.DataFrame, number: int, look: Look, name: str) -> None:
    # Later lines are thinner and have smaller markers, so that one that is covered still shows.
    width, size = max(0.8, 1.8 - 0.25 * number), max(4.5, 7.5 - 0.7 * number)
    axes.plot(rows["length"], rows[TIME], color=look.colour, linestyle=look.line, linewidth=width)
    for length, time in zip(rows["length"], rows[TIME], strict=True):
        gid = hover(f"{name}: {format_number(time, 'sig3')} ms per text of {length:,} tokens")
        axes.plot([length], [time], linestyle="none", gid=gid, markersize=size, **look.marker_style())
