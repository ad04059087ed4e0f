"""The figures of comparison: scores by type of task, differences, ranks, and the values of an ablated setting."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from causal2vec.reporting.analysis.compare import Panel, compare, split_trained
from causal2vec.reporting.analysis.evidence import ALL, Difference, Group, Standing
from causal2vec.reporting.analysis.study import Ablation, Study
from causal2vec.reporting.analysis.summary import Entry, entry_name, is_untrained, twin_of
from causal2vec.reporting.read.types import AVERAGE
from causal2vec.reporting.show.figures.style import (
    DARK,
    FILLED,
    FULL_WIDTH,
    HOLLOW,
    INDENT,
    INTERVALS,
    STAMP_SIZE,
    WIDE_NAME,
    WIDTH,
    Design,
    Look,
    draw_interval,
    finish,
    fitted,
    handle,
    label_groups,
    label_rows,
    mark,
    new_figure,
    score_text,
    within_row,
    write_beside,
)
from causal2vec.reporting.show.figures.svg import hover

REFERENCE = "causal2vec"
"""The method that the suite is about; where it is absent, the best one takes its place."""

SIGNIFICANT = "filled: significant (interval without zero, p < 0.05, no seed against it); hollow: not"
BARS = "bars: paired 95 % interval over test items"
BEYOND = "at an edge: beyond it, with its value"

_OUTLIER = 3.0
"""Differences that lie further outside the middle half than so many times its width do not set the scale."""

_VALUE_ROW, _RANK_ROW, _BAR = 0.17, 0.3, 6.0
"""Inches per value of a setting and per rank; points per bar beside the ranks."""

Cliques = list[list[Entry]]
Standings = dict[Entry, Standing]


def scores_by_type(study: Study, design: Design) -> Figure | None:
    """Average score per task type, one line of markers per method and its untrained twin; None without entries."""
    summary = study.summary
    panels = compare(summary.entries, design.bases) if summary.entries else []
    if not panels:
        return None
    rows = [list(dict.fromkeys(_line_of(entry) for entry in panel.entries)) for panel in panels]
    heights = [0.4 + len(summary.types) * (0.08 + 0.1 * len(lines)) for lines in rows]
    figure, grid = new_figure(panels, heights, indent=INDENT)
    samples: dict[str, Line2D] = {}
    known, gaps = False, False
    for panel, axes, lines in zip(panels, grid, rows, strict=True):
        label_groups(axes, {kind: len(tasks) for kind, tasks in summary.types.items()})
        # The filled marker of a line is its sample in the legend, if there is one.
        shown = {_line_of(e): e for e in sorted(panel.entries, key=lambda e: is_untrained(e[0]), reverse=True)}
        samples |= {design.name(shown[line], panel): handle(design.looks[shown[line]]) for line in lines}
        for entry in panel.entries:
            look, place = design.looks[entry], lines.index(_line_of(entry))
            for row, (kind, tasks) in enumerate(summary.types.items()):
                score, y = summary.average(entry, tasks), within_row(row, place, len(lines))
                if score is None:
                    gaps = True
                    continue
                estimate = study.evidence.estimate(entry, ("type", kind))
                known |= draw_interval(axes, look, estimate, y)
                about = f"{entry_name(entry, summary.entries)}, {kind}: {score_text(score, estimate)}"
                mark(axes, 100 * score, y, look, about, markersize=5)
    grid[-1].set_xlabel("average score")
    remarks = [FILLED, HOLLOW] if any(is_untrained(method) for method, _ in summary.entries) else []
    remarks += [*([INTERVALS] if known else []), *(["incomplete averages not shown"] if gaps else [])]
    finish(figure, samples, remarks, design.stamp)
    return figure


def _line_of(entry: Entry) -> Entry:
    """The line of markers that an entry shares with its twin on the same base."""
    return twin_of(entry[0]), entry[1]


def forest(study: Study, design: Design) -> Figure | None:
    """Each method minus the reference, on average and per type of task, with intervals; a panel per compared base.

    Trained methods, or untrained ones where nothing is trained. None unless something can be compared.
    """
    summary, evidence = study.summary, study.evidence
    groups: dict[str, Group] = {AVERAGE: ALL, **{name: ("type", name) for name in summary.types}}
    found: list[tuple[Panel, Entry]] = []
    for panel in compare(summary.entries, design.bases):
        if reference := _reference(study, panel):
            rivals = [e for e in panel.entries if e != reference and is_untrained(e[0]) == is_untrained(reference[0])]
            tested = [e for e in rivals if any(evidence.difference(e, reference, group) for group in groups.values())]
            found += [(replace(panel, entries=tested), reference)] if tested else []
    if not found:
        return None
    heights = [0.45 + len(groups) * (0.1 + 0.1 * len(panel.entries)) for panel, _ in found]
    figure, grid = new_figure([panel for panel, _ in found], heights, indent=INDENT)
    samples: dict[str, Line2D] = {}
    differences: list[Difference | None] = []
    cut = False
    for (panel, reference), axes in zip(found, grid, strict=True):
        label_groups(axes, {AVERAGE: len(summary.tasks)} | {name: len(tasks) for name, tasks in summary.types.items()})
        here = {
            (row, place): evidence.difference(entry, reference, group)
            for row, group in enumerate(groups.values())
            for place, entry in enumerate(panel.entries)
        }
        differences += here.values()
        cut |= _scale_differences(axes, list(here.values()))
        for (row, place), difference in here.items():
            entry = panel.entries[place]
            about = f"{entry_name(entry, panel.entries)} minus {reference[0]}, {list(groups.values())[row][1]}"
            y = within_row(row, place, len(panel.entries))
            if difference is not None:
                _draw_difference(axes, difference, y, design.looks[entry], about)
        samples |= {design.name(e, panel): handle(replace(design.looks[e], hollow=False)) for e in panel.entries}
        axes.set_xlabel(f"difference to {fitted(design.name(reference, panel), 0.8, 1)} (points)")
    finish(figure, samples, [*_remarks(differences), BEYOND if cut else ""], design.stamp)
    return figure


def _reference(study: Study, panel: Panel) -> Entry | None:
    """Whom a panel's entries are compared with; None where nothing has an average."""
    for untrained in (False, True):
        members = [e for e in panel.entries if is_untrained(e[0]) == untrained]
        if len(members) < 2:
            continue
        # A reference that lacks a task is still one for the types that it has.
        if (REFERENCE, panel.base) in members:
            return REFERENCE, panel.base
        averages = {e: study.summary.average(e, study.summary.tasks) for e in members}
        known = {e: average for e, average in averages.items() if average is not None}
        return max(known, key=lambda e: known[e]) if known else None
    return None


