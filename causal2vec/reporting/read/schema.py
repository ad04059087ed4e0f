"""The tidy files that reporting reads, checked line by line."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.efficiency.names import (
    EMBED,
    EXAMPLES,
    GROW,
    INSTRUCTION,
    MIXED,
    PARTS,
    PLAIN,
    READ_AGAIN,
    READ_ONCE,
    TASK,
)
from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json

UNTRAINED_SUFFIX = "-zero_shot"
"""What the name of an untrained twin ends with."""

Parser = Callable[[str], Any]


def text(raw: str) -> str:
    """A field that may not be empty."""
    if not raw:
        raise ValueError("is empty")
    return raw


def whole(raw: str) -> int:
    """A whole number."""
    if not re.fullmatch(
        r"[+-]?\d{1,18}", raw.strip(), re.ASCII
    ):  # Python would also read 1_0, and digits of any script
        raise ValueError(f"is {raw!r}, not a whole number")
    return int(raw)


def number(raw: str) -> float:
    """A finite number."""
    if re.fullmatch(r"[+-]?(inf|infinity|nan)", raw.strip(), re.IGNORECASE):
        raise ValueError(f"is {raw!r}, not a finite number")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", raw.strip(), re.ASCII | re.IGNORECASE):
        raise ValueError(f"is {raw!r}, not a number")
    if not math.isfinite(value := float(raw)):
        raise ValueError(f"is {raw!r}, not a finite number")
    return value


def positive(raw: str) -> float:
    """A finite number above zero."""
    value = number(raw)
    if value <= 0:
        raise ValueError(f"is {raw!r}, not above zero")
    return value


def number_or_gap(raw: str) -> float:
    """A finite number, or NaN for an empty field."""
    # What a device cannot tell (peak memory on a CPU, say) is an empty field and becomes a visible gap.
    return math.nan if raw.strip().lower() in ("", "nan", "none") else number(raw)


def _length(raw: str) -> str:
    if raw == MIXED or (raw.startswith(TASK) and raw != TASK):
        return raw
    try:
        return str(int(number(raw)))
    except ValueError:
        expected = f"neither a whole number of tokens nor {MIXED!r} nor '{TASK}NAME'"
        raise ValueError(f"is {raw!r}, {expected}") from None


def _one_of(*words: str) -> Parser:
    def parse(raw: str) -> str:
        if raw not in words:
            raise ValueError(f"is {raw!r}, not one of {', '.join(words)}")
        return raw

    return parse


SCORE_COLUMNS: dict[str, Parser] = {
    "method": text,
    "base": text,
    "seed": whole,
    "task": text,
    "task_type": text,
    "split": text,
    "subset": text,
    "metric": text,
    "value": number,
    "items": whole,
    "mteb_version": text,
    "data_revision": str,
}
"""Columns of ``scores.csv``, in order, with what reads each."""

SCORE_KEY = ["method", "base", "seed", "task", "split", "subset", "metric"]
"""The columns of ``scores.csv`` that name one score."""

EFFICIENCY_COLUMNS: dict[str, Parser] = {
    "method": text,
    "base": text,
    "text_tokens": _length,
    "llm_tokens": number_or_gap,
    "encoder_tokens": number_or_gap,
    "texts_per_second": positive,
    "texts_per_second_min": number_or_gap,
    "texts_per_second_max": number_or_gap,
    "seconds_per_1000_texts": positive,
    "seconds_per_1000_texts_min": number_or_gap,
    "seconds_per_1000_texts_max": number_or_gap,
    "peak_memory_mb": number_or_gap,
    "trainable_parameters": number_or_gap,
    "total_parameters": number_or_gap,
    "dtype": str,
    "batch_size": str,
    "device": str,
    "repeats": str,
    "setting": _one_of(PLAIN, INSTRUCTION, EXAMPLES),
    "reuse": _one_of(READ_AGAIN, READ_ONCE),
    "prompt_tokens": number_or_gap,
    "computed_tokens": number_or_gap,
    "gflops_per_text": number_or_gap,
    "measured_gflops_per_text": number_or_gap,
    "latency_ms": number_or_gap,
    "latency_ms_min": number_or_gap,
    "latency_ms_max": number_or_gap,
    "joules_per_text": number_or_gap,
    "matmul_gflops": number_or_gap,
    "batch_tokens": str,
    "threads": str,
}
"""Columns of ``efficiency.csv``, in order, with what reads each."""

EFFICIENCY_KEY = ["method", "base", "setting", "prompt_tokens", "reuse", "text_tokens"]
"""The columns of ``efficiency.csv`` that name one measurement."""

PUBLISHED_COLUMNS: dict[str, Parser] = {
    "base": text,
    "task": text,
    "type": text,
    "part": _one_of(*PARTS),
    "rival": text,
    "reuse": _one_of(READ_AGAIN, READ_ONCE),
    "texts": number,
    "text_tokens": number_or_gap,
    "instruction_tokens": number,
    "example_tokens": number,
    "our_tokens": number,
    "their_tokens": number,
    "tokens_saved": number,
    "flops_saved": number,
    "time_saved": number_or_gap,
}
"""Columns of ``efficiency_published.csv``, in order (`causal2vec.efficiency.published.savings`)."""

PUBLISHED_KEY = ["base", "task", "part", "rival", "reuse"]

LAW_COLUMNS: dict[str, Parser] = {
    "base": text,
    "method": text,
    "what": _one_of(EMBED, GROW),
    "setting": _one_of(PLAIN, INSTRUCTION, EXAMPLES),
    "reuse": _one_of(READ_AGAIN, READ_ONCE),
    "text_tokens": whole,
    "prompt_tokens": number,
    "llm_tokens": number,
    "encoder_tokens": number,
    "computed_tokens": number,
    "gflops_per_text": number,
    "ms_per_text": number_or_gap,
}
"""Columns of ``efficiency_law.csv``, in order (`causal2vec.efficiency.published.curves`)."""

LAW_KEY = ["base", "method", "what", "setting", "reuse", "text_tokens", "prompt_tokens"]

_NEWER = list(EFFICIENCY_COLUMNS)[list(EFFICIENCY_COLUMNS).index("setting") :]
EFFICIENCY_DEFAULTS = {**dict.fromkeys(_NEWER, ""), "setting": PLAIN, "reuse": READ_AGAIN}
"""What older files, which lack these columns, meant: nothing before the texts, and every token read."""


def read_table(
    path: Path,
    columns: dict[str, Parser],
    key: list[str],
    *,
    empty: bool = False,
    defaults: dict[str, str] | None = None,
    check: Callable[[dict[str, Any]], None] = lambda row: None,
) -> pd.DataFrame:
    """Read a CSV file whose columns are known, refusing what does not fit.

    Columns beyond the known ones are ignored, so that later versions may add some. A file without rows is refused
    unless ``empty`` allows it. A column of ``defaults`` may be absent and then holds that text in every row. What
    ``check`` finds wrong with a whole row is a `ValueError` of its, which follows the line's number.

    Raises:
        UserError: The file, a column or a number is missing or wrong, or two lines have the same ``key``.
    """
    try:
        # As spreadsheets write it: with a byte order mark, and with semicolons where a comma is in the numbers.
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(
                ",;\t", key=lambda sign: len(set(next(csv.reader([first], delimiter=sign), ())) & set(columns))
            )
            reader = csv.DictReader(file, restval="", strict=True, delimiter=delimiter)
            header = list(reader.fieldnames or [])
            absent = {name: value for name, value in (defaults or {}).items() if name not in header}
            _check_header(path, [*header, *absent], columns)
            rows, lines = [], []
            for raw in reader:
                if None in raw:  # what is behind the last column
                    raise UserError(f"{path}, line {reader.line_num}: more fields than columns; correct it")
                rows.append(_parse_row(path, reader.line_num, {**raw, **absent}, columns))
                try:
                    check(rows[-1])
                except ValueError as error:
                    raise UserError(f"{path}, line {reader.line_num}, {error}") from error
                lines.append(reader.line_num)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; make it first or name another file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name another file") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a readable CSV file ({error}); write it again") from error
    if not rows and not empty:
        raise UserError(f"{path} has a header but no rows; run the stage that writes it again")
    frame = pd.DataFrame(rows, columns=list(columns))
    repeated = frame.duplicated(key).tolist()
    if any(repeated):
        line = lines[repeated.index(True)]
        raise UserError(f"{path}, line {line}: the same {', '.join(key)} was already given; keep one of them")
    return frame


def _check_header(path: Path, header: list[str], columns: dict[str, Parser]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(f"{path}, line 1: column {missing[0]!r} is missing; run the stage that writes it again")
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise UserError(f"{path}, line 1: two columns are called {twice[0]!r}; remove one of them")


def _parse_row(path: Path, line: int, raw: dict[str, str], columns: dict[str, Parser]) -> dict[str, Any]:
    row = {}
    for name, parse in columns.items():
        try:
            row[name] = parse(raw[name])
        except ValueError as error:
            raise UserError(f"{path}, line {line}, column {name!r} {error}; correct it") from error
    return row


def read_efficiency(path: Path) -> pd.DataFrame:
    """Read ``efficiency.csv``; ``text_tokens`` stays text, since `MIXED` and the names of tasks are values of it.

    Raises:
        UserError: As in `read_table`.
    """
    return read_table(path, EFFICIENCY_COLUMNS, EFFICIENCY_KEY, defaults=EFFICIENCY_DEFAULTS)


_TRAINING_FIELDS: dict[str, tuple[type, ...]] = {
    "method": (str,),
    "base": (str,),
    "seed": (int,),
    "steps": (int,),
    "pairs": (int,),
    "seconds": (int, float),
    "loss": (list,),
    "trainable_parameters": (int,),
}


def read_training(path: Path) -> pd.DataFrame:
    """Read ``training.json``: a list of the training records, one row each, sorted by method, base and seed.

    Raises:
        UserError: The file or a field is missing or wrong, or two records describe the same run.
    """
    records = read_json(path)
    if not isinstance(records, list) or not records:
        raise UserError(f"{path} must hold a list of training records; collect them again")
    rows = [_training_row(path, number, record) for number, record in enumerate(records, start=1)]
    frame = pd.DataFrame(rows, columns=[*_TRAINING_FIELDS, "peak_memory_mb"])
    key = ["method", "base", "seed"]
    repeated = frame[frame.duplicated(key)]
    if len(repeated):
        first = repeated.iloc[0]
        raise UserError(
            f"{path} describes method {first['method']!r}, base {first['base']!r}, "
            f"seed {first['seed']} a second time; collect the records again"
        )
    return frame.sort_values(key, ignore_index=True)


def _training_row(path: Path, position: int, record: Any) -> dict[str, Any]:
    where = f"{path}, record {position}"
    if not isinstance(record, dict):
        raise UserError(f"{where} must be a JSON object; collect the records again")
    for name, kinds in _TRAINING_FIELDS.items():
        if not isinstance(record.get(name), kinds) or isinstance(record.get(name), bool):
            raise UserError(f"{where}: {name!r} is {record.get(name)!r}; train this model again")
    for point in record["loss"]:
        if not isinstance(point, dict) or not all(_finite(point.get(name)) for name in ("step", "loss")):
            raise UserError(
                f"{where}: the loss entry {point!r} needs a finite 'step' and 'loss'; "
                "look at this run's training log and train it again"
            )
    memory = record.get("peak_memory_mb")
    return {
        **{name: record[name] for name in _TRAINING_FIELDS},
        "peak_memory_mb": float(memory) if memory is not None and _finite(memory) else math.nan,
    }


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
