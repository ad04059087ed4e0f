"""Where the time of some work goes, by torch's profiler: on a GPU the time of its kernels, by what they do."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from causal2vec.bench.gpu.stage import Cost, Stage

LARGEST = 3
MULTIPLICATION = "matrix multiplication"
KINDS = {
    "attention": ("flash", "fmha", "attention", "attn"),
    MULTIPLICATION: ("gemm", "nvjet", "cutlass", "xmma", "matmul", "cublas", "::mm", "::addmm", "::linear"),
    "norms": ("rms_norm", "layer_norm", "vectorized_layer"),
    "our kernels (gated activation, rotation)": ("gated_", "rotated_"),
    "copies": ("memcpy", "memset", "copy", "cat", "index", "gather", "fill"),
}  # fmt: skip
OTHER, IDLE = "element by element and reductions", "nothing: the GPU waits for the processor"


def kind_of(kernel: str) -> str:
    """What a kernel or operator does, by its name."""
    name = kernel.lower()
    return next((kind for kind, signs in KINDS.items() if any(sign in name for sign in signs)), OTHER)


def tell_costs(stage: Stage, work: str, run: Callable[[], Any]) -> None:
    """Tell the largest costs of some warm work besides matrix multiplication."""
    from torch.profiler import ProfilerActivity, profile

    cuda = stage.size.cuda
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as recorded:
        start = time.perf_counter()
        run()
        wall = time.perf_counter() - start
    spent: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        spent[kind_of(event.key)] += own / 1e6
    spent[IDLE if cuda else "Python"] = max(0.0, wall - sum(spent.values()))
    costs = sorted(((k, s) for k, s in spent.items() if k != MULTIPLICATION), key=lambda cost: -cost[1])
    for kind, seconds in [(MULTIPLICATION, spent[MULTIPLICATION]), *costs[:LARGEST]]:
        stage.tell(Cost(work, kind, seconds, seconds / wall))