def _scale_differences(axes: Axes, differences: list[Difference | None]) -> bool:
    """The axis from the lowest to the highest end of an interval, outliers left out; whether there are any."""
    known = [difference for difference in differences if difference is not None]
    values = np.array([difference.difference for difference in known] or [0.0])
    low, high = np.percentile(values, [25, 75])
    reach = _OUTLIER * max(high - low, 0.01)
    inside = [d for d in known if low - reach <= d.difference <= high + reach]
    ends = [0.0, *(end for d in inside for end in (d.low, d.high, d.difference) if not math.isnan(end))]
    margin = 8 * (max(ends) - min(ends)) or 1.0
    axes.set_xlim(100 * min(ends) - margin, 100 * max(ends) + margin)
    axes.axvline(0, color=DARK, linewidth=0.8, zorder=1)
    return len(inside) < len(known)


def _draw_difference(axes: Axes, found: Difference, y: float, look: Look, about: str) -> None:
    """A difference with its interval; one beyond the axis stands at its edge with an arrow and a number."""
    value, (left, right) = 100 * found.difference, axes.get_xlim()
    about += f": {value:+.1f}"
    if not math.isnan(found.low):
        about += f" (95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f})"
    if not math.isnan(found.p_holm):
        about += f", p = {found.p_holm:.2g}"
    look, inner = replace(look, hollow=not found.significant), 0.03 * (right - left)
    if left <= value <= right:
        draw_interval(axes, look, found, y)
    elif value < left:
        write_beside(axes, f"← {value:.1f}", left + inner, y, size=STAMP_SIZE)
    else:
        write_beside(axes, f"{value:.1f} →", right - inner, y, -1, size=STAMP_SIZE)
    mark(axes, value if left <= value <= right else min(max(value, left + inner), right - inner), y, look, about)


