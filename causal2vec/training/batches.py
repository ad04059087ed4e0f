"""Training pairs as the trainer takes them: one data set per source, mapped into memory, with its prompts."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.config.prompts import Prompts
from causal2vec.data.pairs.mix_files import NEGATIVE, PAIR_COLUMNS, ROWS, arrow_stream, is_text, text_schema
from causal2vec.errors import UserError, one_line
from causal2vec.training import ranks

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)


def load_training_data(folder: Path) -> DatasetDict:
    """Training pairs as one data set per source, so that a batch comes from one source only.

    The files are mapped, so memory holds what is being looked at and not the whole. A folder of the user's own with
    nothing but ``train.parquet`` is split into temporary files for the purpose (in TMPDIR, as large as the texts).

    Args:
        folder: What `prepare_pairs` or `prepare_mix` wrote, or the user's own.

    Returns:
        Source -> columns ``query``, ``positive`` and the ``negative_*`` that all pairs of the source have.

    Raises:
        UserError: The pairs are missing or damaged; the message names the file, and row and column where it can.
    """
    from datasets import DatasetDict

    if not (folder / "train").is_dir():
        return DatasetDict(_of_parquet(folder / "train.parquet"))
    paths = sorted((folder / "train").glob("*.arrow"), key=lambda path: path.stem)
    data = DatasetDict({path.stem: _mapped(path) for path in paths})
    rows, expected = sum(len(part) for part in data.values()), _opened(folder / "train.parquet").metadata.num_rows
    if rows != expected:
        raise UserError(
            f"{folder}/train holds {rows} pairs, but {folder}/train.parquet {expected}; prepare the pairs again, or "
            f"delete {folder}/train to train on the parquet file"
        )
    return data


def check_training_data(data: DatasetDict, batch_size: int) -> None:
    """Say which pairs no batch will ever hold, and refuse batches that teach nothing.

    Raises:
        UserError: A batch holds one pair, and there are sources without hard negatives: its loss is zero.
    """
    alone = [str(source) for source, rows in data.items() if rows.column_names == ["query", "positive"]]
    if batch_size == 1 and alone:
        raise UserError(
            f"budget.batch_size is 1, and the pairs of {', '.join(alone)} have no hard negatives: with nothing to tell "
            "the positive from, the loss is always zero; set it to 2 or more"
        )
    for source, rows in data.items():
        if len(rows) < batch_size:
            _warn(
                f"the source {source} has {len(rows)} pairs, which fill no batch of {batch_size} (budget.batch_size), "
                "so that nothing is learnt from them; add pairs, name a larger source with them, or lower it"
            )


def _warn(text: str) -> None:
    """Once, however many processes train."""
    if ranks.rank() == 0:
        logger.warning(text)
        sys.stderr.write(f"warning: {text}\n")


def column_prompts(prompts: Prompts, data: DatasetDict) -> dict[str, dict[str, str]]:
    """The prompt of every column of every source; a hard negative is read as a positive is.

    Raises:
        UserError: The prompts file has no instruction for a source.
    """
    result = {}
    for source, rows in data.items():
        own = prompts.for_training(str(source))
        result[str(source)] = {column: own.get(column, own["positive"]) for column in rows.column_names}
    return result


def read_pairs(path: Path) -> pa.Table:
    """Read and check a file of pairs, ours or the user's own, as a whole.

    Columns ``query``, ``positive``, ``source`` and ``pair_id`` hold non-empty text; ``negative_1`` and so on
    are optional and may be null.

    Raises:
        UserError: The file is missing or no parquet file, a column is missing or no text, or a text is empty;
            the message names the file, the column and the row (counted from 0).
    """
    import pyarrow as pa

    file = _opened(path)
    batches = list(_checked_batches(path, file))
    return pa.Table.from_batches(batches, batches[0].schema if batches else file.schema_arrow)


def _mapped(path: Path) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    try:
        return Dataset.from_file(str(path))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); prepare the pairs again") from error


def _opened(path: Path) -> Any:
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
    for name in _text_columns(schema):
        kind = schema.field(name).type
        if not is_text(kind) and not (name not in PAIR_COLUMNS and pa.types.is_null(kind)):
            raise UserError(f"{path}: column {name!r} holds {kind}, not text; correct the file")
    return file


def _text_columns(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name in PAIR_COLUMNS or name.startswith("negative_")]


def _checked_batches(path: Path, file: Any) -> Iterator[pa.RecordBatch]:
    """The file's rows, some thousand at a time, each looked at for empty texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    start = 0
    try:
        for batch in _batches(file):
            for name in _text_columns(batch.schema):
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


def _batches(file: Any) -> Iterator[pa.RecordBatch]:
    """The file's rows, some thousand at a time, its texts in one layout whatever the file's."""
    import pyarrow as pa

    for batch in file.iter_batches(batch_size=ROWS):
        batch.validate(full=True)  # parquet says that its texts are UTF-8, and does not look
        for place, field in enumerate(batch.schema):
            if is_text(field.type) and field.type != pa.string():
                batch = batch.set_column(place, field.name, batch[place].cast(pa.string()))
        yield batch


def _of_parquet(path: Path) -> dict[str, Dataset]:
    """The sources of a parquet file, each mapped from a file that is gone when nothing refers to it any more."""
    file = _opened(path)
    if not file.metadata.num_rows:
        raise UserError(f"{path} holds no pairs; prepare them again with more")
    rows, filled = _census(path, file)
    names = sorted(rows)
    negatives = [name for name in _text_columns(file.schema_arrow) if name not in PAIR_COLUMNS]
    for (source, name), given in filled.items():
        if 0 < given < rows[source]:
            _warn(
                f"{path}: {rows[source] - given} of the {rows[source]} pairs of {source} have no {name}, so that none "
                "of them is read with it, as all of a batch need it; fill the column, or leave out these pairs"
            )
    columns = {s: ["query", "positive", *(n for n in negatives if filled[s, n] == rows[s])] for s in names}
    with tempfile.TemporaryDirectory(prefix="causal2vec-pairs-") as folder:
        # numbers as names, as a source of the user's own may hold any character
        paths = {source: Path(folder) / f"{number}.arrow" for number, source in enumerate(names)}
        _split_by_source(file, paths, columns)
        return {source: _mapped(path) for source, path in paths.items()}


def _census(path: Path, file: Any) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Rows per source, and texts per source and negative column; every row is checked on the way."""
    import pyarrow as pa

    rows: Counter[str] = Counter()
    filled: Counter[tuple[str, str]] = Counter()
    for batch in _checked_batches(path, file):
        counted = [n for n in _text_columns(batch.schema) if n not in PAIR_COLUMNS]
        groups = pa.Table.from_batches([batch]).group_by("source")
        for group in groups.aggregate([([], "count_all"), *((n, "count") for n in counted)]).to_pylist():
            rows[group["source"]] += group["count_all"]
            filled.update({(group["source"], name): group[f"{name}_count"] for name in counted})
    return rows, filled


def _split_by_source(file: Any, paths: dict[str, Path], columns: dict[str, list[str]]) -> None:
    import pyarrow.compute as pc

    with ExitStack() as stack:
        writers = {
            source: stack.enter_context(arrow_stream(path, text_schema(columns[source])))
            for source, path in paths.items()
        }
        for batch in _batches(file):
            for source in pc.unique(batch["source"]).to_pylist():
                own = batch.filter(pc.equal(batch["source"], source)).select(columns[source])
                writers[source].write_batch(own.cast(text_schema(columns[source])))
