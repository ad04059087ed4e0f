"""What the machine is, and which number format it computes fastest in."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json, write_json
from causal2vec.runtime.signals import end_with_parent

if TYPE_CHECKING:
    from causal2vec.config import Compute

_LONGEST_SOCKET = 103
"""Bytes in the path of a socket that every system allows (Linux: 107)."""

_MALLOC = ((-1, -1), (-4, 0))
"""From glibc's malloc.h: M_TRIM_THRESHOLD, how much may be free at the heap's end (-1: any number of bytes), and
M_MMAP_MAX, how many blocks may lie outside the heap, each of which is given back as soon as it is freed."""

_PROGRAMS = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
"""Environment variables with the number of programs that torch and oneDNN keep, read at the first matrix product."""

_MOST_PROGRAMS = "64"
"""Enough for all that one mini-batch asks for."""


def probe(output: Path, compute: Compute) -> dict[str, Any]:
    """Measure the machine's matrix-multiply rate and choose the number format; write both to ``output``.

    ``dtype: auto`` takes bfloat16 where it is at least 1.2 times as fast as float32 at the shape of a small
    LLM's feed-forward layer, else float32. Measured, as it cannot be told from a processor's name.

    Returns:
        ``device``, ``dtype``, ``gflops`` per format, and the hardware's description.
    """
    import torch

    device = resolve_device(compute)
    torch.set_num_threads(compute.threads)
    rates = {name: _matmul_rate(device, getattr(torch, name)) for name in ("float32", "bfloat16")}
    faster = "bfloat16" if rates["bfloat16"] > 1.2 * rates["float32"] else "float32"
    facts = {
        "device": device,
        "device_name": device_name(device),
        "dtype": faster if compute.dtype == "auto" else compute.dtype,
        "dtype_chosen_by": "measurement" if compute.dtype == "auto" else "configuration",
        "gflops": {name: round(rate, 1) for name, rate in rates.items()},
        "cores": os.cpu_count(),
        "threads": compute.threads,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    write_json(output, facts)
    return facts


def resolve_device(compute: Compute) -> str:
    """``cuda`` or ``cpu``.

    Raises:
        UserError: A GPU is asked for where there is none.
    """
    import torch

    if compute.device == "cuda" and not torch.cuda.is_available():
        raise UserError("compute.device is cuda, but torch finds no GPU here; set it to auto or cpu")
    if compute.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return compute.device


def attention_backend(setting: str, device: str, dtype: str) -> str:
    """How attention is computed: transformers' name of it for ``compute.attention``.

    ``auto`` takes flash_attention_2 on a GPU in bfloat16 where it is installed, else sdpa.

    Raises:
        UserError: flash_attention_2 is asked for where it is not installed or cannot be used.
    """
    from transformers.utils import is_flash_attn_2_available

    usable = device == "cuda" and dtype == "bfloat16"
    if setting == "auto":
        return "flash_attention_2" if usable and is_flash_attn_2_available() else "sdpa"
    if setting == "flash_attention_2" and not usable:
        raise UserError(
            f"compute.attention is flash_attention_2, which needs a GPU and bfloat16, not {device} and {dtype}; "
            "set it to auto or sdpa"
        )
    if setting == "flash_attention_2" and not is_flash_attn_2_available():
        raise UserError(
            "compute.attention is flash_attention_2, but the Python package flash-attn is not installed here; "
            "install it, or set compute.attention to auto or sdpa"
        )
    return setting


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for its next tensors, where the C library is glibc.

    By default glibc gives large blocks back at once, depending on their size and on what was freed before; then every
    tensor of some megabytes is made of fresh pages, which the kernel must first clear. That takes longer than many an
    operation on it, and makes one batch size twice as slow as its neighbours (docs/speed.md).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in _MALLOC:
            libc.mallopt(option, value)


def keep_few_programs() -> None:
    """Let this process, which will train, keep fewer of the programs that it makes; call it before torch computes.

    On a processor torch has oneDNN make a program for every operation and shape of matrices, and both keep the last
    1,024 of them. A training meets ever new shapes, and its programs came to a third of its memory; made anew where a
    shape comes again, they cost next to nothing (docs/speed.md). What the user has set is left.
    """
    for name in _PROGRAMS:
        os.environ.setdefault(name, _MOST_PROGRAMS)


def set_up(hardware: Path, compute: Compute) -> tuple[str, str]:
    """Fix the number of threads (it decides the order of sums) and read device and dtype that `probe` chose.

    ``compute.fast: false`` holds from here on for this process and those that it starts.
    """
    import torch

    from causal2vec.speed.packing import PLAIN

    torch.set_num_threads(compute.threads)
    keep_freed_memory()
    if not compute.fast:
        os.environ[PLAIN] = "1"
    facts = read_json(hardware)
    return facts["device"], facts["dtype"]


def peak_memory_mb(device: str) -> float:
    """The most memory that this process has held so far, in MB: on the GPU if it computes there, else in all."""
    import torch

    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def process_context(preload: list[str], device: str = "cpu") -> Any:
    """How to start processes that know nothing of this one's past, for measuring, and that end with this one.

    On a processor one server imports ``preload``, and every process starts from it in no time. It listens at a socket
    in the folder for temporary files, of which the system allows no long path; where that is too long, and for a GPU,
    each process imports for itself.
    """
    socket = Path(tempfile.gettempdir()) / "pymp-12345678" / "listener-12345678"
    if device == "cuda" or len(os.fsencode(socket)) > _LONGEST_SOCKET:
        return _Spawning()
    context = _Forking()
    context.set_forkserver_preload(preload)
    return context


class _EndsWithUs:
    def run(self) -> None:
        end_with_parent()
        super().run()  # type: ignore[misc]


class _SpawnedHelper(_EndsWithUs, SpawnProcess): ...


class _ForkedHelper(_EndsWithUs, ForkServerProcess): ...


class _Spawning(SpawnContext):
    Process = _SpawnedHelper


class _Forking(ForkServerContext):
    Process = _ForkedHelper


def _matmul_rate(device: str, dtype: Any, seconds: float = 0.4) -> float:
    """Median rate of (512 x 576) @ (576 x 1536) in GFLOP/s."""
    import torch

    a, b = (
        torch.randn(512, 576, device=device, dtype=dtype),
        torch.randn(576, 1536, device=device, dtype=dtype),
    )
    for _ in range(3):
        a @ b
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 5:
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * 512 * 576 * 1536 / statistics.median(times) / 1e9


def device_name(device: str) -> str:
    """What the GPU or the processor calls itself."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else _processor()


def _processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, with family and model where it has them: virtual machines call many alike."""
    lines = info.read_text().splitlines() if info.is_file() else []
    known = dict(reversed([(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]))
    name = known.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in known and "model" in known:
        return f"{name} (family {known['cpu family']}, model {known['model']})"
    return name
