"""How fast a device computes: assumed shares of its peak, or what `make gpu` or `snakemake calibrate` measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.errors import UserError, hint
from causal2vec.runtime.files import read_json, read_yaml, write_text
from causal2vec.runtime.gpus import local_gpus

TABLE = Path(__file__).with_name("accelerators.yaml")
RATES = ("training", "encoding")
ASSUMED, BY_CALIBRATION = "assumed", "measured by `snakemake calibrate`"

FACTS = {"card": "name", "date": "measured", "commit": "commit"}
"""What stands under ``measured`` in the table beside the rates, and its key in a run's entry."""

MEASURED = re.compile(r", measured: \{[^}]*\}")

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
    """A line of the table: what stands under ``measured``, and of the rest assumed shares of the peak."""
    try:
        found = row.get("measured", {})
        source = f"measured on {found['card']}, {found['date']}" if found else ASSUMED
        if found and found.get("commit"):
            source += f", commit {found['commit']}"
        rates = [float(found[kind]) if kind in found else float(row[kind]) * float(row["peak"]) for kind in RATES]
        training, encoding = (source if kind in found else ASSUMED for kind in RATES)
        memory = found.get("memory", row["memory"])
        memory = None if memory is None else float(memory)
        dtype = "bfloat16" if row["device"] == "cuda" else "float32"
        return Accelerator(
            key, str(row["name"]), rates[0], rates[1], memory, str(row["device"]), training, encoding, dtype
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{table}: {key} is no accelerator ({error!r} is wrong or missing); mend its line") from error


def merge(measured: Path, table: Path = TABLE) -> str:
    """The table's text with what a run of `make gpu` measured, in the place of an earlier run's; of a rate that it has
    not measured the assumed share holds.

    Raises:
        UserError: The run's entry is damaged, is of a processor, or lacks a rate of which the table assumes nothing.
    """
    written = read_yaml(measured, "measure again")
    if not isinstance(written, dict) or len(written) != 1 or not isinstance(next(iter(written.values())), dict):
        raise UserError(f"{measured} holds no single accelerator; measure again")
    [(key, run)] = written.items()
    if run.get("device") != "cuda":
        raise UserError(f"{measured} is of a trial on a processor; measure on a GPU")
    text = table.read_text(encoding="utf-8")
    line = re.search(rf"^{re.escape(key)}:.*$", text, re.MULTILINE)
    listed = read_yaml(table, "reinstall the suite")
    row = listed[key] if line else {name: run.get(name) for name in ("name", "memory", "device")}
    given = {kind: run[kind] for kind in (*RATES, "memory") if run.get(kind) is not None}
    if lacking := [kind for kind in RATES if kind not in given and kind not in row]:
        raise UserError(f"{measured} has no rate of {lacking[0]}, nor {table} an assumed one; measure all stages")
    found = {new: str(run[old]) for new, old in FACTS.items() if run.get(old)} | given
    _listed(key, {**row, "measured": found}, measured)
    found |= {kind: float(value) for kind, value in given.items()}
    there = line[0] if line else f"{key}: {_yaml(row)}"
    new = f"{MEASURED.sub('', there).rstrip().removesuffix('}')}, measured: {_yaml(found)}}}"
    return text.replace(there, new) if line else f"{text.rstrip()}\n{new}\n"


def publish(measured: Path, table: Path = TABLE) -> None:
    """Write what `merge` gives."""
    write_text(table, merge(measured, table))


def _yaml(values: dict[str, Any]) -> str:
    """On one line, as the table has it."""
    words = {key: f"{value:.4e}" if isinstance(value, float) else json.dumps(value) for key, value in values.items()}
    return f"{{{', '.join(f'{key}: {value}' for key, value in words.items())}}}"


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
