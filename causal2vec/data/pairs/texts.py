"""Plain text for the pre-training stages: from the hub, a folder, or the training pairs themselves."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from causal2vec.config import TextSource
from causal2vec.data.rows import read_rows, require
from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json, write_json

FORMATS = (".txt", ".jsonl", ".parquet")


def fetch_texts(source: TextSource, output: Path, *, where: str) -> None:
    """Bring a text source of the hub into its cache; its commit, with sizes and SHA-256, goes to ``output`` (JSON).

    Raises:
        UserError: The files cannot be had, or there are none; ``where`` is the configuration key, as ``mntp.texts``.
    """
    folder, facts = _obtain(source, where)
    _files(folder, source, where)
    write_json(output, facts)


def read_texts(
    source: TextSource | None, pairs: Path, count: int, *, seed: int, where: str, fetched: Path | None = None
) -> list[str]:
    """At most ``count`` texts, as many as the stage can use.

    Without a source: the positives in ``pairs`` (``train.parquet``), each once, in the pairs' order. With one: a random
    sample of its non-empty lines (documents), the same for the same seed; the files are read as a stream, and no more
    than ``count`` texts are held. A source on the hub is read as ``fetched``, the record of `fetch_texts`, says.

    A text is a line, as long as the stage's ``max_length`` allows. Whether LLM2Vec joins the lines of WikiText into
    blocks is not known to us: reading line by line is assumed.

    Raises:
        UserError: Files are absent, damaged, in another format, or hold no text.
    """
    if source is None:
        if not pairs.is_file():
            raise UserError(f"{pairs} does not exist; prepare the pairs first")
        positives: dict[str, None] = {}
        for text in _lines(pairs, "positive", "pairs"):
            positives[text] = None
            if len(positives) == count:
                break
        return list(positives)
    folder = _folder(source, where, fetched)
    lines = (line for path in _files(folder, source, where) for line in _lines(path, source.column, where))
    texts = _sample(lines, count, seed)
    if not texts:
        raise UserError(f"{where}: the files {source.files} in {folder} hold no text; name others")
    return texts


def _folder(source: TextSource, where: str, fetched: Path | None) -> Path:
    if source.source == "local":
        return Path(source.path or "").expanduser()
    from causal2vec.fetch.hub import from_cache

    return _obtain(source, where)[0] if fetched is None else from_cache(read_json(fetched), kind="dataset", where=where)


def _obtain(source: TextSource, where: str) -> tuple[Path, dict[str, Any]]:
    from causal2vec.fetch.hub import obtain

    repository, revision = source.repository or "", source.revision or ""
    return obtain(repository, revision, kind="dataset", where=where, allow=[source.files])


def _files(folder: Path, source: TextSource, where: str) -> list[Path]:
    try:
        files = sorted(path for path in folder.glob(source.files) if path.is_file())
    except (ValueError, NotImplementedError) as error:  # empty, or from the root
        raise UserError(
            f"{where}.files is {source.files!r}, no pattern below a folder; name one like '*.txt'"
        ) from error
    if not files:
        raise UserError(f"{where}: {folder} has no file {source.files}; correct {where}.path or {where}.files")
    if strange := [path for path in files if path.suffix not in FORMATS]:
        raise UserError(f"{where}: {strange[0]} is none of {', '.join(FORMATS)}; narrow {where}.files")
    return files


def _sample(lines: Iterable[str], count: int, seed: int) -> list[str]:
    """``count`` of the lines, each as likely as any other (reservoir sampling, Vitter's algorithm R)."""
    generator = random.Random(seed)
    kept: list[str] = []
    for index, line in enumerate(lines):
        if len(kept) < count:
            kept.append(line)
        elif (place := generator.randrange(index + 1)) < count:
            kept[place] = line
    return kept


def _lines(path: Path, column: str, where: str) -> Iterator[str]:
    """The texts of one file, stripped, without the empty ones."""
    if path.suffix != ".txt":
        advice = f"correct the file, or {where}.column"
        require(path, [column], advice)
        for row in read_rows(path, [column]):
            if column not in row.values:
                raise row.fault(f"has no '{column}'; {advice}")
            value = row.values[column]
            if text := "" if value is None else row.checked(value, column):
                yield text
        return
    try:
        # Only a line feed ends a line here; str.splitlines would also cut at a form feed within a text.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            yield from (text for line in file if (text := line.strip()))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: {path} is not UTF-8 ({error.reason} at byte {error.start}); convert the file"
        ) from error
