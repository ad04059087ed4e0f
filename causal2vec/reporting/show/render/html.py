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
    return fragment("table.html.j2", view=_view(table, level, filters))


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
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown_as_it_is,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown_as_it_is(value: object) -> object:
    """What every value goes through on its way into a template; `Markup` has been through it."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _source(text: str) -> str:
    """The source expression of the content security policy that admits an inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@dataclass(frozen=True)
class _Head:
    """A heading: of one column, or, where ``column`` is None, of its ``members``."""

    title: Markup
    column: int | None = None
    rows: int = 1
    css: str = ""
    first: str = "ascending"
    members: tuple[int, ...] = ()

    @property
    def span(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class _Shown:
    """A cell as the template writes it; ``value`` is what it is sorted by, None for a gap."""

    tag: str
    scope: str
    css: str
    value: str | None
    exact: str
    content: Markup


@dataclass(frozen=True)
class _Group:
    title: str
    rows: list[list[_Shown]]


@dataclass(frozen=True)
class _ColumnBox:
    index: int
    long_title: str


@dataclass(frozen=True)
class _Filters:
    what: str
    rows: list[str]
    columns: list[_ColumnBox]


@dataclass(frozen=True)
class _View:
    id: str
    title: str
    level: int
    wide: bool
    tall: bool
    width: int
    heads: list[list[_Head]]
    groups: list[_Group]
    notes: list[str]
    filters: _Filters | None


def _view(table: Table, level: int, filters: bool) -> _View:
    heads = _heads(table)
    kinds = {head.column: head.css for line in heads for head in line}
    css = [kinds[i] for i in range(len(table.columns))]
    groups = [
        _Group(group.title, [_row(row, table.columns, css, found) for row, found in zip(group.rows, rows, strict=True)])
        for group, rows in zip(table.groups, marks(table), strict=True)
    ]
    return _View(
        id=f"table-{slug(table.name)}",
        title=table.title,
        level=level,
        wide=len(table.columns) > WIDE,
        tall=sum(len(group.rows) for group in table.groups) > TALL,
        width=len(table.columns),
        heads=heads,
        groups=groups,
        notes=table.notes,
        filters=_filters(table) if filters else None,
    )


def _heads(table: Table) -> list[list[_Head]]:
    """One line of headings, or two where neighbours share a heading above theirs."""
    deep = any(column.group for column in table.columns)
    upper, lower = [], []
    for group, run in itertools.groupby(enumerate(table.columns), key=lambda item: item[1].group):
        members = list(run)
        if group:
            upper.append(_Head(_breakable(group), members=tuple(i for i, _ in members)))
            lower += [_head(table, i, column, 1) for i, column in members]
        else:
            upper += [_head(table, i, column, 1 + deep) for i, column in members]
    return [upper, lower] if deep else [upper]


def _head(table: Table, index: int, column: Column, rows: int) -> _Head:
    # The first click shows the best on top.
    first = "descending" if column.better == "higher" else "ascending"
    css = f"label {_room(table, index)}" if column.label else "text" if _is_text(table, index) else "value"
    return _Head(_breakable(column.title + table.arrow(column)), index, rows, css, first)


def _breakable(text: str) -> Markup:
    """A text that may break within long names."""
    return Markup("<wbr>").join(_BREAKS.split(visible(text)))


def _room(table: Table, index: int) -> str:
    """The class that keeps a column of names wide enough for two lines of each, and one of short ones."""
    names = [str(row[index].value) for group in table.groups for row in group.rows]
    pieces = [piece for name in names for part in _BREAKS.split(name) for piece in re.split(r"(?<=-)|\s", part)]
    halves = [len(name) if len(name) <= _SHORT_TEXT else len(name) // 2 + 2 for name in names]
    longest = max([0, *map(len, pieces), *halves])
    return f"room-{next((step for step in _STEPS if longest <= step), _STEPS[-1])}"


def _is_text(table: Table, index: int) -> bool:
    """Whether a column holds words and no numbers."""
    values = [row[index].value for group in table.groups for row in group.rows]
    return any(isinstance(value, str) for value in values) and not any(isinstance(value, float) for value in values)


def _row(row: list[Cell], columns: list[Column], heads: list[str], found: list[Mark]) -> list[_Shown]:
    cells = zip(row, columns, heads, found, strict=True)
    return [_shown(cell, column, css, mark, first=not i) for i, (cell, column, css, mark) in enumerate(cells)]


def _shown(cell: Cell, column: Column, css: str, mark: Mark, *, first: bool) -> _Shown:
    heads_row = first and column.label
    length = len(str(cell.value)) if css == "text" else _SHORT_TEXT + 1
    room = "long" if length > _LONG_TEXT else "short" if length <= _SHORT_TEXT else ""
    return _Shown(
        tag="th" if heads_row else "td",
        scope="row" if heads_row else "",
        css=" ".join(word for word in (css, room, mark, "gap" if cell.value is None else "") if word),
        value=None if cell.value is None else str(cell.value),
        exact=_exact(cell, column),
        content=_content(cell, column, mark),
    )


def _exact(cell: Cell, column: Column) -> str:
    """Both ends of an interval that is shown by half its width; empty for other cells."""
    if column.spread != "half" or not isinstance(cell.value, float) or cell.low is None or cell.high is None:
        return ""
    return f"{format_number(cell.low, column.number)} to {format_number(cell.high, column.number)}"


def _content(cell: Cell, column: Column, mark: Mark) -> Markup:
    text, spread = cell_parts(cell, column)
    shell = {"best": "<strong>{}</strong>", "second": "<u>{}</u>"}.get(mark, "{}")
    content = Markup(shell).format(_breakable(text) if column.label else visible(text))
    if cell.sign:
        content += Markup("<sup>{}</sup>").format(cell.sign)
    if spread:
        content += Markup(' <span class="range">{}</span>').format(spread)
    return content


def _filters(table: Table) -> _Filters | None:
    """The choices for a reader; None for a table whose rows have no names."""
    if not table.labels:
        return None
    first = table.labels[0]
    names = dict.fromkeys(str(row[first].value) for group in table.groups for row in group.rows)
    columns = [
        _ColumnBox(i, f"{column.group}: {column.title}" if column.group else column.title)
        for i, column in enumerate(table.columns)
        if not column.label
    ]
    return _Filters(table.columns[first].title, list(names), columns)
