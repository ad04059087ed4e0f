"""The figures of cost: score against it, its growth with the length of texts, and what reading once changes."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from causal2vec.efficiency.names import MIXED, PLAIN, READ_AGAIN, READ_ONCE
from causal2vec.reporting.analysis.compare import Panel, compare, counterpart
from causal2vec.reporting.analysis.evidence import ALL
from causal2vec.reporting.analysis.savings import (
    SETTINGS,
    Measured,
    fixed_lengths,
    measured_on,
    text_rank,
    text_words,
    with_variants,
)
from causal2vec.reporting.analysis.study import Study
from causal2vec.reporting.analysis.summary import Entry, Summary, entry_name, is_untrained, pairs, sort_entries, twin_of
from causal2vec.reporting.read.types import listed
from causal2vec.reporting.show.figures.style import (
    FILLED,
    FULL_WIDTH,
    GREY,
    HOLLOW,
    INTERVALS,
    TEXT_SIZE,
    WIDE_NAME,
    Design,
    draw_interval,
    drawable,
    finish,
    fitted,
    handle,
    label_rows,
    mark,
    new_figure,
    score_text,
    set_scale,
    text_width,
)
from causal2vec.reporting.show.figures.svg import freeze_layout
from causal2vec.reporting.show.tables.grid import format_number

Point = tuple[float, float]

CROWDED = 14
"""With more markers than this in a panel, their names stand in the legend."""

LABEL_WIDTH = 1.3
"""Inches; a longer name stands in the legend."""

TIME, SPEED = "seconds_per_1000_texts", "texts_per_second"
"""The former is as many milliseconds per text."""


def score_vs_time(study: Study, design: Design) -> Figure | None:
    """Average score against seconds per 1,000 texts of mixed length; None without any such pair of numbers."""
    text = "seconds per 1,000 texts (mixed lengths)"
    return _score_against(study, design, "seconds_per_1000_texts", text, "s per 1,000 texts")


def score_vs_length(study: Study, design: Design) -> Figure | None:
    """Average score against the tokens that the LLM reads per text; None without any such pair of numbers."""
    text = "tokens into the LLM per text (mean, mixed lengths)"
    return _score_against(study, design, "llm_tokens", text, "tokens per text")


def _score_against(study: Study, design: Design, column: str, text: str, unit: str) -> Figure | None:
    costs = {} if study.costs is None else mixed_costs(study.costs, column)
    points = cost_points(study.summary, costs)
    if not points:
        return None
    panels = compare(list(points), design.bases)
    figure, grid = new_figure(panels, 2.6)
    direct = [_direct_names(panel, design) for panel in panels]
    samples: dict[str, Line2D] = {}
    known = False
    for panel, axes, names in zip(panels, grid, direct, strict=True):
        for number, entry in enumerate(panel.entries):
            (x, y), look, estimate = points[entry], design.looks[entry], study.evidence.estimate(entry, ALL)
            known |= draw_interval(axes, look, estimate, x, vertical=True)
            # The costs are rounded as in the tables: three digits that count.
            about = f"{entry_name(entry, study.summary.entries)}: {score_text(y / 100, estimate)}"
            # The first methods lie on top.
            mark(axes, x, y, look, f"{about}, {format_number(x, 'sig3')} {unit}", zorder=4 - number / 100)
        for entry in sorted((e for e in panel.entries if not names[e]), key=lambda e: is_untrained(e[0])):
            samples.setdefault(design.name(entry, panel), handle(design.looks[entry]))
        set_scale(axes, "x", [points[entry][0] for entry in panel.entries])
        axes.margins(x=0.12, y=0.12)
        axes.set_ylabel(f"average score (tasks: {len(study.summary.tasks)})")
        _draw_front(axes, [points[entry] for entry in panel.entries])
    grid[-1].set_xlabel(text)
    notes = ["dotted: Pareto front", *([INTERVALS] if known else []), *remarks(study.summary, points, costs)]
    finish(figure, samples, notes, design.stamp)
    freeze_layout(figure)
    for axes, names in zip(grid, direct, strict=True):
        _place_labels(figure, axes, [points[entry] for entry in names], list(names.values()))
    return figure


def pareto(points: list[Point]) -> list[int]:
    """Indices of the points (cost, score) that no other beats in both, from cheap to dear."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def _draw_front(axes: Axes, points: list[Point]) -> None:
    """The front as stairs that go on to the edge: the best score that so much cost buys."""
    xs, ys = zip(*(points[i] for i in pareto(points)), strict=True)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    axes.step([*xs, axes.get_xlim()[1]], [*ys, ys[-1]], where="post", color=GREY, linestyle=":", linewidth=1, zorder=1)