def _remarks(found: list[Difference | None]) -> list[str]:
    known = [difference for difference in found if difference is not None]
    tested = any(not math.isnan(difference.low) for difference in known)
    texts = [BARS, SIGNIFICANT] if tested else ["hollow: not tested, as there are no results per test item"]
    return [*texts, *(["incomplete averages not shown"] if len(known) < len(found) else [])]


class _Line(NamedTuple):
    """One line of the figure of ablations: a heading, or a value with its difference to the default."""

    label: str
    entry: Entry | None = None
    default: Entry | None = None


def ablations(study: Study, design: Design) -> Figure | None:
    """Each value of an ablated setting minus the method's own, over all tasks; None without scored variants."""
    scored = set(study.summary.entries)
    bases = [p.base for p in compare(study.summary.entries, design.bases)] if scored else []
    lines = {base: found for base in bases if (found := _lines(study.ablations, base, scored))}
    if not lines:
        return None
    panels = [Panel(base, [], base if len(bases) > 1 else "") for base in lines]
    figure, grid = new_figure(panels, [0.5 + _VALUE_ROW * len(found) for found in lines.values()], indent=INDENT)
    differences: list[Difference | None] = []
    cut = False
    for own, axes in zip(lines.values(), grid, strict=True):
        label_rows(axes, [line.label for line in own])
        here = {
            y: _difference(study, line.entry, line.default)
            for y, line in enumerate(own)
            if line.entry and line.default and line.entry != line.default
        }
        differences += here.values()
        cut |= _scale_differences(axes, list(here.values()))
        for y, (line, text) in enumerate(zip(own, axes.get_yticklabels(), strict=True)):
            text.set_fontweight("normal" if line.entry else "bold")
            if line.entry and line.entry == line.default:
                axes.plot([0], [y], linestyle="none", marker="|", color=DARK, markersize=8, zorder=3)
            elif line.default and (difference := here[y]):
                look = design.looks.get(line.default) or Look("#000000", "o", "-", False)
                _draw_difference(axes, difference, y, look, f"{line.label} minus the default")
        axes.tick_params(axis="y", length=0)
    grid[-1].set_xlabel("difference to the default (points)")
    finish(figure, {}, [*_remarks(differences), BEYOND if cut else ""], design.stamp)
    return figure


def _lines(asked: list[Ablation], base: str, scored: set[Entry]) -> list[_Line]:
    lines = []
    for ablation in asked:
        values = {value: (method, base) for value, method in ablation.variants.items() if (method, base) in scored}
        default = (ablation.method, base)
        if default not in scored or not set(values.values()) - {default}:
            continue
        lines.append(_Line(ablation.axis.rpartition(".")[2] + (" (assumed)" if ablation.assumed else "")))
        for value, entry in values.items():
            lines.append(_Line(value + (" (default)" if entry == default else ""), entry, default))
    return lines


def _difference(study: Study, entry: Entry, default: Entry) -> Difference | None:
    """Over all tasks, from the statistics or, without them, from the scores alone; None where a task is missing."""
    found = study.evidence.difference(entry, default, ALL)
    first, second = (study.summary.average(e, study.summary.tasks) for e in (entry, default))
    if found is not None or first is None or second is None:
        return found
    gap = math.nan
    return Difference(first - second, gap, gap, gap, gap, 0, 0, gap, gap, gap, gap, gap)


