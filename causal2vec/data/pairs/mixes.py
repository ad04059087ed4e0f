"""Prepare a public training mix: draw, clean, decontaminate, split off validation. Never all in memory at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from causal2vec.data.pairs.mix_files import (
    PAIR_COLUMNS,
    ROWS,
    arrow_stream,
    mapped_table,
    negative_columns,
    parquet_stream,
    text_schema,
)
from causal2vec.data.pairs.mix_lines import (
    SUFFIXES,
    Example,
    Keys,
    Line,
    Source,
    drawn_lines,
    files_of,
    line_key,
    mix_source,
    parse_line,
    written_source,
    written_sources,
)
from causal2vec.errors import UserError
from causal2vec.runtime.files import atomic_folder, read_json, sha256_file, write_json

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from causal2vec.config import Pairs
    from causal2vec.data.pairs.decontaminate import NgramIndex

_HASHES = ("validation_key", "query_key", "positive_key")
_WHERE = "pairs.repository"


def fetch_pairs(pairs: Pairs, output: Path) -> dict[str, Any]:
    """Download a mix into the hub's cache and write its record: commit, files with sizes and checksums.

    Raises:
        UserError: The hub, the network or the disk refuses, or the mix lacks a configured source.
    """
    from causal2vec.fetch.hub import obtain

    if pairs.repository is None or pairs.revision is None:
        raise UserError("pairs.repository and pairs.revision are not set, so there is no training mix to fetch")
    allow = [f"*{suffix}" for suffix in SUFFIXES]
    folder, facts = obtain(pairs.repository, pairs.revision, kind="dataset", where=_WHERE, allow=allow)
    for source in pairs.sources:
        files_of(folder, source)
    write_json(output, facts)
    return facts


def mix_folder(pairs: Pairs, fetched: Path | None) -> Path:
    """Where a mix lies: the configured folder, or the hub's cache at the commit that ``fetched`` records.

    Raises:
        UserError: The mix is not there, or a file has changed since it was fetched.
    """
    if pairs.folder is not None:
        return Path(pairs.folder).expanduser()
    from causal2vec.fetch.hub import from_cache

    if fetched is None:
        raise UserError("pairs.folder is not set and nothing was fetched; run `snakemake fetch` or set pairs.folder")
    return from_cache(read_json(fetched), kind="dataset", where=_WHERE)


def prepare_mix(pairs: Pairs, folder: Path | None, output: Path, *, eval_texts: list[Path]) -> dict[str, Any]:
    """Write a mix, or the user's own files, as pairs into the folder ``output``; see docs/data.md for what is in it.

    Args:
        pairs: Which sources and how much of each, hard negatives per pair, validation, seed, decontamination.
        folder: Where the mix's jsonl files lie; ``None`` for kind ``files``.
        output: Appears whole or not at all; equal input gives equal bytes.
        eval_texts: Parquet files with a column ``text``; used only if ``pairs.decontaminate_ngram`` is set.

    Returns:
        The report: per configured source what became of its lines, and the sizes of what was written.

    Raises:
        UserError: A file or source is absent, a line is at fault (with file and line number), no line of a source
            has a hard negative although they are asked for, or there are too few pairs for validation.
    """
    from causal2vec.data.pairs.decontaminate import index_files
    from causal2vec.data.pairs.own import own_source

    if not pairs.sources:
        raise UserError("pairs.sources names no source")
    names = sorted(pairs.sources)
    sources = {n: mix_source(pairs, folder, n) if folder else own_source(pairs, n) for n in names}
    index = None if pairs.decontaminate_ngram is None else index_files(eval_texts, pairs.decontaminate_ngram)
    with atomic_folder(output) as draft:
        stage = draft / ".stage"
        stage.mkdir()
        seen: set[int] = set()
        report = {name: _stage(pairs, name, source, stage, index, seen) for name, source in sources.items()}
        report = _finish(pairs, stage, draft, report)
        stage.rmdir()
        write_json(draft / "report.json", report)
    return report


class _Row(NamedTuple):
    """An example with what decides its fate."""

    example: Example
    source: str
    pair_id: str
    hashes: tuple[int, int, int]
    """As `_HASHES`."""


def _stage(
    pairs: Pairs, name: str, source: Source, stage: Path, index: NgramIndex | None, seen: set[int]
) -> dict[str, Any]:
    """Write one source's clean examples to ``stage`` and count its lines."""
    import pyarrow as pa

    counts: dict[str, Any] = {}
    lost: Counter[str] = Counter()
    files = source.files
    drawn = drawn_lines(source, pairs.sources[name], pairs.seed, counts)
    rows = _rows(pairs, name, source.keys, drawn, seen, lost)
    schema = _staged_schema(pairs.negatives)
    written = written_sources(pairs.model_copy(update={"sources": {name: 1}}))
    with ExitStack() as stack:
        writers = {s: stack.enter_context(arrow_stream(stage / f"{s}.arrow", schema)) for s in written}
        while chunk := list(islice(rows, ROWS)):
            clean = _without_leaks(chunk, index)
            lost["dropped_contaminated"] += len(chunk) - len(clean)
            for target, writer in writers.items():
                own = [_record(row, pairs.negatives) for row in clean if row.source == target]
                if own:
                    writer.write_batch(pa.RecordBatch.from_pylist(own, schema=schema))
    if lost["dropped_without_negative"] and lost["dropped_without_negative"] == counts["lines"] - counts["not_drawn"]:
        raise UserError(
            f"{files[0]}: no line of the source '{name}' has a '{source.keys.negatives}', but pairs.negatives is "
            f"{pairs.negatives}; set it to 0 or leave the source out"
        )
    for target in written:
        if not mapped_table(stage / f"{target}.arrow").num_rows:
            raise UserError(
                f"{files[0]}: the source '{target}' has no pair left of {counts['lines']} lines, of which "
                f"{counts['not_drawn']} were not drawn; raise its amount in pairs.sources or leave it out"
            )
    dropped = ("dropped_without_negative", "dropped_duplicates", "dropped_contaminated")
    return {"files": [path.name for path in files], **counts, **{key: lost[key] for key in dropped}}


