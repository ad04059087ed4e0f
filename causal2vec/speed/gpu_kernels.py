"""Triton's programs for `causal2vec.speed.gpu_layers`, in a file of their own: importing it needs Triton."""

# ruff: noqa: ANN001, ANN201, D103, N803
# mypy: disable-error-code=no-untyped-def
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gated_kernel(gate, up, result, count, BLOCK: tl.constexpr):
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = places < count
    x = tl.load(gate + places, mask=real).to(tl.float32)
    y = tl.load(up + places, mask=real).to(tl.float32)
    tl.store(result + places, (x * tl.sigmoid(x) * y).to(result.dtype.element_ty), mask=real)


@triton.jit
def gated_backward_kernel(gate, up, gradient, of_gate, of_up, count, BLOCK: tl.constexpr):
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = places < count
    x = tl.load(gate + places, mask=real).to(tl.float32)
    y = tl.load(up + places, mask=real).to(tl.float32)
    g = tl.load(gradient + places, mask=real).to(tl.float32)
    open_ = tl.sigmoid(x)
    tl.store(of_up + places, (g * x * open_).to(of_up.dtype.element_ty), mask=real)
    slope = open_ * (1 + x * (1 - open_))
    tl.store(of_gate + places, (g * y * slope).to(of_gate.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=["tokens"])  # a row's length is another each time: one program for all
def rotated_kernel(  # noqa: PLR0913 (a kernel takes plain values)
    states, cos, sin, result, tokens, heads, half, by_text, by_token, by_head, ROWS: tl.constexpr, HALF: tl.constexpr
):
    """One token: all of its heads, first half and second half of each."""
    token = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, ROWS)[:, None], tl.arange(0, HALF)[None, :]
    real = (head < heads) & (column < half)
    angles = token * 2 * half + column
    near = states + (token // tokens) * by_text + (token % tokens) * by_token + head * by_head + column
    first = tl.load(near, mask=real).to(tl.float32)
    second = tl.load(near + half, mask=real).to(tl.float32)
    inside = column < half
    cos_first = tl.load(cos + angles, mask=inside).to(tl.float32)
    sin_first = tl.load(sin + angles, mask=inside).to(tl.float32)
    cos_second = tl.load(cos + angles + half, mask=inside).to(tl.float32)
    sin_second = tl.load(sin + angles + half, mask=inside).to(tl.float32)
    place = result + (token * heads + head) * 2 * half + column
    tl.store(place, (first * cos_first - second * sin_first).to(result.dtype.element_ty), mask=real)
    tl.store(place + half, (second * cos_second + first * sin_second).to(result.dtype.element_ty), mask=real)
