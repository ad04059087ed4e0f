"""How a table that is too wide is cut into parts."""

from __future__ import annotations

import math

from causal2vec.reporting.show.tables.grid import Table


def panels(table: Table, widths: list[int], limit: int) -> list[list[int]]:
    """Split the columns into panels no wider than ``limit``, keeping groups of columns whole where they fit.

    A group that does not fit is cut into even pieces; the columns that name the row lead every panel.
    """
    room = limit - sum(widths[i] for i in table.labels)
    values = [i for i, column in enumerate(table.columns) if not column.label]
    if sum(widths[i] for i in values) <= room:
        return [table.labels + values]
    packed: list[list[int]] = []
    for piece in (piece for run in _runs(table, values) for piece in _cut(run, widths, room)):
        if packed and sum(widths[i] for i in packed[-1] + piece) <= room:
            packed[-1].extend(piece)
        else:
            packed.append(list(piece))
    return [table.labels + piece for piece in packed]


def _runs(table: Table, values: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for i in values:
        group = table.columns[i].group
        if runs and group and group == table.columns[runs[-1][-1]].group:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _cut(run: list[int], widths: list[int], room: int) -> list[list[int]]:
    for count in range(1, len(run) + 1):
        size = math.ceil(len(run) / count)
        pieces = [run[start : start + size] for start in range(0, len(run), size)]
        if size == 1 or all(sum(widths[i] for i in piece) <= room for piece in pieces):
            return pieces
    return [run]
