"""Where the time of a job goes: matrix multiplication, attention, and what could still be saved."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causal2vec.bench.limits import Job

MULTIPLICATION = "matrix multiplication"
PYTHON = "Python, tokenising, autograd's own work"
KINDS = {
    MULTIPLICATION: ("mm", "addmm", "linear", "matmul", "_addmm_activation", "_linear_pointwise"),
    "attention": (
        "scaled_dot_product_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
        "_scaled_dot_product_attention_math",
        "_safe_softmax", "bmm", "baddbmm", "_softmax", "_softmax_backward_data",
    ),
    "copies": (
        "copy_", "cat", "stack", "clone", "contiguous", "to", "_to_copy", "index", "index_select", "index_copy_",
        "index_copy", "index_add_", "index_put_", "_index_put_impl_", "gather", "embedding", "constant_pad_nd", "pad",
        "fill_", "zero_", "zeros", "new_zeros", "repeat", "repeat_interleave", "slice_backward", "select_backward",
        "index_select_backward", "embedding_dense_backward", "_local_scalar_dense", "nonzero",
    ),
    "views and allocation": (
        "view", "reshape", "_reshape_alias", "_unsafe_view", "transpose", "permute", "t", "slice", "select", "narrow",
        "as_strided", "unsqueeze", "squeeze", "expand", "expand_as", "view_as", "detach", "split", "split_with_sizes",
        "unflatten", "flatten", "empty", "empty_like", "empty_strided", "resize_", "unbind", "alias", "lift_fresh",
    ),
}  # fmt: skip
"""Operators of torch by what they do; all others compute element by element."""

OTHER = "element by element"

LARGEST = 3
TOP = 12
"""Operators shown."""

_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


def kind_of(operator: str) -> str:
    """What a recorded event does, by its name, such as ``aten::mm``."""
    space, _, name = operator.rpartition("::")
    return _KIND_OF.get(name, OTHER) if space in ("aten", "mkldnn") else PYTHON


def profile(job: Job) -> list[dict[str, Any]]:
    """One run of a job, warm, under torch's profiler.

    Returns:
        Rows of ``work``, ``level`` (``kind``, or ``operator`` for the `TOP` ones), ``name``, ``kind``, ``calls``,
        ``seconds`` and ``share`` of the wall time. What torch's operators do not account for is `PYTHON`; the profiler
        itself makes that larger than it is.
    """
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorder

    job.run()
    with recorder(activities=[ProfilerActivity.CPU]) as recorded:
        start = time.perf_counter()
        job.run()
        wall = time.perf_counter() - start
    events = [(e.key, e.self_cpu_time_total / 1e6, e.count) for e in recorded.key_averages()]
    return rows(job.work, [event for event in events if kind_of(event[0]) != PYTHON], wall)


def rows(work: str, operators: list[tuple[str, float, int]], wall: float) -> list[dict[str, Any]]:
    """The profile of a job from its operators' names, own seconds and calls."""
    kinds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for name, seconds, calls in operators:
        kinds[kind_of(name)][0] += seconds
        kinds[kind_of(name)][1] += calls
    kinds[PYTHON][0] = max(0.0, wall - sum(seconds for _, seconds, _ in operators))

    def line(level: str, name: str, kind: str, seconds: float, calls: float) -> dict[str, Any]:
        return {
            "work": work, "level": level, "name": name, "kind": kind, "calls": int(calls), "seconds": seconds,
            "share": seconds / wall,
        }  # fmt: skip

    found = [line("kind", kind, kind, *values) for kind, values in kinds.items()]
    found += [line("operator", n, kind_of(n), s, c) for n, s, c in sorted(operators, key=lambda o: -o[1])[:TOP]]
    return sorted(found, key=lambda r: (r["level"], -r["seconds"]))


def largest_remaining(profiled: list[dict[str, Any]], work: str) -> list[dict[str, Any]]:
    """The `LARGEST` kinds of cost besides matrix multiplication."""
    kinds = [r for r in profiled if r["work"] == work and r["level"] == "kind" and r["kind"] != MULTIPLICATION]
    return sorted(kinds, key=lambda r: -r["seconds"])[:LARGEST]
