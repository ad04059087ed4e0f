"""Plain text for the pre-training stages: from the hub, a folder, or the training pairs themselves."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from causal2vec.config import TextSource
from causal2vec.data.pairs.mix_files import is_text
from causal2vec.errors import UserError, one_line
from causal2vec.runtime.files import json_value, read_json, write_json

FORMATS = (".txt", ".jsonl", ".parquet")


def fetch_texts(source: TextSource, output: Path, *, where: str) -> None:
    """Bring a text source of the hub into its cache, and write what came to ``output`` (JSON).

    Args:
        source: With ``source: hub``.
        output: Gets the resolved commit and every file's size and SHA-256; `read_texts` asks for that commit.
        where: The configuration key, for example ``mntp.texts``.

    Raises:
        UserError: The files cannot be had, or there are none.
    """
    folder, facts = _obtain(source, where)
    _files(folder, source, where)
    write_json(output, facts)


def read_texts(
    source: TextSource | None,
    pairs: Path,
    count: int,
    *,
    seed: int,
    where: str,
    fetched: Path | None = None,
) -> list[str]:
    """At most ``count`` texts.

    Without a source: the positives of the training pairs, each once, in the pairs' order. With one: a random sample
    of its non-empty lines (documents), the same for the same seed; the files are read as a stream, and no more than
    ``count`` texts are held.

    A text is a line, as long as the stage's ``max_length`` allows. Whether LLM2Vec joins the lines of WikiText into
    blocks is not known to us: reading line by line is assumed.

    Args:
        source: Where the texts come from.
        pairs: ``train.parquet`` of the training pairs.
        count: The most that the stage can use: its steps times its batch size.
        seed: Of the sample.
        where: The configuration key, for messages.
        fetched: The record that `fetch_texts` wrote, for a source on the hub.

    Raises:
        UserError: Files are absent, damaged, in another format, or hold no text.
    """
    if source is None:
        return _positives(pairs, count)
    folder = _folder(source, where, fetched)
    lines = (line for path in _files(folder, source, where) for line in _lines(path, source.column, where))
    texts = _sample(lines, count, seed)
    if not texts:
        raise UserError(f"{where}: the files {source.files} in {folder} hold no text; name others")
    return texts


def _positives(pairs: Path, count: int) -> list[str]:
    if not pairs.is_file():
        raise UserError(f"{pairs} does not exist; prepare the pairs first")
    kept: dict[str, None] = {}
    for text in _parquet_rows(pairs, "positive", "pairs"):
        kept[text] = None
        if len(kept) == count:
            break
    return list(kept)


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
    reader = {".txt": _text_lines, ".jsonl": _json_lines, ".parquet": _parquet_rows}[path.suffix]
    try:
        for text in reader(path, column, where):
            if stripped := text.strip():
                yield stripped
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {path} is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _text_lines(path: Path, column: str, where: str) -> Iterator[str]:
    # Only a line feed ends a line here; str.splitlines would also cut at a form feed within a text.
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        yield from file


def _json_lines(path: Path, column: str, where: str) -> Iterator[str]:
    for number, line in enumerate(_text_lines(path, column, where), start=1):
        if not line.strip():
            continue
        try:
            text = json_value(line)[column]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{where}: line {number} of {path} is no JSON object with '{column}'; correct it, or {where}.column"
            ) from error
        if not isinstance(text, str):
            raise UserError(f"{where}: '{column}' in line {number} of {path} is no text; correct {where}.column")
        yield text


def _parquet_rows(path: Path, column: str, where: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            known = {field.name: field.type for field in table.schema_arrow}
            kind = known.get(column, pa.null())
            if not is_text(kind):
                raise UserError(
                    f"{where}: {path} has no text column '{column}' (it has {', '.join(known)}); correct the file, or "
                    "the configured column"
                )
            for batch in table.iter_batches(columns=[column]):
                yield from (text for text in batch.column(0).to_pylist() if text is not None)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{where}: {path} is no whole parquet file ({one_line(error)}); get it again") from error