def mixed_costs(efficiency: pd.DataFrame, column: str) -> dict[Entry, float]:
    """A cost of every entry measured on texts of mixed length."""
    mixed = efficiency[efficiency["text_tokens"] == MIXED]
    return {entry: float(cost) for entry, cost in zip(pairs(mixed), mixed[column], strict=True)}


def cost_points(summary: Summary, costs: dict[Entry, float]) -> dict[Entry, Point]:
    """Cost and average score (0 to 100) of every entry that has both.

    A method and its untrained twin run the same computation, so that one of them stands for both.
    """
    points = {}
    for entry in summary.entries:
        average = summary.average(entry, summary.tasks)
        cost = costs.get(entry, costs.get(counterpart(entry), math.nan))
        if average is not None and not math.isnan(cost):
            points[entry] = (cost, 100 * average)
    return points


def remarks(summary: Summary, points: dict[Entry, Point], costs: dict[Entry, float]) -> list[str]:
    """What the reader must know of the markers: their look, borrowed costs, what is not there."""
    borrowed = [method for method, base in points if (method, base) not in costs]
    left_out = [entry_name(e, summary.entries) for e in summary.entries if e not in points]
    untrained = any(is_untrained(method) for method, _ in points)
    found = {
        FILLED: untrained,
        HOLLOW: untrained,
        "untrained twins: cost of their method": any(is_untrained(method) for method in borrowed),
        "methods not measured: cost of their untrained twin": not all(is_untrained(method) for method in borrowed),
        f"not shown, incomplete: {listed(left_out)}": bool(left_out),
    }
    return [text for text, needed in found.items() if needed]


def _direct_names(panel: Panel, design: Design) -> dict[Entry, str]:
    """The text beside each marker of a panel, empty for those that stand in the legend."""
    texts = {}
    for entry in panel.entries:
        name = design.name(entry, panel)
        # Names that tell bases apart are too long to stand among the markers.
        plain = name == drawable(twin_of(entry[0])) and text_width(name) <= LABEL_WIDTH
        texts[entry] = name if plain and len(panel.entries) <= CROWDED else ""
    return texts


def _place_labels(figure: Figure, axes: Axes, points: list[Point], texts: list[str]) -> None:
    """Write each text beside its point, at the nearest spot that touches no marker, text, line or edge.

    Call it after `freeze_layout`, since labels must not move what they label. An empty text has no label.
    """
    scale = figure.dpi / 72
    spots = [tuple(map(float, axes.transData.transform(point))) for point in points]
    markers = [Bbox.from_bounds(x, y, 0, 0).padded(4 * scale) for x, y in spots]
    lines = [line.get_transform().transform_path(line.get_path()) for line in axes.lines if len(line.get_path()) > 1]
    labels: list[Bbox] = []
    # Near spots first; right, left, above, below and between.
    ways = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
    places = [(radius, *way) for radius in (6, 10, 15, 21, 28, 38, 50) for way in ways]
    for i in sorted((i for i, text in enumerate(texts) if text), key=lambda i: (-spots[i][1], spots[i][0], texts[i])):
        width, height = 72 * text_width(texts[i]), TEXT_SIZE * 1.2
        offsets = [(across * (width / 2 + r), up * (height / 2 + r)) for r, across, up in places]
        half = width * scale / 2, height * scale / 2
        middles = [(spots[i][0] + x * scale, spots[i][1] + y * scale) for x, y in offsets]
        boxes = [Bbox([(x - half[0], y - half[1]), (x + half[0], y + half[1])]) for x, y in middles]
        # A text beside another marker would be taken for that one's.
        others = [box.padded(5 * scale) for j, box in enumerate(markers) if j != i]
        costs = [
            4 * box.count_overlaps([*markers, *labels])
            + 2 * box.count_overlaps(others)
            + sum(path.intersects_bbox(box, filled=False) for path in lines)
            + 40 * (not all(axes.bbox.contains(*corner) for corner in box.corners()))
            + place[0] / 20
            for place, box in zip(places, boxes, strict=True)
        ]
        best = min(range(len(places)), key=costs.__getitem__)
        labels.append(boxes[best])
        arrow = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            texts[i],
            points[i],
            offsets[best],
            textcoords="offset points",
            ha="center",
            va="center",
            arrowprops=arrow if places[best][0] > 6 else None,
            # Where a line must be crossed, the text stays readable.
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )


def throughput_vs_length(study: Study, design: Design) -> Figure | None:
    """Texts per second against text length, with the range over repeats; None without a row of a fixed length."""
    rows = pd.DataFrame() if study.costs is None else fixed_lengths(study.costs)
    if rows.empty:
        return None
    return _over_lengths(rows, design, SPEED, "texts per second", ["bars: lowest and highest repeat"])


def cost_vs_length(study: Study, design: Design) -> Figure | None:
    """Milliseconds per text against its length, with guides in proportion to it; None unless two were measured."""
    rows = pd.DataFrame() if study.costs is None else fixed_lengths(study.costs)
    if rows.empty or rows["length"].nunique() < 2:
        return None
    remarks = ["dotted: in proportion to the length", measured_on(rows, study.manifest)]
    return _over_lengths(rows, design, TIME, "milliseconds per text", remarks)


def _over_lengths(rows: pd.DataFrame, design: Design, column: str, label: str, remarks: list[str]) -> Figure:
    """One line per method on logarithmic axes.

    An untrained twin is drawn only where its trained method is not there, as the two would coincide.
    """
    entries = sort_entries(list(dict.fromkeys(pairs(rows))), design.order)
    drawn = [e for e in entries if not is_untrained(e[0]) or counterpart(e) not in entries]
    panels = compare(drawn, design.bases)
    figure, grid = new_figure(panels, 2.7)
    samples = {}
    for panel, axes in zip(panels, grid, strict=True):
        here = rows[[entry in panel.entries for entry in pairs(rows)]]
        lengths = sorted(set(here["length"]))
        if column == TIME:
            _draw_guides(axes, here[here["length"] == lengths[0]][TIME], lengths[0], lengths[-1])
        # The first method is on top; upper lines are thinner and have smaller markers, so that others still show.
        for number, entry in enumerate(panel.entries):
            own, look, order = here[[found == entry for found in pairs(here)]], design.looks[entry], 3 - number / 100
            line = {"color": look.colour, "linestyle": look.line, "linewidth": min(1.8, 0.8 + 0.2 * number)}
            axes.plot(own["length"], own[column], zorder=order, **line)
            # A white rim tells markers of one grey apart.
            rim = {} if look.hollow else {"markeredgecolor": "white", "markeredgewidth": 0.6}
            if column == SPEED:
                ends = [own[SPEED] - own[f"{SPEED}_min"], own[f"{SPEED}_max"] - own[SPEED]]
                axes.errorbar(
                    own["length"],
                    own[SPEED],
                    yerr=[end.clip(lower=0).fillna(0) for end in ends],
                    fmt="none",
                    ecolor=look.colour,
                    elinewidth=0.8,
                    capsize=2,
                    zorder=order,
                )
            for length, value in zip(own["length"], own[column], strict=True):
                unit = "texts per second" if column == SPEED else "ms per text"
                about = f"{entry_name(entry, drawn)}: {format_number(value, 'sig3')} {unit} of {length:,} tokens"
                mark(axes, length, value, look, about, markersize=min(8.5, 5.0 + 0.7 * number), zorder=order, **rim)
            samples[design.name(entry, panel)] = handle(look, line=True)
        set_scale(axes, "x", lengths, always=True)
        set_scale(axes, "y", here[column].tolist(), always=True)
        axes.set_xticks(lengths)
        axes.set_ylabel(label)
    grid[-1].set_xlabel("text length (tokens of the base's tokenizer)")
    hidden = ["untrained twins not drawn"] if len(drawn) < len(entries) else []
    finish(figure, samples, [*remarks, *hidden], design.stamp)
    return figure


