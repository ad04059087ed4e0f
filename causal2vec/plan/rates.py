"""How fast a device computes: assumed shares of its peak, what `--gpu` or what `snakemake calibrate` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from causal2vec.errors import UserError
from causal2vec.files import read_json, read_yaml, write_text
from causal2vec.gpus import local_gpus
from causal2vec.hints import hint

TABLE = Path(__file__).with_name("accelerators.yaml")
KINDS = ("training", "encoding")
ASSUMED = "assumed"

CALIBRATED = "calibrated"
CALIBRATION = Path("work/calibration.json")
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
    measured: bool = False
    dtype: str = "bfloat16"
    imports: float = IMPORTS
    sources: tuple[str, str] = (ASSUMED, ASSUMED)
    """Where the rates of training and encoding come from, in words."""


def accelerators(calibration: Path = CALIBRATION) -> dict[str, Accelerator]:
    """All known accelerators by key; ``calibrated`` among them where a calibration has been written.

    Raises:
        UserError: The calibration file is damaged.
    """
    table = read_yaml(TABLE, "reinstall the suite")
    found = {key: _known(key, row) for key, row in table.items()}
    if calibration.is_file():
        found[CALIBRATED] = _calibrated(calibration)
    return found


def _known(key: str, row: dict[str, Any]) -> Accelerator:
    """An entry of the table: each rate as measured, else as assumed."""
    measured = row.get("measured", {})
    words = f"measured on {measured.get('card')}, {measured.get('date')}, commit {measured.get('commit')}"
    training, encoding = (float(measured.get(kind) or row["peak"] * row[kind]) for kind in KINDS)
    sources = (words if measured.get("training") else ASSUMED, words if measured.get("encoding") else ASSUMED)
    dtype = "bfloat16" if row["device"] == "cuda" else "float32"
    return Accelerator(
        key, row["name"], training, encoding, row["memory"], row["device"], dtype=dtype, sources=sources
    )  # fmt: skip


def add_measured(path: Path, table: Path = TABLE) -> None:
    """Put the measured rates of a run on a GPU into the table, beside what was assumed.

    Args:
        path: The run's ``accelerators.yaml``.
        table: The plan's.

    Raises:
        UserError: The card is not in the table and not both of its rates were measured.
    """
    lines = table.read_text(encoding="utf-8").splitlines()
    for key, new in read_yaml(path, "measure again").items():
        places = [number for number, line in enumerate(lines) if line.startswith(f"{key}:")]
        row = yaml.safe_load(lines[places[0]])[key] if places else {k: new[k] for k in ("name", "memory", "device")}
        row["measured"] = {**row.get("measured", {}), **{k: v for k, v in new["measured"].items() if v is not None}}
        if missing := [kind for kind in KINDS if kind not in row["measured"] and "peak" not in row]:
            raise UserError(f"{path} holds no rate of {missing[0]} of {key}, of which none is known; measure that too")
        body = yaml.safe_dump(row, default_flow_style=True, sort_keys=False, width=10_000).strip()
        line = f"{key}: {body}"
        if places:
            lines[places[0]] = line
        else:
            lines.append(line)
    write_text(table, "\n".join(lines) + "\n")


def choose(asked: str | None, device: str, calibration: Path = CALIBRATION) -> Accelerator:
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
            measured=True,
            dtype=str(facts["dtype"]),
            imports=float(facts["imports_seconds"]),
            sources=("measured by `snakemake calibrate`",) * 2,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no calibration ({error!r} is wrong or missing); run `snakemake calibrate`"
        ) from error
