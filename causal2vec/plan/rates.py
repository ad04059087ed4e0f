"""How fast a device computes: assumed shares of its peak, or what `make gpu` or `snakemake calibrate` measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.errors import UserError
from causal2vec.files import read_json, read_yaml, write_text
from causal2vec.gpus import local_gpus
from causal2vec.hints import hint

TABLE = Path(__file__).with_name("accelerators.yaml")
RATES = ("training", "encoding")
ASSUMED, BY_CALIBRATION = "assumed", "measured by `snakemake calibrate`"

CALIBRATED = "calibrated"
IMPORTS = 9.0
"""Seconds that a job takes to import torch, transformers and mteb on one core, until it is measured."""

PRINTED = ("H100", "A100")
"""Accelerators whose hours every plan shows."""


class Accelerator(NamedTuple):
    """Achieved FLOP/s of one device in training and encoding, its memory in bytes (None: unknown)."""

    key: str
    name: str
    training: float
    encoding: float
    memory: float | None
    device: str
    training_source: str = ASSUMED
    """Whether the rate was measured, on which card and when."""
    encoding_source: str = ASSUMED
    dtype: str = "bfloat16"
    imports: float = IMPORTS


def accelerators(calibration: Path | None = None, table: Path = TABLE) -> dict[str, Accelerator]:
    """All known accelerators by key; ``calibrated`` among them where a calibration has been written.

    Raises:
        UserError: One of the files is damaged.
    """
    found = {key: _listed(key, row, table) for key, row in read_yaml(table, "reinstall the suite").items()}
    if calibration and calibration.is_file():
        found[CALIBRATED] = _calibrated(calibration)
    return found


def _listed(key: str, row: dict[str, Any], table: Path) -> Accelerator:
    """A line of the table: rates up to 1 are assumed shares of the peak, others were measured."""
    try:
        given = [float(row[kind]) for kind in RATES]
        rates = [rate if rate > 1 else rate * float(row["peak"]) for rate in given]
        sources = [f"measured on {row['name']}, {row['measured']}" if rate > 1 else ASSUMED for rate in given]
        memory = None if row["memory"] is None else float(row["memory"])
        dtype = "bfloat16" if row["device"] == "cuda" else "float32"
        return Accelerator(
            key, str(row["name"]), rates[0], rates[1], memory, str(row["device"]), sources[0], sources[1], dtype
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{table}: {key} is no accelerator ({error!r} is wrong or missing); mend its line") from error


def merge(measured: Path, table: Path = TABLE) -> str:
    """The table's text with the entry that a run of `make gpu` wrote; what it has not measured stays as it is.

    Raises:
        UserError: The entry is damaged, is of a processor, or lacks a rate of which the table assumes nothing.
    """
    written = read_yaml(measured, "measure again")
    if not isinstance(written, dict) or len(written) != 1 or not isinstance(next(iter(written.values())), dict):
        raise UserError(f"{measured} holds no single accelerator; measure again")
    [(key, row)] = written.items()
    if row.get("device") != "cuda":
        raise UserError(f"{measured} is of a trial on a processor; measure on a GPU")
    old = read_yaml(table, "reinstall the suite").get(key, {})
    new = {name: value for name, value in row.items() if value is not None}
    merged = old | new
    for kind in set(RATES) - set(new):
        if merged.get(kind, 2) > 1:  # of another run, on another day
            merged.pop(kind, None)
    if lacking := [kind for kind in RATES if kind not in merged]:
        raise UserError(f"{measured} has no rate of {lacking[0]}, nor {table} an assumed one; measure all stages")
    _listed(key, merged, measured)
    merged |= {name: float(merged[name]) for name in (*RATES, "memory")}
    line = f"{key}: {{{', '.join(f'{name}: {_yaml(value)}' for name, value in merged.items())}}}"
    text = table.read_text(encoding="utf-8")
    there = re.compile(rf"^{re.escape(key)}:.*$", re.MULTILINE)
    return there.sub(lambda _: line, text) if there.search(text) else f"{text.rstrip()}\n{line}\n"


def publish(measured: Path, table: Path = TABLE) -> None:
    """Write what `merge` gives."""
    write_text(table, merge(measured, table))


def _yaml(value: Any) -> str:
    return f"{value:.4e}" if isinstance(value, float) and value > 1 else str(value)


def choose(asked: str | None, device: str, calibration: Path | None = None) -> Accelerator:
    """The accelerator that a plan is made for.

    Args:
        asked: Its key (``--config accelerator=A100``), or None: the calibrated machine if it computes where the
            configuration says, else an H100, or the assumed processor where ``device`` means no GPU.
        device: ``compute.device`` of the configuration.

    Raises:
        UserError: There is no such accelerator.
    """
    known = accelerators(calibration)
    if asked is None:
        kind = "cuda" if device == "cuda" or (device == "auto" and local_gpus() > 0) else "cpu"
        measured = known.get(CALIBRATED)
        return measured if measured and measured.device == kind else known["H100" if kind == "cuda" else "cpu"]
    if asked == CALIBRATED and asked not in known:
        raise UserError(f"accelerator is '{asked}', but {calibration} does not exist; run `snakemake calibrate` first")
    if asked not in known:
        raise UserError(
            f"accelerator: '{asked}' is not known{hint(asked, list(known))}; name a known one, or run "
            "`snakemake calibrate` on the machine and say accelerator=calibrated"
        )
    return known[asked]


def _calibrated(path: Path) -> Accelerator:
    facts = read_json(path)
    try:
        return Accelerator(
            CALIBRATED,
            str(facts["device_name"]),
            float(facts["training_flops"]),
            float(facts["encoding_flops"]),
            facts["memory_bytes"],
            str(facts["device"]),
            BY_CALIBRATION,
            BY_CALIBRATION,
            dtype=str(facts["dtype"]),
            imports=float(facts["imports_seconds"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no calibration ({error!r} is wrong or missing); run `snakemake calibrate`"
        ) from error