def ranks(study: Study, design: Design) -> Figure | None:
    """Mean rank over all tasks, one panel per compared base and block (trained, untrained) of two or more methods.

    A bar joins the entries of a largest set of which no two differ significantly on average over all tasks.
    None where no block has standings.
    """
    blocks: list[tuple[Panel, Standings]] = []
    for panel in split_trained(compare(study.summary.entries, design.bases)) if study.summary.entries else []:
        places = {e: s for e in panel.entries if (s := study.evidence.standings.get((panel.base, e)))}
        if len(places) > 1:
            blocks.append((panel, dict(sorted(places.items(), key=lambda item: item[1].mean_rank))))
    if not blocks:
        return None
    bars = [joined(study, list(places)) for _, places in blocks]
    # All panels have one scale, and the bars stand beside it.
    width = min(FULL_WIDTH, WIDTH + 0.3 + max(map(len, bars)) * _BAR / 72)
    figure, grid = new_figure([p for p, _ in blocks], [0.4 + _RANK_ROW * len(s) for _, s in blocks], width, INDENT)
    last = max(len(places) for _, places in blocks)
    for (panel, places), cliques, axes in zip(blocks, bars, grid, strict=True):
        label_rows(axes, [design.name(entry, panel) for entry in places], WIDE_NAME)
        for y, (entry, standing) in enumerate(places.items()):
            about = f"{entry_name(entry, list(places))}: {_about(standing)}"
            mark(axes, standing.mean_rank, y, design.looks[entry], about)
            side = 1 if standing.mean_rank < last - 0.5 else -1
            write_beside(axes, f"{standing.mean_rank:.1f}", standing.mean_rank, y, side, color="#555555")
        _draw_bars(axes, cliques, list(places))
        axes.set_xlim(0.7, last + 0.3)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    grid[-1].set_xlabel("mean rank")
    finish(figure, {}, _rank_remarks(study, blocks, any(bars)), design.stamp)
    return figure


def _draw_bars(axes: Axes, cliques: Cliques, entries: list[Entry]) -> None:
    """On the right of the axes, a bar for each set with a dot in the row of each of its members."""
    across = blended_transform_factory(axes.transAxes, axes.transData)
    for number, members in enumerate(cliques, start=1):
        rows = [entries.index(entry) for entry in members]
        gid = hover(f"no significant difference: {', '.join(entry_name(e, entries) for e in members)}")
        [bar] = axes.plot([1] * len(rows), rows, "-o", color="black", linewidth=1.8, markersize=3.2, gid=gid)
        bar.set(transform=across + ScaledTranslation(number * _BAR / 72, 0, axes.figure.dpi_scale_trans), clip_on=False)


def joined(study: Study, entries: list[Entry]) -> Cliques:
    """The largest sets of entries of which no two differ significantly, each in the order of ``entries``.

    Where a pair was not tested nothing is known of it, and it is not joined.
    """
    alike: dict[Entry, set[Entry]] = {entry: set() for entry in entries}
    for first, second in itertools.combinations(entries, 2):
        found = study.evidence.difference(first, second, ALL)
        if found is not None and not math.isnan(found.p_holm) and not found.significant:
            alike[first].add(second)
            alike[second].add(first)
    found_sets = _cliques(alike, set(), set(entries), set())
    ordered = [[entry for entry in entries if entry in members] for members in found_sets if len(members) > 1]
    return sorted(ordered, key=lambda members: [entries.index(entry) for entry in members])


def _cliques(
    alike: dict[Entry, set[Entry]], chosen: set[Entry], free: set[Entry], done: set[Entry]
) -> list[set[Entry]]:
    """Maximal cliques, by Bron and Kerbosch's algorithm with a pivot."""
    if not free and not done:
        return [chosen]
    pivot = max(sorted(free | done), key=lambda entry: len(alike[entry] & free))
    found = []
    for entry in sorted(free - alike[pivot]):
        found += _cliques(alike, chosen | {entry}, free & alike[entry], done & alike[entry])
        free, done = free - {entry}, done | {entry}
    return found


def _about(standing: Standing) -> str:
    wins = f"win rate {100 * standing.win_rate:.0f} %"
    return f"mean rank {standing.mean_rank:.2f}, Borda rank {standing.borda_rank}, {wins}"


def _rank_remarks(study: Study, blocks: list[tuple[Panel, Standings]], bars: bool) -> list[str]:
    found = [study.evidence.difference(*pair, ALL) for _, s in blocks for pair in itertools.combinations(s, 2)]
    tested = [difference is not None and not math.isnan(difference.p_holm) for difference in found]
    incomplete = any(len(places) < len(panel.entries) for panel, places in blocks)
    remarks = {
        f"mean rank over {len(study.summary.tasks)} tasks, 1 is best": True,
        "bars on the right join methods whose averages do not differ significantly (paired permutation test with "
        "interval, not Nemenyi's test)": bars,
        "no bars: all averages differ significantly (paired permutation test)": all(tested) and not bars,
        "no bars: not tested, as there are no results per test item": not any(tested),
        "pairs that were not tested are not joined": any(tested) and not all(tested),
        "incomplete methods not ranked": incomplete,
    }
    return [text for text, holds in remarks.items() if holds]