def _rows(
    pairs: Pairs, name: str, keys: Keys, lines: Iterator[Line], seen: set[int], lost: Counter[str]
) -> Iterator[_Row]:
    """Drawn lines as rows, without those that lack a wanted negative or say what another said already."""
    for line in lines:
        example = parse_line(line, keys)
        if pairs.negatives and not example.negatives:
            lost["dropped_without_negative"] += 1
            continue
        texts = example.query.encode(), example.positive.encode()
        query, positive = line_key(texts[0], "text"), line_key(texts[1], "text")
        both = (query * 3 + positive) % 2**64
        if both in seen:
            lost["dropped_duplicates"] += 1
            continue
        seen.add(both)
        source = written_source(pairs, name, line.number)
        pair_id = hashlib.sha256(b"\0".join((source.encode(), *texts))).hexdigest()[:16]
        yield _Row(example, source, pair_id, (line_key(pair_id.encode(), f"{pairs.seed} validation"), query, positive))


def _without_leaks(rows: list[_Row], index: NgramIndex | None) -> list[_Row]:
    if index is None:
        return rows
    from causal2vec.data.pairs.decontaminate import contaminated

    leaked = contaminated((r.example.query for r in rows), index)
    leaked |= contaminated((r.example.positive for r in rows), index)
    return [row for row, bad in zip(rows, leaked, strict=True) if not bad]


def _staged_schema(negatives: int) -> pa.Schema:
    import pyarrow as pa

    texts = text_schema([*PAIR_COLUMNS, *negative_columns(negatives)])
    return pa.schema([*texts, *((name, pa.uint64()) for name in _HASHES)])


def _record(row: _Row, negatives: int) -> dict[str, Any]:
    """A row as it is staged; one with too few negatives has them more than once."""
    given = row.example.negatives
    return {
        "query": row.example.query,
        "positive": row.example.positive,
        "source": row.source,
        "pair_id": row.pair_id,
        **{column: given[i % len(given)] for i, column in enumerate(negative_columns(negatives))},
        **dict(zip(_HASHES, row.hashes, strict=True)),
    }


