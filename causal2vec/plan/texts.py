"""Texts to count tokens of: a sample of the prepared pairs, or lengths that are assumed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from causal2vec.config import Pairs
from causal2vec.efficiency.reading import CHARACTERS_PER_TOKEN

ASSUMED = {"packages": (12, 60), "e5": (20, 130), "bge": (20, 130), "files": (20, 130)}
"""Mean tokens of a query (without its instruction) and of a passage, per kind of mix, where no pairs are prepared."""

STAGES = {"mntp": 110, "simcse": 32}
"""Mean tokens of a pre-training stage's own texts (assumed: a paragraph of Wikipedia, a sentence of it)."""

SPREAD = 0.6
"""Of the logarithm of an assumed length: where a batch is padded to its longest text, the spread counts."""

MIX_PAIRS = {"packages": 0, "e5": 1_500_000, "bge": 1_500_000, "files": 100_000}
"""Pairs of a mix that is not prepared yet (e5: its size as published; bge, and the user's own: assumed)."""

ASSUMED_SOURCE = "assumed"
"""Stands for all sources of a mix that is not prepared yet."""

SAMPLE = 2000
"""Pairs looked at."""


class Sample(NamedTuple):
    """Texts by source, one tuple of query, positive and hard negatives per pair; pairs in all; how they are known."""

    rows: dict[str, list[tuple[str, ...]]]
    pairs: int
    assumed: bool


def sample_pairs(pairs: Pairs, folder: Path) -> Sample:
    """Some pairs, from the prepared ones where there are any."""
    files = sorted(folder.glob("train*.parquet")) + sorted(folder.glob("train/**/*.parquet"))
    return _prepared(files, pairs.negatives) if files else _assumed(pairs)


def _prepared(files: list[Path], negatives: int) -> Sample:
    import pyarrow.parquet as pq

    rows: dict[str, list[tuple[str, ...]]] = {}
    total = 0
    for file in files:
        reader = pq.ParquetFile(file)
        total += reader.metadata.num_rows
        names = [c for c in reader.schema_arrow.names if c.startswith("negative")][:negatives]
        batch = next(reader.iter_batches(max(1, SAMPLE // len(files))), None)
        for row in batch.to_pylist() if batch is not None else []:
            found = [row.get(name) for name in ("query", "positive", *names)]
            texts = tuple(str(text) for text in found if text is not None)
            rows.setdefault(str(row.get("source") or file.stem), []).append(texts)
    return Sample(rows, total, False)


def _assumed(pairs: Pairs) -> Sample:
    query, passage = ASSUMED[pairs.kind]
    return Sample(
        {ASSUMED_SOURCE: _lognormal([query, *[passage] * (1 + pairs.negatives)], SAMPLE // 4)},
        sum(a for a in pairs.sources.values() if isinstance(a, int)) or MIX_PAIRS[pairs.kind],
        True,
    )


def _lognormal(means: list[int], count: int) -> list[tuple[str, ...]]:
    generator = random.Random(0)
    return [
        tuple(a_text(mean * generator.lognormvariate(-(SPREAD**2) / 2, SPREAD)) for mean in means) for _ in range(count)
    ]


def a_text(tokens: float) -> str:
    """Some text of so many tokens, at least one."""
    return "x" * max(1, round(tokens * CHARACTERS_PER_TOKEN))


def batches(sample: Sample, batch_size: int, count: int) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Batches as the trainer draws them, each from one source: the source, and the texts by column.

    Sources take turns by their share of the sample; a batch is looked at through at most 128 of its pairs.
    """
    sources = [source for source, rows in sample.rows.items() for _ in rows]
    found = []
    for number in range(count):
        source = sources[(2 * number + 1) * len(sources) // (2 * count)]
        rows = sample.rows[source]
        size = min(batch_size, 128)
        drawn = [rows[(number * size + k) % len(rows)] for k in range(size)]
        width = min(map(len, drawn))
        found.append((source, list(zip(*(row[:width] for row in drawn), strict=True))))
    return found


def stage_widths(sample: Sample, stage: str, own_texts: bool, batch_size: int, max_length: int) -> float:
    """Tokens per row of a pre-training batch, cut; where masked tokens are predicted, padded to its longest text.

    The stage's own texts are assumed to have `STAGES` tokens in the mean; else they are the pairs' positives.
    """
    if own_texts:
        rows = [row[0] for row in _lognormal([STAGES[stage]], SAMPLE // 4)]
    else:
        rows = [row[1] for found in sample.rows.values() for row in found]
    lengths = [min(max_length, 1 + -(-len(text) // CHARACTERS_PER_TOKEN)) for text in rows]
    if stage == "simcse":  # an embedder of this suite, which computes no padding
        return sum(lengths) / len(lengths)
    random.Random(0).shuffle(lengths)
    chunks = [lengths[k : k + batch_size] for k in range(0, len(lengths), batch_size)]
    full = [chunk for chunk in chunks if len(chunk) == batch_size] or chunks
    return sum(map(max, full)) / len(full)
