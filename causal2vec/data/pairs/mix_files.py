"""Files of training pairs, written batch by batch: parquet to look at and pass on, an Arrow stream per source to
train from, which is mapped into memory instead of read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

PAIR_COLUMNS = ("query", "positive", "source", "pair_id")
"""Every file of pairs has these."""
NEGATIVE = re.compile(r"(hard[-_ ]?)?neg(ative)?s?[-_ ]?\d*$", re.IGNORECASE)
"""What columns of hard negatives are called."""
ROWS = 1_000
"""Rows in a record batch and a row group: what is in memory at once."""


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


@contextlib.contextmanager
def parquet_stream(path: Path, schema: pa.Schema) -> Iterator[Any]:
    """A writer of record batches to a parquet file, a row group each."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield writer


def mapped_table(path: Path) -> pa.Table:
    """The table in an Arrow stream, mapped: its pages come from the disk when they are looked at.

    Raises:
        pyarrow.ArrowException: It is no Arrow stream, or was cut off.
    """
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def write_training_files(folder: Path, rows: dict[str, list[dict[str, str]]]) -> None:
    """``folder/SOURCE.arrow`` from rows in memory, columns as the first row has them."""
    import pyarrow as pa

    folder.mkdir()
    for source, examples in rows.items():
        schema = text_schema(examples[0])
        with arrow_stream(folder / f"{source}.arrow", schema) as writer:
            for start in range(0, len(examples), ROWS):
                writer.write_batch(pa.RecordBatch.from_pylist(examples[start : start + ROWS], schema=schema))