def _finish(pairs: Pairs, stage: Path, draft: Path, counts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Split the staged rows into training and validation; empties ``stage``."""
    import numpy as np
    import pyarrow as pa

    sources = written_sources(pairs)
    held = _held_rows({s: _column(stage, s, "validation_key") for s in sources}, pairs.validation)
    keys = [_column(stage, s, key)[held[s]] for s in sources for key in ("query_key", "positive_key")]
    texts = np.unique(np.concatenate(keys))
    schema = text_schema([*PAIR_COLUMNS, *negative_columns(pairs.negatives)])
    written: dict[str, dict[str, int]] = {}
    validation: list[pa.RecordBatch] = []
    (draft / "train").mkdir()
    paths = {name: draft / f"{name}.parquet" for name in ("train", "validation")}
    with parquet_stream(paths["train"], schema) as writer:
        for source in sources:
            staged = stage / f"{source}.arrow"
            target = draft / "train" / staged.name
            written[source] = _split(staged, target, writer, schema, held[source], texts, validation)
            staged.unlink()
    with parquet_stream(paths["validation"], schema) as writer:
        writer.write_table(pa.Table.from_batches(validation, schema))
    return {
        "kind": pairs.kind,
        "sources": counts,
        "written": written,
        "train": sum(counted["train"] for counted in written.values()),
        "validation": pairs.validation,
        "negatives": pairs.negatives,
        "seed": pairs.seed,
        "ngram": pairs.decontaminate_ngram,
        **{f"{name}_sha256": sha256_file(path) for name, path in paths.items()},
    }


def _column(stage: Path, source: str, name: str) -> NDArray[np.uint64]:
    return mapped_table(stage / f"{source}.arrow")[name].to_numpy()  # type: ignore[no-any-return]


def _held_rows(keys: dict[str, NDArray[np.uint64]], validation: int) -> dict[str, NDArray[np.intp]]:
    """Which rows of each source go to validation: evenly many; what a small source lacks the others give."""
    import numpy as np

    held: dict[str, NDArray[np.intp]] = {}
    left = validation
    for position, name in enumerate(sorted(keys, key=lambda name: (len(keys[name]), name))):
        count = min(left // (len(keys) - position), len(keys[name]) // 2)
        held[name] = np.sort(np.argsort(keys[name], kind="stable")[:count])
        left -= count
    if left:
        total = sum(map(len, keys.values()))
        raise UserError(f"validation asks for {validation} of {total} pairs; ask for fewer or take more of the sources")
    return held


def _split(
    staged: Path,
    target: Path,
    parquet: Any,
    schema: pa.Schema,
    held: NDArray[np.intp],
    texts: NDArray[np.uint64],
    validation: list[pa.RecordBatch],
) -> dict[str, int]:
    """Copy one source's rows to training, and the ``held`` ones to ``validation``.

    Rows that share a text with a validation pair (hashes in ``texts``) go to neither.
    """
    import numpy as np
    import pyarrow as pa

    columns = [name for name in schema.names if name not in ("source", "pair_id")]
    rows = train_rows = 0
    with arrow_stream(target, text_schema(columns)) as writer:
        for batch in mapped_table(staged).to_batches():
            is_held = np.isin(np.arange(rows, rows + batch.num_rows), held)
            shared = np.isin(batch["query_key"].to_numpy(), texts) | np.isin(batch["positive_key"].to_numpy(), texts)
            own = batch.select(schema.names)
            if is_held.any():
                validation.append(own.filter(pa.array(is_held)))
            train = own.filter(pa.array(~shared))
            if train.num_rows:
                writer.write_batch(train.select(columns))
                parquet.write_batch(train)
            rows += batch.num_rows
            train_rows += train.num_rows
    return {
        "train": train_rows,
        "validation": len(held),
        "dropped_shared_with_validation": rows - len(held) - train_rows,
    }
