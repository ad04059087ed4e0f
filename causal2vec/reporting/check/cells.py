"""Where two forms of one file first differ, said so that a reader finds the place: row and column, or line."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

_SHOWN = 60
"""Characters of a cell that a message quotes."""

_CELL = {".md": r"(?<!\\)\|", ".tex": " & "}
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
    ending = name[name.rfind(".") :]
    try:
        ours, theirs = stored.decode("utf-8"), made.decode("utf-8")
        if ending == ".json":
            places = _differences(json.loads(ours), json.loads(theirs))
            found = (f"{_quoted(key)} is {_as_json(a)} but should be {_as_json(b)}" for key, a, b in places)
            return _first(found) or "is written in another form"
    except UnicodeDecodeError as error:
        return f"byte {error.start} is no text" if ending in (".csv", ".md", ".tex", ".html", ".json") else "differs"
    except json.JSONDecodeError as error:
        return f"line {error.lineno} is not JSON"
    if ending == ".csv":
        return differing_rows(csv_rows(ours), csv_rows(theirs), tolerance)
    return _first(_differing_lines(ours, theirs, _CELL.get(ending)))


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
        known, wanted = set(map(tuple, stored)), set(map(tuple, made))
        absent = [f"the row {_row(row)} is missing" for row in made if tuple(row) not in known]
        odd = [(n, row) for n, row in zip(numbers, stored, strict=True) if tuple(row) not in wanted]
        extra = [f"row {n} ({_row(row)}) should not be there" for n, row in odd]
        places = [*absent, *extra] if len(made) > len(stored) else [*extra, *absent]
        return _first(places) or f"has {len(stored):,} rows but should have {len(made):,}"
    places = []
    for number, ours, theirs in zip(numbers, stored, made, strict=True):
        for column, (have, want) in enumerate(zip_longest(ours, theirs)):
            if have != want and not _close(have, want, tolerance):
                title = made[0][column] if number > 1 and column < len(made[0]) else str(column + 1)
                places.append(f"row {number}, column {_quoted(title)} is {_quoted(have)} but should be {_quoted(want)}")
    return _first(places)


def _row(row: list[str]) -> str:
    return _quoted(", ".join(row[:7]))


def _close(have: str | None, want: str | None, tolerance: float) -> bool:
    try:
        return bool(tolerance) and math.isclose(float(have or ""), float(want or ""), rel_tol=0, abs_tol=tolerance)
    except ValueError:
        return False


def _differing_lines(stored: str, made: str, cells: str | None) -> Iterator[str]:
    for number, (ours, theirs) in enumerate(zip_longest(stored.split("\n"), made.split("\n")), start=1):
        if ours == theirs:
            continue
        place = f"line {number}"
        if cells and ours is not None and theirs is not None:
            found, wanted = ([cell.strip() for cell in re.split(cells, line)] for line in (ours, theirs))
            odd = [i for i, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]]
            if odd and len(found) == len(wanted) > 1:
                # A line of Markdown begins with what separates cells, one of LaTeX with a cell.
                place += f", column {odd[0] + (0 if found[0] == '' else 1)}"
                ours, theirs = found[odd[0]], wanted[odd[0]]
        yield f"{place} is {_around(ours, theirs)} but should be {_around(theirs, ours)}"


_ABSENT = object()
"""Stands for a value that one of two lacks."""


def _differences(ours: Any, theirs: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values of JSON differ: the place, with dots and numbers from 1, and both values or `_ABSENT`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            inner = f"{place}.{key}" if place else str(key)
            yield from _differences(ours.get(key, _ABSENT), theirs.get(key, _ABSENT), inner)
    elif isinstance(ours, list) and isinstance(theirs, list):
        for number, pair in enumerate(zip_longest(ours, theirs, fillvalue=_ABSENT), start=1):
            yield from _differences(*pair, f"{place}[{number}]")
    elif ours != theirs:
        yield place, ours, theirs


def _as_json(value: Any) -> str:
    return _quoted(None if value is _ABSENT else json.dumps(value, ensure_ascii=False))


def _first(places: Iterable[str]) -> str | None:
    """The first place, and how many more there are."""
    found = list(places)
    more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
    return f"{found[0]}{more}" if found else None


def _around(text: str | None, other: str | None) -> str:
    """The part of a line that differs, with a few characters before it."""
    if text is None or other is None or len(text) <= _SHOWN:
        return _quoted(text)
    same = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    return _quoted(text[max(0, same - 20) :])


def _quoted(text: str | None) -> str:
    """A cell in quotation marks, on one line and not too long."""
    if text is None:
        return "absent"
    shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return ascii(shown) if not shown.isprintable() else f"'{shown}'"
