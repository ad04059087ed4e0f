"""Energy from the hardware's own counters: RAPL for processor and memory, NVML for a GPU.

Where there is no counter, or it may not be read (Linux lets only root read RAPL's unless told otherwise), there is no
number: nothing is estimated from a data sheet.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

POWERCAP = Path("/sys/class/powercap")
"""Where Linux has RAPL's zones, of Intel's and AMD's processors alike."""

COUNTED = ("package", "dram")
"""Zones that add up. ``core`` and ``uncore`` are parts of a package, ``psys`` holds packages and more."""


class Meter(NamedTuple):
    """Counters of energy, in joules.

    Attributes:
        read: Their present values.
        ranges: Where each starts from 0 again; infinite if it never does.
    """

    read: Callable[[], tuple[float, ...]]
    ranges: tuple[float, ...]

    def since(self, before: tuple[float, ...]) -> float | None:
        """Joules since an earlier reading; None if no counter has moved, as some virtual machines' never do.

        A counter that has wrapped around is right as long as it did so once.
        """
        steps = [b - a + (size if b < a else 0.0) for a, b, size in zip(before, self.read(), self.ranges, strict=True)]
        return sum(steps) or None


def open_meter(device: str, powercap: Path = POWERCAP) -> Meter | None:
    """The counters of what computes, ``cpu`` (RAPL) or ``cuda`` (NVML); None where there are none to read."""
    return _nvml() if device == "cuda" else _rapl(powercap)


def _rapl(powercap: Path) -> Meter | None:
    try:
        zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if _name(zone).startswith(COUNTED)]
        ranges = tuple(int((zone / "max_energy_range_uj").read_text()) / 1e6 for zone in zones)
        meter = Meter(lambda: tuple(int((zone / "energy_uj").read_text()) / 1e6 for zone in zones), ranges)
        meter.read()
    except (OSError, ValueError):  # not allowed, or not there
        return None
    return meter if zones else None


def _name(zone: Path) -> str:
    return (zone / "name").read_text().strip()


def _nvml() -> Meter | None:
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        # By its identity: NVML numbers all GPUs, torch those that it may see.
        identity = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        gpu: Any = pynvml.nvmlDeviceGetHandleByUUID(identity)
        meter = Meter(lambda: (pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000,), (float("inf"),))
        meter.read()
    except Exception:  # no such package, GPU too old: whatever it is, there is no counter
        return None
    return meter
