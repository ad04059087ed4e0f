"""Training pairs from the public mixes: which files a source is, which lines are drawn, what a line says."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from causal2vec.data.pairs.files import Candidate, Source
from causal2vec.data.rows import Row, json_row
from causal2vec.errors import UserError, hint
from causal2vec.runtime.files import read_json, write_json

if TYPE_CHECKING:
    from causal2vec.config import Pairs

SUFFIXES = (".jsonl", ".jsonl.gz")
_WHERE = "pairs.repository"
_SHARD = re.compile(r"[-_.]\d+(-of-\d+)?$")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

TWO_INSTRUCTIONS = frozenset(("allnli", "quora_duplicates"))
"""Sources whose lines take two instructions in turn (LLM2Vec's E5Data): each becomes two sources, so that a batch,
which comes from one source, has one instruction."""


class Keys(NamedTuple):
    """What a mix calls the parts of an example."""

    query: str
    positive: str
    negatives: str


KEYS = {"e5": Keys("query", "positive", "negative"), "bge": Keys("query", "pos", "neg")}


class Line(NamedTuple):
    """One line of a file, with its number (from 1)."""

    path: Path
    number: int
    text: bytes


Lines = Callable[[str], Iterator[Line]]
"""All lines of a source; called with what is done to them, for a progress bar."""


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


def written_sources(pairs: Pairs, names: Iterable[str] | None = None) -> list[str]:
    """The sources that training will see: as configured, but two for each that has two instructions."""
    written = []
    for name in sorted(pairs.sources) if names is None else names:
        two = pairs.kind in KEYS and name in TWO_INSTRUCTIONS
        written += [f"{name}_1", f"{name}_2"] if two else [name]
    return written


def mix_sources(pairs: Pairs, folder: Path) -> dict[str, Source]:
    """The configured sources of the mix whose files lie in ``folder``.

    Raises:
        UserError: As `files_of`.
    """
    files = {name: files_of(folder, name) for name in sorted(pairs.sources)}
    return {n: line_source(pairs, n, files[n], KEYS[pairs.kind], partial(_lines, files[n])) for n in files}


def line_source(pairs: Pairs, name: str, files: list[Path], keys: Keys, lines: Lines) -> Source:
    """A source that gives its candidates line by line."""
    written = written_sources(pairs, [name])

    def candidates(counts: Counter[str]) -> Iterator[Candidate]:
        for line in drawn_lines(lines, pairs.sources[name], pairs.seed, counts):
            # lines 1, 3, ... have the first of two instructions
            yield parse_line(line, keys, written[(line.number - 1) % len(written)])

    return Source(written, candidates, {"files": [path.name for path in files]})


def files_of(folder: Path, source: str) -> list[Path]:
    """The files of a source, sorted: those of its name below ``folder``, or else those in folders of its name.

    A file's name counts without ``.jsonl`` or ``.jsonl.gz`` and without the number of a shard.

    Raises:
        UserError: The folder is absent, the name cannot be a file's, or there is no such file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; set pairs.folder to where the mix's jsonl files lie")
    if not _PLAIN_NAME.fullmatch(source):
        raise UserError(f"pairs.sources has {source!r}; a source is named as its file is, without folder and suffix")
    files = sorted(path for path in folder.rglob("*") if path.name.endswith(SUFFIXES) and path.is_file())
    if not files:
        raise UserError(f"{folder} holds no {' or '.join(SUFFIXES)} file; set pairs.folder to where the mix lies")
    found = [path for path in files if source in (_stem(path), _SHARD.sub("", _stem(path)))]
    found = found or [path for path in files if source in path.relative_to(folder).parts[:-1]]
    if not found:
        known = sorted({_SHARD.sub("", _stem(path)) for path in files})
        raise UserError(f"{folder} has no file of the source '{source}'{hint(source, known)}; correct pairs.sources")
    return found


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def drawn_lines(lines: Lines, amount: int | float, seed: int, counts: Counter[str]) -> Iterator[Line]:
    """The lines to use, in the files' order: a share (float) or a number (int) of all that are not blank.

    What a line says decides with the seed, so the same lines are drawn on every machine and in any order of files.
    Counts the ``lines`` there are and those ``not_drawn`` in ``counts``.

    Raises:
        UserError: A file cannot be read.
    """
    counts.update(lines=0, not_drawn=0)
    limit = _limit(lines, amount, seed) if isinstance(amount, int) else round(amount * 2**64)
    left = amount if isinstance(amount, int) else None
    for line in lines("drawing"):
        counts["lines"] += 1
        if limit < 2**64 and (left == 0 or line_key(line.text, seed) >= limit):
            counts["not_drawn"] += 1
            continue
        left = None if left is None else left - 1
        yield line


def _limit(lines: Lines, count: int, seed: int) -> int:
    """The bound below which ``count`` lines' keys are; equal lines have equal keys and are counted by the caller."""
    import numpy as np

    keys = np.fromiter((line_key(line.text, seed) for line in lines("counting")), np.uint64)
    return 2**64 if len(keys) <= count else int(np.partition(keys, count - 1)[count - 1]) + 1


def line_key(text: bytes, seed: int | str) -> int:
    """A number in [0, 2**64), uniform over texts, that the seed changes."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=str(seed).encode()).digest(), "big")


def _lines(files: list[Path], what: str) -> Iterator[Line]:
    """Every line that is not blank, stripped, with a progress bar where there is a terminal."""
    from tqdm import tqdm

    for path in files:
        for number, text in enumerate(
            tqdm(_unpacked(path), desc=f"{what} {path.name}", unit=" lines", disable=None), 1
        ):
            if text := text.strip():
                yield Line(path, number, text)


def _unpacked(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read to its end ({error}); fetch the file again") from error


def parse_line(line: Line, keys: Keys, source: str) -> Candidate:
    """What a line says. A positive may be a list, whose first text counts; so may negatives, whose blanks do not.

    Raises:
        UserError: The line is no JSON object in UTF-8, or query or positive is absent, no text or empty, or a
            negative is no text; the message names file, line and key.
    """
    try:
        text = line.text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = Row(line.path, line.number, {})
        raise where.fault("is not UTF-8; convert the file or delete the line") from error
    row = json_row(line.path, line.number, text)
    value = row.values
    if isinstance(several := value.get(keys.positive), list) and several:
        value[keys.positive] = several[0]
    negatives = value.get(keys.negatives) or []
    negatives = negatives if isinstance(negatives, list) else [negatives]

    def needed(key: str) -> str:
        if key not in value:
            raise row.fault(f"has no key '{key}'; every line needs {', '.join(keys)}")
        if found := row.checked(value[key], key):
            return found
        raise row.fault(f"has an empty '{key}'; fill it or delete the line")

    query, positive = needed(keys.query), needed(keys.positive)
    checked = (row.checked(negative, keys.negatives) for negative in negatives)
    return Candidate(query, positive, source, [negative for negative in checked if negative])
