"""Mean ranks, with bars that join what cannot be told apart (after Demšar, 2006, with another test)."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from causal2vec.reporting.analysis.compare import Panel, compare, split_trained
from causal2vec.reporting.analysis.evidence import ALL, Standing
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, entry_name
from causal2vec.reporting.show.figures.style import FULL_WIDTH, MARGIN, WIDTH, Design, finish, new_figure
from causal2vec.reporting.show.figures.svg import hover
from causal2vec.reporting.show.figures.typeset import line_height, shortened, text_width

_AXIS = 1.0
"""Inches for the axis, at least."""

_ROW = line_height() * 1.08
_LEVEL = 0.075
"""Inches from one row of names, or of bars, to the next."""

_TOP = 0.24
"""Inches for the axis's numbers."""

Cliques = list[list[Entry]]


def ranks(study: Study, design: Design) -> Figure | None:
    """Mean rank over all tasks, one panel per compared base and block (trained, untrained) of two or more methods.

    A bar joins the entries of a largest set of which no two differ significantly on average over all tasks.
    None where no block has standings.
    """
    evidence = study.evidence
    standings: list[tuple[Panel, dict[Entry, Standing]]] = []
    for panel in split_trained(compare(study.summary.entries, design.bases)) if study.summary.entries else []:
        found = {e: evidence.standings[panel.base, e] for e in panel.entries if (panel.base, e) in evidence.standings}
        if len(found) > 1:
            standings.append((panel, dict(sorted(found.items(), key=lambda item: item[1].mean_rank))))
    if not standings:
        return None
    cliques = [joined(study, list(found)) for _, found in standings]
    levels = [_levels(groups, list(found)) for groups, (_, found) in zip(cliques, standings, strict=True)]
    heights = [_height(len(found), level) for (_, found), level in zip(standings, levels, strict=True)]
    longest = max(_needed([design.name(entry, panel) for entry in found]) for panel, found in standings)
    width = min(FULL_WIDTH, max(WIDTH, longest))
    figure, grid = new_figure([panel for panel, _ in standings], [0.22 + height for height in heights], width, 0)
    for (panel, found), level, height, axes in zip(standings, levels, heights, grid, strict=True):
        axes.set_axis_off()
        axes.set(xlim=(0, width - 2 * MARGIN), ylim=(height, 0))
        _draw(axes, panel, found, level, design)
    finish(figure, {}, [_remark(study, standings, cliques)], design.stamp)
    return figure


def joined(study: Study, entries: list[Entry]) -> Cliques:
    """The largest sets of entries of which no two differ significantly, each in the order of ``entries``.

    Where a pair was not tested nothing is known of it, and it is not joined.
    """
    alike: dict[Entry, set[Entry]] = {entry: set() for entry in entries}
    for i, first in enumerate(entries):
        for second in entries[i + 1 :]:
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


def _levels(cliques: Cliques, entries: list[Entry]) -> list[Cliques]:
    """Bars in as few rows as keep those of one row apart."""
    rows: list[Cliques] = []
    for members in cliques:
        start = entries.index(members[0])
        row = next((row for row in rows if entries.index(row[-1][-1]) < start - 1), None)
        if row is None:
            rows.append([members])
        else:
            row.append(members)
    return rows


def _height(count: int, levels: list[Cliques]) -> float:
    return _TOP + _LEVEL * (len(levels) + 1.5) + _ROW * math.ceil(count / 2)


def _draw(axes: Axes, panel: Panel, found: dict[Entry, Standing], levels: list[Cliques], design: Design) -> None:
    entries, width = list(found), axes.get_xlim()[1]
    half = math.ceil(len(entries) / 2)
    names, sides = _fit([design.name(entry, panel) for entry in entries], half, width)
    left, right = sides[0] + 2 * MARGIN, width - sides[1] - 2 * MARGIN
    places = {e: left + (right - left) * (s.mean_rank - 1) / (len(entries) - 1) for e, s in found.items()}
    _draw_axis(axes, left, right, len(entries))
    start = _TOP + _LEVEL * (len(levels) + 1.5)
    for number, entry in enumerate(entries):
        row = number if number < half else len(entries) - 1 - number
        side = sides[0] if number < half else width - sides[1]
        y = start + _ROW * (row + 0.4)
        axes.plot([places[entry], places[entry], side], [_TOP, y, y], color="#999999", linewidth=0.6, zorder=1)
        about = f"{entry_name(entry, entries)}: {_about(found[entry])}"
        axes.plot([side], [y], linestyle="none", zorder=4, gid=hover(about), **design.looks[entry].marker_style())
        _write(axes, names[number], found[entry].mean_rank, (side, y), number < half, _number(len(entries)))
    for level, row_of_bars in enumerate(levels, start=1):
        for members in row_of_bars:
            spots, y = [places[e] for e in members], _TOP + _LEVEL * level
            gid = hover(f"no significant difference: {', '.join(entry_name(e, entries) for e in members)}")
            axes.plot([spots[0] - 0.03, spots[-1] + 0.03], [y, y], color="black", linewidth=1.8, zorder=2, gid=gid)
            axes.plot(spots, [y] * len(spots), "o", color="black", markersize=3.2, zorder=3)


