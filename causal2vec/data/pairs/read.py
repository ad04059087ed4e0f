"""Files of training pairs, ours or the user's own, read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.data.pairs.mix_files import NEGATIVE, PAIR_COLUMNS, ROWS, is_text
from causal2vec.errors import UserError, one_line

if TYPE_CHECKING:
    import pyarrow as pa


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
