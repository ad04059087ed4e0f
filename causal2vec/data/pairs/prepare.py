"""Prepare training pairs of any kind: compare, decontaminate, split off validation, write. Never all in memory at once.

A reader per kind gives candidates (`causal2vec.data.pairs.packages`, `causal2vec.data.pairs.mixes`,
`causal2vec.data.pairs.own`). What is left of them is staged in one file per source, with a few hashes per pair; these
decide what goes to validation, and what may not stay in training beside it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from causal2vec.data.corpora.text import plain
from causal2vec.data.pairs.decontaminate import NgramIndex, contaminated, index_files
from causal2vec.data.pairs.files import (
    PAIR_COLUMNS,
    ROWS,
    Candidate,
    Source,
    arrow_stream,
    mapped_table,
    negative_columns,
    shuffle_key,
    text_schema,
)
from causal2vec.data.pairs.mixes import mix_folder, mix_sources
from causal2vec.data.pairs.own import own_sources
from causal2vec.data.pairs.packages import package_sources
from causal2vec.errors import UserError
from causal2vec.runtime.files import atomic_folder, sha256_file, write_json

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from causal2vec.config import Pairs

_KEYS = ("validation_key", "query_key", "positive_key", "record_key")
_DROPPED = ("dropped_without_negative", "dropped_duplicates", "dropped_contaminated", "dropped_over_cap")


def prepare(
    pairs: Pairs, packages: Path, output: Path, *, eval_texts: list[Path], fetched: Path | None = None
) -> dict[str, Any]:
    """Write the configured pairs as ``train.parquet``, ``validation.parquet``, ``train/SOURCE.arrow``, ``report.json``.

    Args:
        pairs: The configuration's section.
        packages: For kind ``packages``: one folder per data package.
        output: Appears whole or not at all; equal input gives equal bytes.
        eval_texts: Parquet files with a column ``text``; used only if ``pairs.decontaminate_ngram`` is set.
        fetched: For a mix from the hub: the record of its download.

    Returns:
        The report: per configured source what became of its candidates, and the sizes of what was written.

    Raises:
        UserError: A file or source is absent, a line is at fault (with file and line number), no pair of a source
            has a hard negative although they are asked for, or there are too few pairs for validation.
    """
    if not pairs.sources:
        raise UserError("pairs.sources names no source of pairs; see docs/data.md for those that there are")
    index = None if pairs.decontaminate_ngram is None else index_files(eval_texts, pairs.decontaminate_ngram)
    if pairs.kind == "packages":
        sources = package_sources(pairs, packages)
    else:
        sources = own_sources(pairs) if pairs.kind == "files" else mix_sources(pairs, mix_folder(pairs, fetched))
    with atomic_folder(output) as draft:
        stage = draft / ".stage"
        stage.mkdir()
        seen: set[int] = set()
        counts = {n: source.facts | _stage(pairs, n, source, stage, index, seen) for n, source in sources.items()}
        written = _split(pairs, stage, draft, [name for source in sources.values() for name in source.written])
        stage.rmdir()
        report = {
            "kind": pairs.kind,
            "sources": counts,
            "written": written,
            "train": sum(counted["train"] for counted in written.values()),
            "validation": pairs.validation,
            "negatives": pairs.negatives,
            "seed": pairs.seed,
            "ngram": pairs.decontaminate_ngram,
            **{f"{name}_sha256": sha256_file(draft / f"{name}.parquet") for name in ("train", "validation")},
        }
        write_json(draft / "report.json", report)
    return report


class _Row(NamedTuple):
    """A candidate with what decides its fate."""

    candidate: Candidate
    pair_id: str
    keys: tuple[int, int, int, int]
    """As `_KEYS`. Texts count as equal without case and punctuation."""


def _row(candidate: Candidate, seed: int) -> _Row:
    pair_id = candidate.pair_id
    texts = [plain(text) or text for text in (candidate.query, candidate.positive)]
    digests = [
        shuffle_key(pair_id, seed + 1),
        *(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in (*texts, candidate.record or pair_id)),
    ]
    validation, query, positive, record = (int.from_bytes(digest[:8], "big") for digest in digests)
    return _Row(candidate, pair_id, (validation, query, positive, record))


def _stage(
    pairs: Pairs, name: str, source: Source, stage: Path, index: NgramIndex | None, seen: set[int]
) -> dict[str, int]:
    """Write one source's clean pairs to ``stage`` and count what was lost at each step."""
    import pyarrow as pa

    counts: Counter[str] = Counter(dict.fromkeys(_DROPPED, 0))
    rows = _distinct(pairs, source, source.candidates(counts), seen, counts)
    texts = text_schema([*PAIR_COLUMNS, *negative_columns(max(1, pairs.negatives))])
    schema = pa.schema([*texts, *((key, pa.uint64()) for key in _KEYS)])
    kept: Counter[str] = Counter()
    with ExitStack() as stack:
        writers = {s: stack.enter_context(arrow_stream(stage / f"{s}.arrow", schema)) for s in source.written}
        while chunk := list(islice(rows, ROWS)):
            clean = _without_leaks(chunk, index)
            counts["dropped_contaminated"] += len(chunk) - len(clean)
            room = len(clean) if source.cap is None else source.cap - kept.total()
            counts["dropped_over_cap"] += len(clean[room:])
            for target, writer in writers.items():
                if own := [_record(row, pairs.negatives) for row in clean[:room] if row.candidate.source == target]:
                    writer.write_batch(pa.RecordBatch.from_pylist(own, schema=schema))
                    kept[target] += len(own)
    for target in source.written:
        if not kept[target]:
            what = ", ".join(f"{key}: {count}" for key, count in counts.items() if count) or "it is empty"
            advice = "raise its amount in pairs.sources or leave it out"
            if counts["dropped_without_negative"]:
                advice = f"pairs.negatives is {pairs.negatives}: set it to 0, or leave the source out"
            raise UserError(f"the source '{target}' has no pair left ({what}); {advice}")
    return dict(counts)


