"""The tidy files that reporting reads, checked line by line."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationInfo,
    WrapValidator,
    create_model,
)

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
from causal2vec.errors import UserError, checked
from causal2vec.runtime.files import read_json

UNTRAINED_SUFFIX = "-zero_shot"
"""What the name of an untrained twin ends with."""

Parser = Any
"""What reads the cells of a column: a type that pydantic knows."""


def _plain(raw: Any) -> Any:
    """Refuse what Python would also read as a number: 1_0, and digits of any script."""
    if isinstance(raw, str) and not (raw.isascii() and "_" not in raw):
        raise ValueError(f"{raw!r} is not a number")
    return raw


def _length(raw: str) -> str:
    if raw == MIXED or (raw.startswith(TASK) and raw != TASK):
        return raw
    if raw.isascii() and raw.removesuffix(".0").isdigit():
        return raw.removesuffix(".0")
    raise ValueError(f"{raw!r} is neither a whole number of tokens nor {MIXED!r} nor '{TASK}NAME'")


def one_of(*words: str) -> Parser:
    """One of these words."""
    return Literal[words]  # type: ignore[valid-type]


text = Annotated[str, Field(min_length=1)]
whole = Annotated[int, BeforeValidator(_plain)]
number = Annotated[FiniteFloat, BeforeValidator(_plain)]
_positive = Annotated[number, Field(gt=0)]
number_or_gap = Annotated[
    number,
    # What a device cannot tell (peak memory on a CPU, say) is an empty field and becomes a visible gap.
    WrapValidator(lambda raw, read: math.nan if raw.strip().lower() in ("", "nan", "none") else read(raw)),
]
_tokens = Annotated[str, AfterValidator(_length)]


def _on_scale(value: float, row: ValidationInfo) -> float:
    if row.data.get("metric") == "main_score" and abs(value) > 1 + 1e-6:
        raise ValueError(
            f"a main score lies between -1 and 1, but this is {value:g} (divide what is given in per cent by 100)"
        )
    return value


SCORE_COLUMNS: dict[str, Parser] = {
    "method": text,
    "base": text,
    "seed": whole,
    "task": text,
    "task_type": text,
    "split": text,
    "subset": text,
    "metric": text,
    "value": Annotated[number, AfterValidator(_on_scale)],
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
    "text_tokens": _tokens,
    "llm_tokens": number_or_gap,
    "encoder_tokens": number_or_gap,
    "texts_per_second": _positive,
    "texts_per_second_min": number_or_gap,
    "texts_per_second_max": number_or_gap,
    "seconds_per_1000_texts": _positive,
    "seconds_per_1000_texts_min": number_or_gap,
    "seconds_per_1000_texts_max": number_or_gap,
    "peak_memory_mb": number_or_gap,
    "trainable_parameters": number_or_gap,
    "total_parameters": number_or_gap,
    "dtype": str,
    "batch_size": str,
    "device": str,
    "repeats": str,
    "setting": one_of(PLAIN, INSTRUCTION, EXAMPLES),
    "reuse": one_of(READ_AGAIN, READ_ONCE),
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
    "part": one_of(*PARTS),
    "rival": text,
    "reuse": one_of(READ_AGAIN, READ_ONCE),
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
    "what": one_of(EMBED, GROW),
    "setting": one_of(PLAIN, INSTRUCTION, EXAMPLES),
    "reuse": one_of(READ_AGAIN, READ_ONCE),
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
) -> pd.DataFrame:
    """Read a CSV file whose columns are known, refusing what does not fit.

    Columns beyond the known ones are ignored, so that later versions may add some. A file without rows is refused
    unless ``empty`` allows it. A column of ``defaults`` may be absent and then holds that text in every row.

    Raises:
        UserError: The file, a column or a number is missing or wrong, or two lines have the same ``key``.
    """
    line = TypeAdapter(create_model("line", **columns))
    rows, lines = [], []
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
            for raw in reader:
                where = f"{path}, line {reader.line_num}"
                if None in raw:  # what is behind the last column
                    raise UserError(f"{where}: more fields than columns; correct it")
                rows.append(dict(checked(line, {**raw, **absent}, where, "correct it")))
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
        again = lines[repeated.index(True)]
        raise UserError(f"{path}, line {again}: the same {', '.join(key)} was already given; keep one of them")
    return frame


def _check_header(path: Path, header: list[str], columns: dict[str, Parser]) -> None:
    if missing := [name for name in columns if name not in header]:
        raise UserError(f"{path}, line 1: column {missing[0]!r} is missing; run the stage that writes it again")
    if twice := [name for name in columns if header.count(name) > 1]:
        raise UserError(f"{path}, line 1: two columns are called {twice[0]!r}; remove one of them")


def read_efficiency(path: Path) -> pd.DataFrame:
    """Read ``efficiency.csv``; ``text_tokens`` stays text, since `MIXED` and the names of tasks are values of it."""
    return read_table(path, EFFICIENCY_COLUMNS, EFFICIENCY_KEY, defaults=EFFICIENCY_DEFAULTS)


class Strict(BaseModel):
    """A part of a file that programs write: every value is of its very type; what else is there is left alone."""

    model_config = ConfigDict(strict=True)


class _Loss(Strict):
    step: FiniteFloat
    loss: FiniteFloat


class _Training(Strict):
    """A training record, as far as reporting reads it."""

    method: str
    base: str
    seed: int
    steps: int
    pairs: int
    seconds: float
    loss: list[_Loss]
    trainable_parameters: int
    peak_memory_mb: float | None = None


def read_training(path: Path) -> pd.DataFrame:
    """Read ``training.json``: a list of the training records, one row each, sorted by method, base and seed.

    Raises:
        UserError: The file or a field is missing or wrong, or two records describe the same run.
    """
    records = checked(list[dict[str, Any]], read_json(path), path, "collect the records again")
    for place, record in enumerate(records, start=1):
        checked(_Training, record, f"{path}, record {place}", "look at this run's training log and train it again")
    frame = pd.DataFrame(records, columns=list(_Training.model_fields))
    frame["peak_memory_mb"] = frame["peak_memory_mb"].astype(float).where(lambda size: size < math.inf)
    key = ["method", "base", "seed"]
    for run in frame.loc[frame.duplicated(key), key].itertuples(index=False):
        raise UserError(f"{path} describes {' / '.join(map(str, run))} a second time; collect the records again")
    return frame.sort_values(key, ignore_index=True)
