"""Prepare training pairs from data packages: collect, clean, decontaminate, split off validation, write."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from causal2vec.data.corpora.splits import Split, read_split
from causal2vec.data.corpora.text import plain, shorten, tidy
from causal2vec.data.pairs.decontaminate import NgramIndex, contaminated, index_files
from causal2vec.data.pairs.mix_files import PAIR_COLUMNS, write_training_files
from causal2vec.data.pairs.mixes import mix_folder, prepare_mix
from causal2vec.data.pairs.read import read_pairs
from causal2vec.data.pairs.sources import CORPUS, SOURCES, SYMMETRIC, RawPair
from causal2vec.errors import UserError
from causal2vec.runtime.files import atomic_folder, sha256_file, write_json

if TYPE_CHECKING:
    from causal2vec.config import Pairs

__all__ = ["MAX_CHARACTERS", "SOURCES", "SYMMETRIC", "Pair", "prepare", "prepare_pairs", "read_pairs"]

MAX_CHARACTERS = 2000
"""Longer texts are cut at a sentence: no configured model reads more of a training text."""
MIN_CHARACTERS = 3


class Pair(NamedTuple):
    """A training pair as it is written; ``record`` names what it was made from and is not written."""

    query: str
    positive: str
    source: str
    pair_id: str
    record: str


def prepare(
    pairs: Pairs, packages: Path, output: Path, *, eval_texts: list[Path], fetched: Path | None = None
) -> dict[str, Any]:
    """Write the configured pairs of any kind into the folder ``output``; returns the report.

    Args:
        pairs: The configuration's section.
        packages: For kind ``packages``: one folder per data package.
        output: Appears whole or not at all.
        eval_texts: As in `prepare_pairs`.
        fetched: For a mix from the hub: the record of its download.

    Raises:
        UserError: As in `prepare_pairs` and `causal2vec.data.pairs.mixes.prepare_mix`.
    """
    if pairs.kind == "files":
        return prepare_mix(pairs, None, output, eval_texts=eval_texts)
    if pairs.kind != "packages":
        return prepare_mix(pairs, mix_folder(pairs, fetched), output, eval_texts=eval_texts)
    return prepare_pairs(
        packages,
        output,
        sources={name: int(amount) for name, amount in pairs.sources.items()},
        validation=pairs.validation,
        seed=pairs.seed,
        eval_texts=eval_texts,
        ngram=pairs.decontaminate_ngram,
    )


def prepare_pairs(
    packages: Path,
    output: Path,
    *,
    sources: dict[str, int],
    validation: int,
    seed: int,
    eval_texts: list[Path],
    ngram: int | None,
) -> dict[str, Any]:
    """Write ``train.parquet``, ``validation.parquet``, ``train/SOURCE.arrow`` and ``report.json`` into ``output``.

    ``packages`` holds one folder per data package, ``sources`` gives the most pairs wanted per source (after
    cleaning, validation included), ``validation`` the number of validation pairs over all sources, spread
    evenly. Pairs that share a run of ``ngram`` words with a text in ``eval_texts`` (parquet files with a
    column ``text``) are left out; ``None`` leaves none out. Equal input gives equal bytes. Returns the report.

    Raises:
        UserError: A source is unknown, a cap or count is not positive, a file is missing or damaged, or there
            are too few pairs to split off the validation pairs.
    """
    _check(sources, validation)
    index = None if ngram is None else index_files(eval_texts, ngram)
    split = read_split(packages, evaluation=False, corpora={CORPUS[name] for name in sources})
    report: dict[str, dict[str, int]] = {}
    chosen: dict[str, list[Pair]] = {}
    seen: set[str] = set()
    for name in sorted(sources):
        chosen[name], report[name] = _source_pairs(name, sources[name], split, index, seen, seed)
    held = _validation_pairs(chosen, validation, seed)
    train = _without(chosen, held, report)
    return _write(output, _shuffled(train, seed), _shuffled(held, seed), report, seed, ngram)


def _check(sources: dict[str, int], validation: int) -> None:
    unknown = sorted(set(sources) - set(SOURCES))
    if unknown:
        raise UserError(f"there is no source of pairs {unknown[0]!r}; choose from {', '.join(SOURCES)}")
    if not sources:
        raise UserError(f"no source of pairs is named; choose from {', '.join(SOURCES)}")
    for name, cap in sources.items():
        if cap < 1:
            raise UserError(f"source {name!r} has the cap {cap}; use a positive number or leave the source out")
    if validation < 0:
        raise UserError(f"validation is {validation}; use 0 or a positive number of pairs")


def _source_pairs(
    name: str, cap: int, split: Split, index: NgramIndex | None, seen: set[str], seed: int
) -> tuple[list[Pair], dict[str, int]]:
    """The pairs of one source after cleaning, at most ``cap``, and how many were lost at each step."""
    cleaned = [pair for raw in SOURCES[name](split) if (pair := _clean(raw, name))]
    distinct = _distinct(_shuffled(cleaned, seed), seen)
    clean = distinct
    if index is not None:
        leaked = contaminated((p.query for p in distinct), index) | contaminated((p.positive for p in distinct), index)
        clean = [pair for pair, bad in zip(distinct, leaked, strict=True) if not bad]
    counts = {
        "available": len(cleaned),
        "dropped_duplicates": len(cleaned) - len(distinct),
        "dropped_contaminated": len(distinct) - len(clean),
        "dropped_over_cap": max(0, len(clean) - cap),
    }
    return clean[:cap], counts


def _clean(raw: RawPair, source: str) -> Pair | None:
    """The tidied pair, or None if a side is too short or both say the same."""
    query, positive = (shorten(tidy(text), MAX_CHARACTERS) for text in (raw.query, raw.positive))
    if min(len(query), len(positive)) < MIN_CHARACTERS or plain(query) == plain(positive):
        return None
    if not plain(query) or not plain(positive):
        return None
    digest = hashlib.sha256(f"{source}\0{query}\0{positive}".encode()).hexdigest()
    return Pair(query, positive, source, digest[:16], raw.record)


def _shuffled(pairs: list[Pair], seed: int) -> list[Pair]:
    """``pairs`` in an order that depends on the seed and the pairs only, on every machine and version."""
    return sorted(pairs, key=lambda p: hashlib.sha256(f"{seed} {p.pair_id}".encode()).digest())


def _distinct(pairs: list[Pair], seen: set[str]) -> list[Pair]:
    """Pairs whose query and positive are new to their source and whose combination is new to all sources.

    A text that came twice would be its own false negative in a batch.
    """
    queries: set[str] = set()
    positives: set[str] = set()
    kept = []
    for pair in pairs:
        query, positive = plain(pair.query), plain(pair.positive)
        both = f"{query}\0{positive}"
        if query in queries or positive in positives or both in seen:
            continue
        queries.add(query)
        positives.add(positive)
        seen.add(both)
        kept.append(pair)
    return kept


def _validation_pairs(chosen: dict[str, list[Pair]], validation: int, seed: int) -> list[Pair]:
    """``validation`` pairs, evenly from all sources; what a small source lacks the others give."""
    held: list[Pair] = []
    by_size = sorted(chosen, key=lambda name: (len(chosen[name]), name))
    for position, name in enumerate(by_size):
        share = (validation - len(held)) // (len(by_size) - position)
        held += _shuffled(chosen[name], seed + 1)[: min(share, len(chosen[name]) // 2)]
    if len(held) < validation:
        total = sum(map(len, chosen.values()))
        raise UserError(f"validation asks for {validation} of {total} pairs; ask for fewer or raise the caps")
    return held


def _without(chosen: dict[str, list[Pair]], held: list[Pair], report: dict[str, dict[str, int]]) -> list[Pair]:
    """The pairs that share neither record nor text with validation; completes the report."""
    records = {pair.record for pair in held}
    texts = {plain(text) for pair in held for text in (pair.query, pair.positive)}
    held_count = Counter(pair.source for pair in held)
    train: list[Pair] = []
    for name, pairs in chosen.items():
        kept = [p for p in pairs if p.record not in records and not {plain(p.query), plain(p.positive)} & texts]
        report[name]["validation"] = held_count[name]
        report[name]["dropped_shared_with_validation"] = len(pairs) - held_count[name] - len(kept)
        report[name]["kept"] = len(kept)
        train += kept
    return train


def _write(
    output: Path,
    train: list[Pair],
    held: list[Pair],
    sources: dict[str, dict[str, int]],
    seed: int,
    ngram: int | None,
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "sources": {name: counts | {"symmetric": name in SYMMETRIC} for name, counts in sources.items()},
        "train": len(train),
        "validation": len(held),
        "seed": seed,
        "ngram": ngram,
    }
    with atomic_folder(output) as draft:
        for name, pairs in (("train", train), ("validation", held)):
            path = draft / f"{name}.parquet"
            _write_parquet(path, pairs)
            report[f"{name}_sha256"] = sha256_file(path)
        by_source: dict[str, list[dict[str, str]]] = {}
        for pair in train:
            by_source.setdefault(pair.source, []).append({"query": pair.query, "positive": pair.positive})
        write_training_files(draft / "train", by_source)
        write_json(draft / "report.json", report)
    return report


def _write_parquet(path: Path, pairs: list[Pair]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in (*PAIR_COLUMNS, "negative_1")])
    columns = {name: [getattr(pair, name) for pair in pairs] for name in PAIR_COLUMNS}
    # no source has hard negatives yet, but readers may count on the column
    pq.write_table(pa.table(columns | {"negative_1": [None] * len(pairs)}, schema=schema), path, compression="zstd")
