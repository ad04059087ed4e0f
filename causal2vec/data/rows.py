"""Rows of a user's own tables: CSV, TSV and JSON lines (packed with gzip too), and parquet, one row after the other."""

from __future__ import annotations

import csv
import gzip
import json
import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from causal2vec.errors import UserError, hint, one_line
from causal2vec.runtime.files import json_value

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Of the files that are read; all but parquet may end with ``.gz`` too."""

BATCH = 1_000
"""Rows of a parquet file that are in memory at once."""


class Row(NamedTuple):
    """One row, with its place: the line where it ends, or the number of a parquet file's row, both from 1."""

    path: Path
    number: int
    values: dict[str, Any]

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.path} {'row' if self.path.suffix == '.parquet' else 'line'} {self.number}"

    def fault(self, what: str) -> UserError:
        """The error that this row is wrong in this way."""
        return UserError(f"{self.place} {what}")

    def text(self, column: str) -> str:
        """A column's text, stripped.

        Raises:
            UserError: It is empty or no text.
        """
        if text := self.checked(plain(self.values.get(column)), column):
            return text
        raise self.fault(f"has no text in '{column}' (it is empty, null or NaN); fill it or delete the row")

    def checked(self, value: Any, column: str) -> str:
        """A value of a column as text, stripped; empty if there is none in it.

        Raises:
            UserError: It is no text.
        """
        if not isinstance(value, str):
            raise self.fault(f"has {type(value).__name__} as '{column}', not text; correct or delete it")
        try:
            value.encode()
        except UnicodeEncodeError as error:  # JSON can escape half a surrogate pair, UTF-8 cannot
            half = f"\\u{ord(value[error.start]):x}"
            raise self.fault(f"has half a character ({half}) in '{column}'; correct it") from error
        return value.strip()

    def name(self, column: str) -> str:
        """What a column names, an id or a label: a text or a whole number, as text.

        Raises:
            UserError: It is empty, or neither.
        """
        value = self.values.get(column)
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else self.text(column)

    def amount(self, column: str) -> float:
        """A column's number.

        Raises:
            UserError: It is none, or not finite.
        """
        value = self.values.get(column)
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self.fault(f"has {value!r} as '{column}', which is no number; correct it or delete the row")
        return number


def json_row(path: Path, number: int, text: str) -> Row:
    """A line of JSON.

    Raises:
        UserError: It is no JSON object.
    """
    row = Row(path, number, {})
    try:
        value = json_value(text)
    except json.JSONDecodeError as error:
        raise row.fault(f"is not JSON ({error.msg} at character {error.pos + 1}); correct or delete it") from error
    except ValueError as error:
        raise row.fault(f"is not JSON ({error}); correct or delete it") from error
    if not isinstance(value, dict):
        raise row.fault("is no JSON object; write one with a key per column")
    return row._replace(values=value)


def plain(value: Any) -> Any:
    """A value, or an empty text for what stands for none: null, NaN, and the words that programs write for NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value in ("nan", "NaN"):
        return ""
    return value


def files_like(patterns: Sequence[str], where: str) -> list[Path]:
    """The files that names and glob patterns stand for (``~`` allowed), each once, in the order of their names.

    Raises:
        UserError: A pattern stands for no file, or for one of another kind; ``where`` is the configuration key.
    """
    found: set[Path] = set()
    for pattern in patterns:
        named = Path(pattern).expanduser()
        below = Path(named.anchor or ".")
        paths = [named] if named.is_file() else below.glob(str(named.relative_to(below)))
        if not (paths := [path for path in paths if path.is_file()]):
            raise UserError(f"{where}: there is no file {pattern}; correct its name, or its folder")
        found.update(paths)
    if strange := [path for path in sorted(found) if _kind(path) not in SUFFIXES]:
        raise UserError(
            f"{where}: {strange[0]} is none of {', '.join(SUFFIXES)}; convert it, or name it after what it holds"
        )
    return sorted(found)


def columns_of(path: Path) -> list[str]:
    """The columns of a file: of JSON lines, the keys of the first one.

    Raises:
        UserError: The file cannot be read, or holds no row.
    """
    return list(next(read_rows(path)).values)


def require(path: Path, columns: Sequence[str], advice: str) -> None:
    """Look for columns in a file.

    Raises:
        UserError: One is missing, and ``advice`` says what to do, or the file is faulty.
    """
    known = columns_of(path)
    for column in columns:
        if column not in known:
            raise UserError(f"{path} has no column '{column}'{hint(column, known)}; {advice}")


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Row]:
    """Every row of a file that is not blank; of a parquet file only these ``columns`` are read.

    Raises:
        UserError: The file is absent, damaged, not UTF-8, holds no row, or a row does not fit the others.
    """
    import pyarrow as pa

    if _kind(path) == ".parquet":
        rows = _of_parquet(path, columns)
    else:
        rows = (_of_json if _kind(path) == ".jsonl" else _of_table)(path)
    try:
        first = next(rows, None)
        if first is None:
            raise UserError(f"{path} holds no row; fill it or leave it out")
        yield from chain([first], rows)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}); convert the file") from error
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; correct its name") from error
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}); get the file again") from error


def _kind(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def _opened(path: Path) -> IO[str]:
    # Only a line feed ends a line of JSON; csv wants the line ends as they are.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _of_table(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    with _opened(path) as file:
        first = file.readline()
        file.seek(0)
        signs = "\t" if _kind(path) == ".tsv" else ",;\t"  # spreadsheets write ; where a comma is in the numbers
        sign = max(signs, key=lambda s: len(next(csv.reader([first], delimiter=s), ())))
        reader = csv.DictReader(file, strict=True, delimiter=sign)
        try:
            header = list(reader.fieldnames or [])
            if twice := [name for place, name in enumerate(header) if name in header[:place]]:
                raise UserError(f"{path} has two columns '{twice[0]}'; rename or remove one")
            for values in reader:
                row = Row(path, reader.line_num, values)
                if None in values or None in values.values():
                    more = "more" if None in values else "fewer"
                    raise row.fault(f"has {more} fields than the first line has columns; correct it, or quote its text")
                yield row
        except csv.Error as error:
            raise UserError(
                f"{path} line {reader.line_num} is not well quoted ({error}); put a text with a quotation mark, a "
                "line end or the separator between quotation marks, and double those within it"
            ) from error


def _of_json(path: Path) -> Iterator[Row]:
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield json_row(path, number, line)


def _of_parquet(path: Path, columns: list[str] | None) -> Iterator[Row]:
    import pyarrow.parquet as pq

    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            batch.validate(full=True)  # parquet says that its texts are UTF-8, and does not look
            for values in batch.to_pylist():
                number += 1
                yield Row(path, number, values)
