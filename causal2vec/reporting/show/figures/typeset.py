"""Text in figures: how wide it is, where it breaks, and what the font cannot draw."""

from __future__ import annotations

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

from causal2vec.reporting.read.visible import one_line

TEXT_SIZE = 8.0
"""Points; a figure is as wide as a column, so that this is the size in print."""

STAMP_SIZE = 6.5
LINE_HEIGHT = 1.28
"""From one line of text to the next, in sizes of the font."""

_UNKNOWN = "□"


def drawable(text: str) -> str:
    """``text`` on one line, with a box for each character that the font lacks."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if font.get_char_index(ord(c)) else _UNKNOWN for c in one_line(text))


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """Width of one line in inches, in the current font at ``size`` points."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)
    return float(width) / 72


def line_height(size: float = TEXT_SIZE) -> float:
    """Inches from one line to the next."""
    return size * LINE_HEIGHT / 72


def wrapped(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """``text`` in lines no wider than ``width`` inches; a word that is wider is cut."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if text_width(joined, size) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and text_width(lines[-1] + character, size) > width:
                lines.append("")
            lines[-1] += character
    return "\n".join(lines)


def shortened(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """``text`` if it is no wider than ``width`` inches, else its beginning and its end around an ellipsis.

    The end stays because names of variants and sizes differ there.
    """
    if text_width(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = (kept + 1) // 2
        short = f"{text[:head]}…{text[len(text) - (kept - head) :]}"
        if text_width(short, size) <= width:
            return short
    return "…"
