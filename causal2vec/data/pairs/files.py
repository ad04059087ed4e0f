"""Training pairs as they are passed on: candidates in memory, files on disk, and the checks of whoever reads them.

Files are written and read batch by batch: parquet to look at and pass on, an Arrow stream per source to train from,
which is mapped into memory instead of read.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from causal2vec.errors import UserError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

PAIR_COLUMNS = ("query", "positive", "source", "pair_id")
"""Every file of pairs has these."""
NEGATIVE = re.compile(r"(hard[-_ ]?)?neg(ative)?s?[-_ ]?\d*$", re.IGNORECASE)
"""What columns of hard negatives are called."""
ROWS = 1_000
"""Rows in a record batch and a row group: what is in memory at once."""


class Candidate(NamedTuple):
    """A pair before anything is compared with it."""

    query: str
    positive: str
    source: str
    """The source that training sees."""
    negatives: list[str] = []
    record: str = ""
    """What it was made from: pairs of one record share text, so they stay on one side of validation."""

    @property
    def pair_id(self) -> str:
        """16 hex digits that source and texts decide."""
        return hashlib.sha256("\0".join((self.source, self.query, self.positive)).encode()).hexdigest()[:16]


class Source(NamedTuple):
    """What a reader knows of a source that the configuration names."""

    written: list[str]
    """The sources that training sees: itself, or two, see `causal2vec.data.pairs.mixes.TWO_INSTRUCTIONS`."""
    candidates: Callable[[Counter[str]], Iterator[Candidate]]
    """All candidates in the order in which they are taken; adds to the counter what became of those not given."""
    facts: dict[str, Any]
    """For the report."""
    cap: int | None = None
    """The most that are kept after cleaning."""
    distinct: bool = False
    """Whether no query and no positive may occur twice: a text that does is its own false negative in a batch."""


def shuffle_key(pair_id: str, seed: int) -> bytes:
    """Sorts pairs into an order that depends on the seed and the pairs only, on every machine and version."""
    return hashlib.sha256(f"{seed} {pair_id}".encode()).digest()


def negative_columns(count: int) -> list[str]:
    """``negative_1`` and so on."""
    return [f"negative_{i}" for i in range(1, count + 1)]


def text_schema(columns: Iterable[str]) -> pa.Schema:
    """A schema of text columns."""
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in columns])


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, in any of Arrow's layouts: other libraries write views, and categories."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


@contextlib.contextmanager
def arrow_stream(path: Path, schema: pa.Schema) -> Iterator[Any]:
    """A writer of record batches in Arrow's stream format, which `datasets.Dataset.from_file` maps."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        yield writer


def mapped_table(path: Path) -> pa.Table:
    """The table in an Arrow stream, mapped: its pages come from the disk when they are looked at.

    Raises:
        pyarrow.ArrowException: It is no Arrow stream, or was cut off.
    """
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def read_pairs(path: Path) -> pa.Table:
    """Read and check a file of pairs, ours or the user's own, as a whole.

    Columns ``query``, ``positive``, ``source`` and ``pair_id`` hold non-empty text; ``negative_1`` and so on
    are optional and may be null.

    Raises:
        UserError: The file is missing or no parquet file, a column is missing or no text, or a text is empty;
            the message names the file, the column and the row (counted from 0).
    """
    import pyarrow as pa

    file = opened_pairs(path)
    batches = list(checked_batches(path, file))
    return pa.Table.from_batches(batches, batches[0].schema if batches else file.schema_arrow)


def opened_pairs(path: Path) -> Any:
    """A parquet file of pairs, its columns checked.

    Raises:
        UserError: As for `read_pairs`, but for the texts themselves.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; prepare the pairs first") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a parquet file ({one_line(error)}); prepare the pairs again") from error
    schema = file.schema_arrow
    for name in PAIR_COLUMNS:
        if name not in schema.names:
            raise UserError(f"{path} has no column {name!r}; it needs {', '.join(PAIR_COLUMNS)}")
    for name in schema.names:
        if not name.startswith("negative_") and NEGATIVE.match(name):
            raise UserError(f"{path}: column {name!r} would not be read; call it negative_1 (the next negative_2)")
    for name in text_columns(schema):
        kind = schema.field(name).type
        if not is_text(kind) and not (name not in PAIR_COLUMNS and pa.types.is_null(kind)):
            raise UserError(f"{path}: column {name!r} holds {kind}, not text; correct the file")
    return file


def text_columns(schema: pa.Schema) -> list[str]:
    """The names of the columns that are read."""
    return [name for name in schema.names if name in PAIR_COLUMNS or name.startswith("negative_")]


def checked_batches(path: Path, file: Any) -> Iterator[pa.RecordBatch]:
    """The file's rows, some thousand at a time, each looked at for empty texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    start = 0
    try:
        for batch in pair_batches(file):
            for name in text_columns(batch.schema):
                if pa.types.is_null(batch[name].type):
                    continue
                blank = pc.equal(pc.utf8_trim_whitespace(batch[name]), "")
                row = pc.index(pc.fill_null(blank, name in PAIR_COLUMNS), True).as_py()
                if row >= 0:
                    raise UserError(
                        f"{path}: column {name!r} is empty in row {start + row}; fill it or leave the row out"
                    )
            start += batch.num_rows
            yield batch
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); prepare the pairs again") from error


def pair_batches(file: Any) -> Iterator[pa.RecordBatch]:
    """The file's rows, some thousand at a time, its texts in one layout whatever the file's."""
    import pyarrow as pa

    for batch in file.iter_batches(batch_size=ROWS):
        batch.validate(full=True)  # parquet says that its texts are UTF-8, and does not look
        for place, field in enumerate(batch.schema):
            if is_text(field.type) and field.type != pa.string():
                batch = batch.set_column(place, field.name, batch[place].cast(pa.string()))
        yield batch
