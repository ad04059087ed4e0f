"""Gather what the jobs left, item-level results and training records, into a few files that travel well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causal2vec.errors import UserError, one_line
from causal2vec.evaluation.items import COLUMNS
from causal2vec.runtime.files import atomic_file, atomic_folder, read_json, write_json

TAGS = ("method", "base", "seed")
"""What names the run in a gathered file, before the columns of `causal2vec.evaluation.items`."""


def collect_items(jobs: list[Path], output: Path) -> None:
    """Write one parquet file per task with the item-level results of all jobs.

    Args:
        jobs: The evaluation jobs' folders, each with ``record.json`` and ``items/<Task>.parquet``.
        output: The folder to write; it appears whole.

    Raises:
        UserError: A job's items cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables: dict[str, list[Any]] = {}
    for job in sorted(jobs):
        record = read_json(job / "record.json")
        for path in sorted((job / "items").glob("*.parquet")):
            try:
                table = pq.read_table(path)
            except (OSError, pa.ArrowInvalid) as error:
                raise UserError(
                    f"{path} cannot be read ({one_line(error)}); delete {job} and evaluate it again"
                ) from error
            if strange := set(table.column_names) ^ set(COLUMNS):
                raise UserError(
                    f"{path} has other columns than {', '.join(COLUMNS)} (such as {min(strange)!r}); delete {job} and "
                    "evaluate it again"
                )
            for position, name in enumerate(TAGS):
                column = pa.array([record[name]] * len(table))
                table = table.add_column(position, name, column)
            tables.setdefault(path.stem, []).append(table)
    with atomic_folder(output) as draft:
        for task, found in sorted(tables.items()):
            pq.write_table(pa.concat_tables(found), draft / f"{task}.parquet", compression="zstd")


def collect_training(folders: list[Path], output: Path) -> None:
    """Write the training records of model folders as one JSON list, without what only resuming needs.

    Raises:
        UserError: A model folder has no training record.
    """
    records = [read_json(folder / "training.json") for folder in sorted(folders)]
    with atomic_file(output) as draft:
        write_json(draft, records)


def collect_audits(audits: list[Path], output: Path) -> None:
    """Write the audits of all trained models as one JSON list."""
    with atomic_file(output) as draft:
        write_json(draft, [read_json(path) for path in sorted(audits)])
