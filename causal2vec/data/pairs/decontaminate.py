"""Find training texts that share a run of words with an evaluation text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from causal2vec.errors import UserError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_WORDS = 4
"""Texts shorter than this never count as leaked: "yes", "heart disease" and the like occur everywhere."""
_WORD = re.compile(r"\w+")
_CHUNK = 20_000


@dataclass(frozen=True)
class NgramIndex:
    """Hashes of everything that evaluation texts give away."""

    ngram: int
    """Length of a run of words."""
    grams: NDArray[np.uint64]
    """Sorted hashes of all runs of ``ngram`` words."""
    wholes: NDArray[np.uint64]
    """Sorted hashes of whole texts of `MIN_WORDS` to ``ngram - 1`` words."""


def index_texts(texts: Iterable[str], ngram: int) -> NgramIndex:
    """Index evaluation texts by their runs of ``ngram`` lower-cased words (punctuation does not count).

    Raises:
        UserError: ``ngram`` is less than `MIN_WORDS`, which would match everyday phrases.
    """
    if ngram < MIN_WORDS:
        raise UserError(f"ngram is {ngram}, but runs of fewer than {MIN_WORDS} words match everything; use about 8")
    grams = [np.empty(0, np.uint64)]
    wholes = [np.empty(0, np.uint64)]
    left = iter(texts)
    while chunk := list(islice(left, _CHUNK)):
        hashes, starts = _word_hashes(chunk)
        grams.append(np.unique(_grams(hashes, starts, ngram)[0]))
        wholes.append(_wholes(hashes, starts, ngram)[0])
    return NgramIndex(ngram, np.unique(np.concatenate(grams)), np.unique(np.concatenate(wholes)))


def index_files(paths: Sequence[Path], ngram: int) -> NgramIndex:
    """Index the column ``text`` of parquet files.

    Raises:
        UserError: A file is missing, is no parquet file or has no text column ``text``.
    """
    return index_texts((text for path in paths for text in read_texts(path)), ngram)


def read_texts(path: Path) -> list[str]:
    """The column ``text`` of a parquet file.

    Raises:
        UserError: The file is missing, is no parquet file or has no text column ``text``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if "text" not in pq.read_schema(path).names:
            raise UserError(f"{path} has no column 'text'; write the evaluation texts again")
        return [str(text) for text in pq.read_table(path, columns=["text"])["text"].to_pylist() if text]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; write the evaluation texts first") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is not a parquet file ({one_line(error)}); write the evaluation texts again"
        ) from error


def contaminated(texts: Iterable[str], index: NgramIndex) -> NDArray[np.bool_]:
    """For each text, whether it shares a run of ``index.ngram`` words with an evaluation text.

    A text of fewer words counts only if the whole of it is an evaluation text and has `MIN_WORDS` words.
    Returns one boolean per text, in order.
    """
    texts = list(texts)
    hashes, starts = _word_hashes(texts)
    found = np.zeros(len(texts), np.bool_)
    for (values, owners), known in (
        (_grams(hashes, starts, index.ngram), index.grams),
        (_wholes(hashes, starts, index.ngram), index.wholes),
    ):
        found[owners[_is_in(values, known)]] = True
    return found


def _word_hashes(texts: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all words of all texts in one row, and where each text starts in it (one more at the end)."""
    known: dict[str, int] = {}
    row: list[int] = []
    starts = [0]
    for text in texts:
        for word in _WORD.findall(text.lower()):
            value = known.get(word)
            if value is None:
                value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
                known[word] = value
            row.append(value)
        starts.append(len(row))
    return np.array(row, np.uint64), np.array(starts, np.int64)


def _multipliers(count: int) -> list[np.uint64]:
    """Fixed odd 64-bit factors, so that the order of words matters in the sums below."""
    digests = (hashlib.blake2b(f"position {i}".encode(), digest_size=8).digest() for i in range(count))
    return [np.uint64(int.from_bytes(digest, "big") | 1) for digest in digests]


def _grams(
    hashes: NDArray[np.uint64], starts: NDArray[np.int64], ngram: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash of every run of ``ngram`` words within one text, and the number of that text."""
    count = len(hashes) - ngram + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    total = np.zeros(count, np.uint64)
    for offset, factor in enumerate(_multipliers(ngram)):
        total += hashes[offset : offset + count] * factor  # wraps around modulo 2**64, as meant
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    within = owners[:count] == owners[ngram - 1 :]
    return total[within], owners[:count][within]


def _wholes(
    hashes: NDArray[np.uint64], starts: NDArray[np.int64], ngram: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash of every text of `MIN_WORDS` to ``ngram - 1`` words, and the number of that text."""
    factors = np.array(_multipliers(ngram), np.uint64)
    lengths = np.diff(starts)
    owners = np.flatnonzero((lengths >= MIN_WORDS) & (lengths < ngram))
    values = [(hashes[starts[i] : starts[i + 1]] * factors[: lengths[i]]).sum(dtype=np.uint64) for i in owners]
    return np.array(values, np.uint64), owners


def _is_in(values: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Membership in a sorted array; uint64 stays uint64 (np.isin may go through floats)."""
    if not len(known):
        return np.zeros(len(values), np.bool_)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return known[places] == values
