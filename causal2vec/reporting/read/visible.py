"""Text from data, made safe to show: nothing in it is hidden, reordered or taken for an instruction."""

from __future__ import annotations

import re

_REORDERS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Marks that turn the direction of text, also of the text behind a name."""

_HIDDEN = re.compile(
    f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_REORDERS}\u2028\u2029\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""These marks, control characters but for tab and line breaks, invisible tags, and halves of characters and other codes
that are none, which no file in UTF-8 or no XML can hold."""

_FORMULA = re.compile(r"[=+\-@\t\r]")
"""What a cell begins with that a spreadsheet computes."""

_NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?%?", re.IGNORECASE)


def visible(text: str) -> str:
    """A text in which every character that hides or reorders others is written as its number, such as U+202E."""
    return _HIDDEN.sub(lambda found: f"U+{ord(found[0]):04X}", text)


def one_line(text: str) -> str:
    """`visible` text with all white space, line breaks too, as single spaces."""
    return visible(" ".join(text.split()))


def inert(text: str) -> str:
    """A `visible` text for a CSV cell, with an apostrophe before what a spreadsheet would take for a formula.

    Numbers stay as they are, and so does every other text, but that its lines end alike: csv writes a lone carriage
    return without quotes, and reads it as the end of the row. The apostrophe tells a spreadsheet that the cell is text;
    a program that reads the file sees it.
    """
    shown = visible("\n".join(re.split("\r\n?", text)))
    return f"'{shown}" if _FORMULA.match(shown) and not _NUMBER.fullmatch(shown) else shown
