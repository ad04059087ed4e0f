"""Where two forms of one file first differ, said so that a reader finds the place: row and column, or line."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
from itertools import zip_longest
from typing import Any

_SHOWN = 60
"""Characters of a cell that a message quotes."""

_CELL = {".md": re.compile(r"(?<!\\)\|"), ".tex": re.compile(r" & ")}
"""What separates the cells of a line, by the file's ending."""


def first_difference(name: str, stored: bytes, made: bytes, tolerance: float = 0.0) -> str | None:
    """Say where ``stored`` first differs from ``made``, and in how many more places; None where it does not.

    Args:
        name: The file's name; its ending says how it is read: CSV and JSON by their cells, other text by its lines.
        stored: What the file holds.
        made: What it should hold.
        tolerance: Numbers in CSV cells that differ by no more count as equal.
    """
    if stored == made:
        return None
    try:
        ours, theirs = stored.decode("utf-8"), made.decode("utf-8")
    except UnicodeDecodeError as error:
        return (
            f"byte {error.start} is no text" if name.endswith((".csv", ".md", ".tex", ".html", ".json")) else "differs"
        )
    if name.endswith(".csv"):
        return differing_rows(csv_rows(ours), csv_rows(theirs), tolerance)
    if name.endswith(".json"):
        return _differing_values(ours, theirs)
    return _differing_lines(ours, theirs, _CELL.get(name[name.rfind(".") :]))


def csv_rows(text: str) -> list[list[str]]:
    """The rows of a CSV file, its heading first; a file that is not CSV is read as far as it is."""
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows.extend(csv.reader(io.StringIO(text, newline="")))
    return rows


def differing_rows(
    stored: list[list[str]], made: list[list[str]], tolerance: float = 0.0, numbers: list[int] | None = None
) -> str | None:
    """`first_difference` of rows, each a list of cells, the heading first.

    Args:
        stored: The rows that there are.
        made: The rows that there should be.
        tolerance: Numbers that differ by no more count as equal.
        numbers: What the stored rows are called; from 1 if not given.
    """
    numbers = numbers or list(range(1, len(stored) + 1))
    if len(stored) != len(made):
        return _odd_rows(stored, made, numbers)
    heading, places = made[0], []
    for number, ours, theirs in zip(numbers, stored, made, strict=True):
        for column, (have, want) in enumerate(zip_longest(ours, theirs)):
            if have != want and not _close(have, want, tolerance):
                title = heading[column] if number > 1 and column < len(heading) else str(column + 1)
                places.append(f"row {number}, column {_quoted(title)} is {_quoted(have)} but should be {_quoted(want)}")
    return _first(places, len(places) - 1)


def _odd_rows(stored: list[list[str]], made: list[list[str]], numbers: list[int]) -> str:
    """The first row that is too many or too few."""
    known, wanted = set(map(tuple, stored)), set(map(tuple, made))
    extra = [
        f"row {n} ({_row(row)}) should not be there"
        for n, row in zip(numbers, stored, strict=True)
        if tuple(row) not in wanted
    ]
    absent = [f"the row {_row(row)} is missing" for row in made if tuple(row) not in known]
    places = [*absent, *extra] if len(made) > len(stored) else [*extra, *absent]
    return _first(places, len(places) - 1) or f"has {len(stored):,} rows but should have {len(made):,}"


def _row(row: list[str]) -> str:
    return _quoted(", ".join(row[:7]))


def _differing_lines(stored: str, made: str, cells: re.Pattern[str] | None) -> str | None:
    places = []
    for number, (ours, theirs) in enumerate(zip_longest(stored.split("\n"), made.split("\n")), start=1):
        if ours == theirs:
            continue
        place = f"line {number}"
        if cells and ours is not None and theirs is not None:
            found, wanted = ([cell.strip() for cell in cells.split(line)] for line in (ours, theirs))
            odd = [i for i, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]]
            if odd and len(found) == len(wanted) > 1:
                # A line of Markdown begins with what separates cells, one of LaTeX with a cell.
                place += f", column {odd[0] + (0 if found[0] == '' else 1)}"
                ours, theirs = found[odd[0]], wanted[odd[0]]
        places.append(f"{place} is {_around(ours, theirs)} but should be {_around(theirs, ours)}")
    return _first(places, len(places) - 1)


def _differing_values(stored: str, made: str) -> str:
    try:
        ours, theirs = json.loads(stored), json.loads(made)
    except json.JSONDecodeError as error:
        return f"line {error.lineno} is not JSON"
    places = list(_values(ours, theirs, ""))
    return _first(places, len(places) - 1) or "is written in another form"


def _values(ours: Any, theirs: Any, place: str) -> Any:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            yield from _values(ours.get(key, _ABSENT), theirs.get(key, _ABSENT), f"{place}.{key}" if place else key)
    elif isinstance(ours, list) and isinstance(theirs, list):
        for number, pair in enumerate(zip_longest(ours, theirs, fillvalue=_ABSENT), start=1):
            yield from _values(*pair, f"{place}[{number}]")
    elif ours != theirs:
        yield f"{_quoted(place)} is {_said(ours)} but should be {_said(theirs)}"


_ABSENT = object()


def _said(value: Any) -> str:
    return "absent" if value is _ABSENT else _quoted(json.dumps(value, ensure_ascii=False))


def _first(places: list[str], more: int) -> str | None:
    return f"{places[0]}{f' (and {more:,} more)' if more > 0 else ''}" if places else None


def _close(have: str | None, want: str | None, tolerance: float) -> bool:
    if not tolerance or have is None or want is None:
        return False
    try:
        return math.isclose(float(have), float(want), rel_tol=0, abs_tol=tolerance)
    except ValueError:
        return False


def _around(text: str | None, other: str | None) -> str:
    """The part of a line that differs, with a few characters before it."""
    if text is None or other is None:
        return "absent" if text is None else _quoted(text)
    same = next(
        (i for i, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), min(len(text), len(other))
    )
    start = max(0, same - 20) if len(text) > _SHOWN else 0
    return _quoted(text[start:])


def _quoted(text: str | None) -> str:
    """A cell in quotation marks, on one line and not too long."""
    if text is None:
        return "absent"
    shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return ascii(shown) if not shown.isprintable() else f"'{shown}'"
