"""How fast a device computes: assumed shares of its peak, or what `snakemake calibrate` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.errors import UserError
from causal2vec.files import read_json, read_yaml
from causal2vec.gpus import local_gpus
from causal2vec.hints import hint

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


def accelerators(calibration: Path = CALIBRATION) -> dict[str, Accelerator]:
    """All known accelerators by key; ``calibrated`` among them where a calibration has been written.

    Raises:
        UserError: The calibration file is damaged.
    """
    table = read_yaml(Path(__file__).with_name("accelerators.yaml"), "reinstall the suite")
    found = {key: _assumed(key, row) for key, row in table.items()}
    if calibration.is_file():
        found[CALIBRATED] = _calibrated(calibration)
    return found


def _assumed(key: str, row: dict[str, Any]) -> Accelerator:
    rates = [row["peak"] * row[kind] for kind in ("training", "encoding")]
    dtype = "bfloat16" if row["device"] == "cuda" else "float32"
    return Accelerator(key, row["name"], rates[0], rates[1], row["memory"], row["device"], dtype=dtype)


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
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no calibration ({error!r} is wrong or missing); run `snakemake calibrate`"
        ) from error
