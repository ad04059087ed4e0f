"""What the machine can do, and what a model asks of it: matrix-multiply rate, linear layers, seconds, memory, energy.

Energy is read from the hardware's own counters: RAPL for processor and memory, NVML for a GPU. Where there is no
counter, or it may not be read (by default Linux lets only root read RAPL's), there is no number: nothing is estimated
from a data sheet.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.efficiency.architecture import Architecture, architecture_of

RATE_SECONDS = 0.02
"""Seconds that one shape of matrix is multiplied for, each time; at least `RATE_ROUNDS` times."""

RATE_ROUNDS = 3

Layers = Counter[tuple[int, int]]
"""Linear layers by their features (out, in), with how many of them there are."""


def linear_layers(model: Any) -> Layers:
    """The linear layers that every token goes through; a pooler sees one token of a text and is left out."""
    from torch import nn

    named = model.named_modules()
    return Counter(
        (m.out_features, m.in_features) for name, m in named if isinstance(m, nn.Linear) and "pooler" not in name
    )


def architecture(model: Any) -> Architecture:
    """A loaded model's shape in the plan's words; ``linear`` counts what `linear_layers` does."""
    linear = sum(count * out * inner for (out, inner), count in linear_layers(model).items())
    return architecture_of(model, type(model).__name__, "loaded", linear, next(model.parameters()).element_size())


def matmul_rate(layers: Layers, tokens: int, dtype: str, device: str = "cpu", seconds: float = RATE_SECONDS) -> float:
    """GFLOP/s of ``layers`` on ``tokens`` at a time: the FLOPs of all over the sum of their median seconds.

    By the fastest way to multiply that is known here (`causal2vec.speed.cpu_layers`), whether the work itself can go
    it or not.
    """
    import torch

    from causal2vec.speed.cpu_layers import multiplier

    kind: dict[str, Any] = {"dtype": getattr(torch, dtype), "device": device}
    flops = spent = 0.0
    for (out, inner), count in layers.items():
        states, multiply = torch.randn(tokens, inner, **kind), multiplier(torch.randn(out, inner, **kind))
        times: list[float] = []
        with torch.inference_mode():
            multiply(states)
            while sum(times) < seconds or len(times) < RATE_ROUNDS:
                times.append(timed(lambda: multiply(states), device))  # noqa: B023
        flops += count * 2 * tokens * out * inner
        spent += count * statistics.median(times)
    return flops / spent / 1e9


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds that some work takes; on a GPU between two events, with everything before and within it finished."""
    if device != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    import torch

    torch.cuda.synchronize()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def reset_peak(device: str) -> None:
    """Let the memory's high-water mark start anew (on a CPU Linux only; elsewhere the mark covers loading too)."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    elif (marker := Path("/proc/self/clear_refs")).exists():
        marker.write_text("5")


def peak_mb(device: str, idle_mb: float) -> float:
    """MB that were held at most since `reset_peak`: allocated on the GPU, or by this process beyond ``idle_mb``."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    return process_mb("VmHWM") - idle_mb


def process_mb(key: str) -> float:
    """A memory figure of this process from the kernel, in MB; 0 where the kernel has none."""
    status = Path("/proc/self/status")
    found = re.search(rf"{key}:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) * 1024 / 1e6 if found else 0.0


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
        found = sorted(powercap.glob("intel-rapl:*"))
        zones = [zone for zone in found if (zone / "name").read_text().startswith(COUNTED)]
        ranges = tuple(int((zone / "max_energy_range_uj").read_text()) / 1e6 for zone in zones)
        meter = Meter(lambda: tuple(int((zone / "energy_uj").read_text()) / 1e6 for zone in zones), ranges)
        meter.read()
    except (OSError, ValueError):  # not allowed, or not there
        return None
    return meter if zones else None


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
