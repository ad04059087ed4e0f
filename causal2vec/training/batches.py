"""Training pairs as the trainer takes them: one data set per source, mapped into memory, with its prompts."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.config.prompts import Prompts
from causal2vec.data.pairs.files import (
    PAIR_COLUMNS,
    arrow_stream,
    checked_batches,
    opened_pairs,
    pair_batches,
    text_columns,
    text_schema,
)
from causal2vec.errors import UserError, one_line
from causal2vec.training import ranks

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)


def load_training_data(folder: Path) -> DatasetDict:
    """Training pairs as one data set per source, so that a batch comes from one source only.

    The files are mapped, so memory holds what is being looked at and not the whole. A folder of the user's own with
    nothing but ``train.parquet`` is split into temporary files for the purpose (in TMPDIR, as large as the texts).

    Args:
        folder: What `causal2vec.data.pairs.prepare` wrote, or the user's own.

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
    rows, expected = sum(len(part) for part in data.values()), opened_pairs(folder / "train.parquet").metadata.num_rows
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


def _mapped(path: Path) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    try:
        return Dataset.from_file(str(path))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); prepare the pairs again") from error


def _of_parquet(path: Path) -> dict[str, Dataset]:
    """The sources of a parquet file, each mapped from a file that is gone when nothing refers to it any more."""
    file = opened_pairs(path)
    if not file.metadata.num_rows:
        raise UserError(f"{path} holds no pairs; prepare them again with more")
    rows, filled = _census(path, file)
    names = sorted(rows)
    negatives = [name for name in text_columns(file.schema_arrow) if name not in PAIR_COLUMNS]
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
    for batch in checked_batches(path, file):
        counted = [n for n in text_columns(batch.schema) if n not in PAIR_COLUMNS]
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
        for batch in pair_batches(file):
            for source in pc.unique(batch["source"]).to_pylist():
                own = batch.filter(pc.equal(batch["source"], source)).select(columns[source])
                writers[source].write_batch(own.cast(text_schema(columns[source])))