def _number(count: int) -> float:
    """Inches for a mean rank among ``count`` entries, with its marker."""
    return 0.34 if count < 10 else 0.42


def _needed(names: list[str]) -> float:
    """How wide a figure must be for these names on both sides of its axis."""
    half = math.ceil(len(names) / 2)
    sides = max(map(text_width, names[:half])) + max(map(text_width, names[half:]))
    return sides + 2 * (_number(len(names)) + 2 * MARGIN) + _AXIS + 2 * MARGIN + 0.01


def _fit(names: list[str], half: int, width: float) -> tuple[list[str], list[float]]:
    """The names, shortened where both sides and the axis would not fit, and the width of each side."""
    parts = [names[:half], names[half:]]
    widths = [max(map(text_width, part)) for part in parts]
    room = width - _AXIS - 2 * (_number(len(names)) + 2 * MARGIN)
    # What one side does not need is the other's.
    limits = [max(room / 2, room - other) for other in reversed(widths)]
    fitted = [[shortened(name, limit) for name in part] for part, limit in zip(parts, limits, strict=True)]
    return fitted[0] + fitted[1], [max(map(text_width, part)) + _number(len(names)) for part in fitted]


def _draw_axis(axes: Axes, left: float, right: float, count: int) -> None:
    axes.plot([left, right], [_TOP, _TOP], color="black", linewidth=0.8, zorder=2)
    step = max(1, math.ceil((count - 1) * 0.17 / (right - left)))
    # The last rank has a number too, unless that would touch the one before.
    for rank in [*range(1, count - step + 1, step), count]:
        x = left + (right - left) * (rank - 1) / (count - 1)
        axes.plot([x, x], [_TOP, _TOP - 0.05], color="black", linewidth=0.8)
        axes.text(x, _TOP - 0.07, str(rank), ha="center", va="bottom")


def _write(axes: Axes, name: str, rank: float, spot: tuple[float, float], left: bool, room: float) -> None:
    """A name and, between it and its marker, the mean rank."""
    x, y = spot
    sign = -1 if left else 1
    side = "right" if left else "left"
    axes.text(x + sign * 0.08, y, f"{rank:.1f}", ha=side, va="center_baseline", color="#555555")
    axes.text(x + sign * room, y, name, ha=side, va="center_baseline")


def _about(standing: Standing) -> str:
    wins = f"win rate {100 * standing.win_rate:.0f} %"
    return f"mean rank {standing.mean_rank:.2f}, Borda rank {standing.borda_rank}, {wins}"


def _remark(study: Study, standings: list[tuple[Panel, dict[Entry, Standing]]], cliques: list[Cliques]) -> str:
    pairs = [
        study.evidence.difference(a, b, ALL)
        for _, found in standings
        for i, a in enumerate(found)
        for b in list(found)[i + 1 :]
    ]
    tested = [found is not None and not math.isnan(found.p_holm) for found in pairs]
    texts = [f"mean rank over {len(study.summary.tasks)} tasks, 1 is best"]
    if any(cliques):
        texts.append(
            "bars join methods whose averages do not differ significantly "
            "(paired permutation test with interval, not Nemenyi's test)"
        )
    elif all(tested):
        texts.append("no bars: all averages differ significantly (paired permutation test)")
    if not any(tested):
        texts.append("no bars: not tested, as there are no results per test item")
    elif not all(tested):
        texts.append("pairs that were not tested are not joined")
    ranked = sum(len(found) for _, found in standings)
    asked = sum(len(panel.entries) for panel, _ in standings)
    return "; ".join([*texts, *(["incomplete methods not ranked"] if ranked < asked else [])])
