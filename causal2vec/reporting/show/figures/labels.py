"""Direct labels that keep clear of each other, of the markers and of the axes' edges."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

_RADII = (5.5, 11.0, 18.0, 27.0, 38.0, 52.0, 70.0)
_ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200)
_LEADER = 10.0
"""Points of distance from which a label gets a thin line to its marker."""

_MISTAKEN = 0.4
"""What it costs to stand nearer to another marker."""


@dataclass(frozen=True)
class _Box:
    """A rectangle on the screen, by its middle and its size, and how bad it is to cover it."""

    x: float
    y: float
    width: float
    height: float
    weight: float = 0.0

    def gap(self, spot: tuple[float, ...]) -> float:
        """How far a place is from this rectangle."""
        across, along = abs(self.x - spot[0]) - self.width / 2, abs(self.y - spot[1]) - self.height / 2
        return math.hypot(max(0.0, across), max(0.0, along))

    def shared(self, other: _Box) -> float:
        """The area that both cover."""
        width = (self.width + other.width) / 2 - abs(self.x - other.x)
        height = (self.height + other.height) / 2 - abs(self.y - other.y)
        # An overlap is never wider than the narrower of the two.
        return (
            min(width, self.width, other.width) * min(height, self.height, other.height)
            if width > 0 and height > 0
            else 0.0
        )


def place_labels(
    figure: Figure,
    axes: Axes,
    points: list[tuple[float, float]],
    texts: list[str],
    obstacles: list[tuple[float, float]],
) -> None:
    """Write each text beside its point, where it covers least.

    Greedy and free of chance: points are taken from top to bottom, and for each the nearest spot wins that
    touches no marker, no earlier label, no obstacle and no edge; failing that, the one that touches least.

    Args:
        figure: The figure, after `freeze_layout`, since labels must not move what they label.
        axes: The axes with all else drawn.
        points: Where the markers are, in data coordinates.
        texts: Their labels; a point whose label is empty is only kept clear of.
        obstacles: Further places to keep clear of, such as along a line, in screen coordinates.
    """
    canvas = FigureCanvasAgg(figure)
    scale = figure.dpi / 72
    spots = [tuple(float(v) for v in axes.transData.transform(point)) for point in points]
    # A hidden marker or a text on a text is worse than a text on a line.
    taken = [_Box(x, y, 7 * scale, 7 * scale, weight=4.0) for x, y in spots]
    taken += [_Box(x, y, 3 * scale, 3 * scale, weight=1.0) for x, y in obstacles]
    bounds = axes.bbox
    frame = _Box((bounds.x0 + bounds.x1) / 2, (bounds.y0 + bounds.y1) / 2, bounds.width, bounds.height)
    for i in sorted((i for i, text in enumerate(texts) if text), key=lambda i: (-spots[i][1], spots[i][0], texts[i])):
        sample = axes.annotate(texts[i], points[i], xytext=(0, 0), textcoords="offset points")
        extent = sample.get_window_extent(canvas.get_renderer())
        sample.remove()
        size = (extent.width + 2 * scale, extent.height)
        others = [spot for j, spot in enumerate(spots) if j != i]
        radius, box = _best(spots[i], others, size, scale, taken, frame)
        taken.append(box)
        arrow = {"arrowstyle": "-", "color": "#777777", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            texts[i],
            points[i],
            xytext=((box.x - spots[i][0]) / scale, (box.y - spots[i][1]) / scale),
            textcoords="offset points",
            ha="center",
            va="center",
            arrowprops=arrow if radius > _LEADER else None,
            # Where a line must be crossed, the text stays readable.
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )


def freeze_layout(figure: Figure) -> None:
    """Arrange the figure's parts now and never again, so that places on the screen are final."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        # The solver's last digits differ from run to run, and an SVG's identifiers depend on them.
        place = axes.get_position(original=True).bounds
        axes.set_position([round(value, 6) for value in place])  # type: ignore[arg-type]


def _best(
    spot: tuple[float, ...],
    others: list[tuple[float, ...]],
    size: tuple[float, float],
    scale: float,
    taken: list[_Box],
    frame: _Box,
) -> tuple[float, _Box]:
    lowest, best = math.inf, (0.0, frame)
    for radius in _RADII:
        for preference, angle in enumerate(_ANGLES):
            box = _beside(spot, size, radius * scale, math.radians(angle))
            area = box.width * box.height
            touched = [(other.weight, box.shared(other)) for other in taken]
            # Any touch costs, a larger one more.
            cost = sum(weight * (0.1 + shared / area) for weight, shared in touched if shared > 0)
            cost += 20 * (1 - box.shared(frame) / area) + radius * 0.004 + preference * 0.003
            # A label that is nearer to another marker than to its own would be taken for the other's.
            cost += _MISTAKEN * any(box.gap(other) <= box.gap(spot) for other in others)
            if cost < lowest - 1e-9:
                lowest, best = cost, (radius, box)
    return best


def _beside(spot: tuple[float, ...], size: tuple[float, float], radius: float, angle: float) -> _Box:
    dx, dy = math.cos(angle), math.sin(angle)
    # The box's nearest edge, not its middle, is what keeps the distance.
    sideways = math.copysign(size[0] / 2, dx) if abs(dx) > 0.1 else 0.0
    upwards = math.copysign(size[1] / 2, dy) if abs(dy) > 0.4 else 0.0
    return _Box(spot[0] + dx * radius + sideways, spot[1] + dy * radius + upwards, *size, weight=3.0)
