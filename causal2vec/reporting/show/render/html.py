"""One table as HTML: a fragment for the report, or a page of its own.

Everything that comes from data passes through jinja2's autoescaping, and characters that hide or reorder others are
written as their numbers (`causal2vec.reporting.read.visible`). A page holds its style and its script itself,
and its content security policy allows these two, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from causal2vec.reporting.read.visible import visible
from causal2vec.reporting.show.tables.grid import Cell, Column, Mark, Table, cell_parts, format_number, marks

TEMPLATES = Path(__file__).with_name("templates")

WIDE = 10
"""A table with more columns is printed across the long side of the paper."""

TALL = 40
"""A table with more rows scrolls within the page, under its headings."""

_SHORT_TEXT, _LONG_TEXT = 16, 40
"""Characters up to which a text stays in one line, and from which it gets more room."""

_STEPS = (8, 12, 16, 20)
"""Widths of label columns, in characters; a longer piece of a name breaks anywhere."""

_BREAKS = re.compile(r"(?<=[+/=])(?=\w)|(?<=[a-z])(?=[A-Z][a-z]{5})")
"""Where a long name may break: after a joint, and before a word as in PairClassification."""


def to_html(table: Table, *, level: int = 3, filters: bool = False) -> Markup:
    """A table as an HTML fragment: heading, table in a container that scrolls by itself, notes.

    The best of each group is bold, the second underlined; cells carry ``data-value``, by which the page's script
    sorts. Without that script the fragment is a plain table.

    Args:
        table: The table.
        level: The level of its heading, 1 to 6.
        filters: Whether readers may hide rows and columns; the controls show once the script has run.

    Returns:
        Safe markup; names, notes and cells are escaped.
    """
    heads = [_head(table, i) for i in range(len(table.columns))]
    names = dict.fromkeys(
        str(row[table.labels[0]].value) for group in table.groups for row in group.rows if table.labels
    )
    return fragment(
        "table.html.j2",
        id=f"table-{slug(table.name)}",
        table=table,
        level=level,
        wide=len(table.columns) > WIDE,
        tall=sum(len(group.rows) for group in table.groups) > TALL,
        heads=heads,
        # Neighbours that share a heading; where there are any, there are two lines of headings.
        runs=[(_breakable(name), list(run)) for name, run in itertools.groupby(heads, key=lambda head: head.group)],
        groups=[
            [
                [_shown(*cell) for cell in zip(row, heads, found, strict=True)]
                for row, found in zip(group.rows, rows, strict=True)
            ]
            for group, rows in zip(table.groups, marks(table), strict=True)
        ],
        filters=list(names) if filters and table.labels else None,
    )


def to_page(table: Table) -> str:
    """A table as a page of its own, which needs no other file and makes no network request."""
    return page(table.title, Markup("<main>\n{}\n</main>").format(to_html(table, level=1)))


def page(title: str, body: Markup) -> str:
    """A whole page around ``body``, with the style, the script and the policy that admits only these two."""
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # The two files are our own, and escaping them would change their hashes.
    parts = {"style": Markup(style), "script": Markup(script)}
    return f"{fragment('page.html.j2', title=title, body=body, policy=Markup(policy), **parts)}\n"


def fragment(template: str, **values: object) -> Markup:
    """A template of this package, filled in; all ``values`` but `Markup` are escaped."""
    return Markup(_environment().get_template(template).render(**values))


def slug(text: str) -> str:
    """A text as part of an ``id``: letters, digits and hyphens; unlike texts may become alike."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown_as_it_is,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["zip"] = zip
    return environment


def _shown_as_it_is(value: object) -> object:
    """What every value goes through on its way into a template; `Markup` has been through it."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _source(text: str) -> str:
    """The source expression of the content security policy that admits an inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@dataclass(frozen=True)
class _Head:
    """A column's heading: its number, the column, what it shows, the class of its cells."""

    index: int
    column: Column
    title: Markup
    css: str

    @property
    def group(self) -> str:
        return self.column.group

    @property
    def first(self) -> str:
        """How the first click sorts: the best on top."""
        return "descending" if self.column.better == "higher" else "ascending"


def _head(table: Table, index: int) -> _Head:
    column = table.columns[index]
    values = [row[index].value for group in table.groups for row in group.rows]
    words = any(isinstance(value, str) for value in values) and not any(isinstance(value, float) for value in values)
    css = f"label {_room([str(value) for value in values])}" if column.label else "text" if words else "value"
    return _Head(index, column, _breakable(column.title + table.arrow(column)), css)


def _breakable(text: str) -> Markup:
    """A text that may break within long names."""
    return Markup("<wbr>").join(_BREAKS.split(visible(text)))


def _room(names: list[str]) -> str:
    """The class that keeps a column of names wide enough for two lines of each, and one of short ones."""
    pieces = [piece for name in names for part in _BREAKS.split(name) for piece in re.split(r"(?<=-)|\s", part)]
    halves = [len(name) if len(name) <= _SHORT_TEXT else len(name) // 2 + 2 for name in names]
    longest = max([0, *map(len, pieces), *halves])
    return f"room-{next((step for step in _STEPS if longest <= step), _STEPS[-1])}"


def _shown(cell: Cell, head: _Head, mark: Mark) -> dict[str, object]:
    """A cell as the template writes it; ``value`` is what it is sorted by, None for a gap."""
    column = head.column
    length = len(str(cell.value)) if head.css == "text" else _SHORT_TEXT + 1
    room = "long" if length > _LONG_TEXT else "short" if length <= _SHORT_TEXT else ""
    text, spread = cell_parts(cell, column)
    shell = {"best": "<strong>{}</strong>", "second": "<u>{}</u>"}.get(mark, "{}")
    content = Markup(shell).format(_breakable(text) if column.label else visible(text))
    if cell.sign:
        content += Markup("<sup>{}</sup>").format(cell.sign)
    if spread:
        content += Markup(' <span class="range">{}</span>').format(spread)
    exact = column.spread == "half" and spread and cell.low is not None and cell.high is not None
    ends = [format_number(end, column.number) for end in (cell.low, cell.high) if exact and end is not None]
    return {
        "tag": "th" if column.label and not head.index else "td",
        "css": " ".join(word for word in (head.css, room, mark, "gap" if cell.value is None else "") if word),
        "value": None if cell.value is None else str(cell.value),
        "exact": " to ".join(ends),  # of an interval that is shown by half its width
        "content": content,
    }
