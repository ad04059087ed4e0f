"""What a decoder computes between its matrix products, on a GPU: each in one pass over memory instead of five.

transformers writes every step of a norm, a rotation of positions and a gated activation to memory and reads it again;
in bfloat16 they take a third of the time of a 7B LLM that way. torch has a kernel for the norm; the two others are
written in Triton, which comes with torch for NVIDIA GPUs and compiles them in a second. Numbers are computed in float32
and rounded once.
"""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)

BLOCK = 1024
"""Numbers of a gated activation that one program computes."""

_kernels: dict[str, Any] = {}


def norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm (Zhang and Sennrich 2019) over the last dimension."""
    # The operator itself: autocast would let the function of torch compute and answer in float32.
    return torch.ops.aten._fused_rms_norm(states, list(weight.shape), weight, epsilon)[0]


def has_norm() -> bool:
    """Whether this torch has the kernel."""
    return hasattr(torch.ops.aten, "_fused_rms_norm")


def has_triton() -> bool:
    """Whether kernels can be compiled here: Triton asks for a C compiler."""
    return importlib.util.find_spec("triton") is not None and any(map(shutil.which, ("cc", "gcc", "clang")))


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up``, number by number (SwiGLU, Shazeer 2020)."""
    gate, up = gate.contiguous(), up.contiguous()
    result = torch.empty_like(gate)
    count = gate.numel()
    with torch.cuda.device_of(gate):
        _compiled()["gated"][(-(-count // BLOCK),)](gate, up, result, count, BLOCK=BLOCK)
    return result


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al., arXiv 2104.09864), as ``states * cos + rotate_half(states) * sin``.

    Args:
        states: ``(batch, heads, tokens, head width)``, each head's numbers side by side.
        cos, sin: ``(batch or 1, tokens, head width)``.

    Returns:
        The same shape, laid out token by token.
    """
    batch, heads, tokens, width = states.shape
    result = states.new_empty(batch, tokens, heads, width)
    cos, sin = (x.expand(batch, -1, -1).contiguous() for x in (cos, sin))
    strides = (states.stride(0), states.stride(2), states.stride(1))
    rows, half = _power(heads), _power(width // 2)
    with torch.cuda.device_of(states):
        _compiled()["rotated"][(batch * tokens,)](
            states, cos, sin, result, tokens, heads, width // 2, *strides, ROWS=rows, HALF=half
        )
    return result.transpose(1, 2)


def rotates(states: Tensor, cos: Tensor) -> bool:
    """Whether `rotated` can be used: 16 bits on a GPU, no gradients, and the shapes that it knows."""
    return (
        states.device.type == "cuda"
        and states.dtype in HALF
        and not torch.is_grad_enabled()
        and states.dim() == 4
        and cos.dim() == 3
        and states.stride(-1) == 1
        and cos.shape[-1] == states.shape[-1]
    )


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _compiled() -> dict[str, Any]:
    """The kernels, which Triton compiles when they are called first."""
    if not _kernels:
        from causal2vec.gpu_kernels import gated_kernel, rotated_kernel

        _kernels.update(gated=gated_kernel, rotated=rotated_kernel)
    return _kernels