def _distinct(
    pairs: Pairs, source: Source, candidates: Iterator[Candidate], seen: set[int], counts: Counter[str]
) -> Iterator[_Row]:
    """Candidates as rows, without those that lack a wanted negative or say what another said before."""
    queries: set[int] = set()
    positives: set[int] = set()
    for candidate in candidates:
        if pairs.negatives and not candidate.negatives:
            counts["dropped_without_negative"] += 1
            continue
        row = _row(candidate, pairs.seed)
        _, query, positive, _ = row.keys
        both = (query * 3 + positive) % 2**64
        if both in seen or query in queries or positive in positives:
            counts["dropped_duplicates"] += 1
            continue
        seen.add(both)
        if source.distinct:
            queries.add(query)
            positives.add(positive)
        yield row


def _without_leaks(rows: list[_Row], index: NgramIndex | None) -> list[_Row]:
    if index is None:
        return rows
    leaked = contaminated((row.candidate.query for row in rows), index)
    leaked |= contaminated((row.candidate.positive for row in rows), index)
    return [row for row, bad in zip(rows, leaked, strict=True) if not bad]


def _record(row: _Row, negatives: int) -> dict[str, Any]:
    """A row as it is staged; one with too few negatives has them more than once."""
    query, positive, source, given, _ = row.candidate
    return {
        **dict(zip(PAIR_COLUMNS, (query, positive, source, row.pair_id), strict=True)),
        **{column: given[i % len(given)] for i, column in enumerate(negative_columns(negatives))},
        **dict(zip(_KEYS, row.keys, strict=True)),
    }


def _split(pairs: Pairs, stage: Path, draft: Path, sources: list[str]) -> dict[str, dict[str, int]]:
    """Split the staged pairs into training and validation, and count both per source; empties ``stage``.

    Pairs that share a text or a record with a validation pair go to neither.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    def keys(source: str, name: str) -> NDArray[np.uint64]:
        return mapped_table(stage / f"{source}.arrow")[name].to_numpy()  # type: ignore[no-any-return]

    held = _held_rows({s: keys(s, "validation_key") for s in sources}, pairs.validation)
    texts = np.concatenate([keys(s, name)[held[s]] for s in sources for name in ("query_key", "positive_key")])
    records = np.concatenate([keys(s, "record_key")[held[s]] for s in sources])
    schema = text_schema([*PAIR_COLUMNS, *negative_columns(max(1, pairs.negatives))])
    written: dict[str, dict[str, int]] = {}
    validation: list[pa.RecordBatch] = []
    (draft / "train").mkdir()

    def training() -> Iterator[pa.RecordBatch]:
        columns = text_schema(["query", "positive", *negative_columns(pairs.negatives)])
        for s in sources:
            path = stage / f"{s}.arrow"
            shared = np.isin(keys(s, "query_key"), texts) | np.isin(keys(s, "positive_key"), texts)
            stays = ~(shared | np.isin(keys(s, "record_key"), records))
            is_held = np.isin(np.arange(len(stays)), held[s])
            start = 0
            with arrow_stream(draft / "train" / path.name, columns) as writer:
                for batch in mapped_table(path).select(schema.names).to_batches():
                    part = slice(start, start := start + batch.num_rows)
                    validation.append(batch.filter(pa.array(is_held[part])))
                    if (train := batch.filter(pa.array(stays[part]))).num_rows:
                        writer.write_batch(train.select(columns.names))
                        yield train
            path.unlink()
            counted = {"train": int(stays.sum()), "validation": len(held[s])}
            written[s] = counted | {"dropped_shared_with_validation": len(stays) - sum(counted.values())}

    with pq.ParquetWriter(draft / "train.parquet", schema, compression="zstd") as writer:
        if pairs.kind == "packages":  # small; a mix is written source by source
            writer.write_table(_shuffled(training(), schema, pairs.seed))
        else:
            for batch in training():
                writer.write_batch(batch)
    with pq.ParquetWriter(draft / "validation.parquet", schema, compression="zstd") as writer:
        writer.write_table(_shuffled(validation, schema, pairs.seed))
    return written


def _shuffled(batches: Iterable[pa.RecordBatch], schema: pa.Schema, seed: int) -> pa.Table:
    import pyarrow as pa

    table = pa.Table.from_batches(list(batches), schema)
    keys = [shuffle_key(pair_id, seed) for pair_id in table["pair_id"].to_pylist()]
    return table.take(pa.array(sorted(range(len(keys)), key=keys.__getitem__), pa.int64())).combine_chunks()


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
