"""What a decoder computes between its matrix products, on a GPU: each in one pass over memory instead of five.

transformers writes every step of a norm, a rotation of positions and a gated activation to memory and reads it again;
in bfloat16 they take a third of the time of a 7B LLM that way. torch has a kernel for the norm; the two others are
written in Triton, which comes with torch for NVIDIA GPUs and compiles them in a second. Numbers are computed in float32
and rounded once.
"""

from __future__ import annotations

import importlib.util
import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

HALF = (torch.bfloat16, torch.float16)

BLOCK = 1024
"""Numbers of a gated activation that one program computes."""


def norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm (Zhang and Sennrich 2019) over the last dimension."""
    # The operator itself: autocast would let the function of torch compute and answer in float32.
    return torch.ops.aten._fused_rms_norm(states, list(weight.shape), weight, epsilon)[0]


def has_norm() -> bool:
    """Whether this torch has the kernel."""
    return hasattr(torch.ops.aten, "_fused_rms_norm")


@cache
def has_triton() -> bool:
    """Whether kernels can be compiled here, by compiling one: Triton asks for a C compiler, among others."""
    if importlib.util.find_spec("triton") is None or not torch.cuda.is_available():
        return False
    try:
        ones = torch.ones(BLOCK, device="cuda", dtype=torch.bfloat16)  # as layers call it: compiled for good
        return abs(float(gated(ones, ones)[0]) - 0.7311) < 1e-2
    except Exception as error:  # whatever it lacks, there is another way
        logger.warning("Triton cannot compile here (%s); layers take longer on this GPU", error)
        return False


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up``, number by number (SwiGLU, Shazeer 2020)."""
    return _Gated.apply(gate, up)


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al., arXiv 2104.09864), as ``states * cos + rotate_half(states) * sin``.

    Args:
        states: ``(batch, heads, tokens, head width)``, each head's numbers side by side.
        cos, sin: ``(batch or 1, tokens, head width)``; they get no gradient.

    Returns:
        The same shape, laid out token by token.
    """
    return _Rotated.apply(states, cos, sin)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        result = torch.empty_like(gate)
        _launch("gated_kernel", gate, up, result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
        _launch("gated_backward_kernel", gate, up, gradient.contiguous(), of_gate, of_up)
        return of_gate, of_up


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(states, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        gradient = gradient if gradient.stride(-1) == 1 else gradient.contiguous()
        return _rotate(gradient, cos, -sin.roll(sin.shape[-1] // 2, dims=-1)), None, None  # the way back


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    batch, heads, tokens, width = states.shape
    result = states.new_empty(batch, tokens, heads, width)
    cos, sin = (x.expand(batch, -1, -1).contiguous() for x in (cos, sin))
    strides = (states.stride(0), states.stride(2), states.stride(1))
    rows, half = _power(heads), _power(width // 2)
    with torch.cuda.device_of(states):
        _compiled().rotated_kernel[(batch * tokens,)](
            states, cos, sin, result, tokens, heads, width // 2, *strides, ROWS=rows, HALF=half
        )
    return result.transpose(1, 2)


def _launch(kernel: str, *tensors: Tensor) -> None:
    """A kernel that goes through tensors of one shape number by number."""
    count = tensors[0].numel()
    with torch.cuda.device_of(tensors[0]):
        getattr(_compiled(), kernel)[(-(-count // BLOCK),)](*tensors, count, BLOCK=BLOCK)


def rotates(states: Tensor, cos: Tensor) -> bool:
    """Whether `rotated` can be used: 16 bits on a GPU, and the shapes that it knows."""
    return (
        states.device.type == "cuda"
        and states.dtype in HALF
        and states.dim() == 4
        and cos.dim() == 3
        and states.stride(-1) == 1
        and cos.shape[-1] == states.shape[-1]
    )


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _compiled() -> Any:
    """The kernels, which Triton compiles when they are called first; importing them needs Triton."""
    import causal2vec.speed.gpu_kernels as kernels

    return kernels