def _draw_guides(axes: Axes, first: pd.Series, shortest: int, longest: int) -> None:
    """Straight lines of slope one through the first point of the fastest and of the slowest method."""
    for start in sorted({first.min(), first.max()}):
        ends = [start, start * longest / shortest]
        axes.plot([shortest, longest], ends, color=GREY, linestyle=":", linewidth=1, zorder=1)


def prefix_reuse(study: Study, design: Design) -> Figure | None:
    """Time per text of every method without and with reuse of what its texts share, and the ranks by it.

    A row of panels per compared base and setting, on the shortest and on the longest texts measured so; None where no
    method was measured with reuse behind an instruction or examples.
    """
    if study.conditions is None:
        return None
    measured = Measured(study.conditions)
    entries = sort_entries(measured.entries, with_variants(design.order, measured.entries))
    panels = [
        (panel, setting, texts)
        for panel in compare(entries, design.bases)
        for setting in SETTINGS
        if setting != PLAIN and (texts := _texts(measured, panel, setting))
    ]
    if not panels:
        return None
    columns = max(len(texts) for *_, texts in panels)
    heights = [0.45 + 0.29 * len(panel.entries) for panel, *_ in panels]
    figure = Figure(figsize=(FULL_WIDTH, sum(heights)), layout="constrained")
    grid = figure.subplots(len(panels), columns, squeeze=False, height_ratios=heights)
    for line, (panel, setting, texts) in zip(grid, panels, strict=True):
        for axes in line[len(texts) :]:
            axes.remove()
        for axes, text in zip(line, texts, strict=False):
            title = panel.heading(f"{setting}, {text_words(text)}")
            axes.set_title(fitted(drawable(title), FULL_WIDTH / columns - 1), loc="left")
            _draw_reuse(axes, measured, panel, (setting, text), design)
            if axes is not line[0]:
                axes.set_yticklabels([])
    for axes in figure.axes[-columns:]:
        axes.set_xlabel("milliseconds per text")
    remarks = [
        "filled: a beginning that all texts share is read for each of them",
        "open: read once, where the method allows it",
        "right: rank without and with it",
        measured_on(study.conditions[study.conditions["setting"] != PLAIN], study.manifest),
    ]
    finish(figure, {}, remarks, design.stamp)
    return figure


def _texts(measured: Measured, panel: Panel, setting: str) -> list[str]:
    """The shortest and the longest texts on which somebody was measured with reuse."""
    texts = [
        text
        for case, text in measured.cases
        if case == setting and any(measured.own(entry, setting, READ_ONCE, text) for entry in panel.entries)
    ]
    texts = sorted([text for text in texts if text.isdigit()] or texts[:1], key=text_rank)
    return list(dict.fromkeys([*texts[:1], *texts[-1:]]))


def _draw_reuse(axes: Axes, measured: Measured, panel: Panel, case: tuple[str, str], design: Design) -> None:
    setting, text = case
    again = {e: row[TIME] for e in panel.entries if (row := measured.own(e, setting, READ_AGAIN, text))}
    once = {e: row[TIME] for e in again if (row := measured.own(e, setting, READ_ONCE, text))}
    before, after = _ranks(again), _ranks(again | once)
    for y, entry in enumerate(panel.entries):
        if entry not in again:
            continue
        look, name = replace(design.looks[entry], hollow=False), entry_name(entry, panel.entries)
        if entry in once:
            axes.plot([again[entry], once[entry]], [y, y], color=look.colour, linewidth=1.4, zorder=2)
            about = f"{name}, read once: {format_number(once[entry], 'sig3')} ms per text"
            mark(axes, once[entry], y, replace(look, hollow=True), about, zorder=4)
        mark(axes, again[entry], y, look, f"{name}: {format_number(again[entry], 'sig3')} ms per text")
        rank = str(before[entry]) if before[entry] == after[entry] else f"{before[entry]} → {after[entry]}"
        axes.text(1.03, y, rank, transform=axes.get_yaxis_transform(), va="center")
    label_rows(axes, [design.name(entry, panel) for entry in panel.entries], WIDE_NAME)
    axes.margins(x=0.08)
    set_scale(axes, "x", [*again.values(), *once.values()])


def _ranks(times: dict[Entry, float]) -> dict[Entry, int]:
    """The rank of every time, 1 being the shortest; equal times share one."""
    return {entry: 1 + sum(other < time for other in times.values()) for entry, time in times.items()}
