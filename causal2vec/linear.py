"""Products with weights in oneDNN's own order, on a processor.

Torch hands oneDNN the weights as they are, which puts them into the order that its loops read, for every batch anew;
and float32 it hands to a library that is half as fast on a processor of another maker. Put in order
once, weights multiply a tenth faster in bfloat16, to the same bits, and up to twice as fast in float32 (docs/speed.md).
It costs a second copy of the weights for as long as it lasts, and there are no gradients.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Product:
    """States ``(..., in)`` to ``(..., out)``, and what is done to each number before it is rounded and written.

    Args:
        weight: ``(out, in)``, one of those that `can_reorder`; it is copied.
        bias: ``(out,)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        import torch

        with torch.no_grad():
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self.bias = bias
        self.multiply = torch.ops.mkldnn._linear_pointwise  # what torch.compile makes of a linear layer

    def __call__(self, states: Tensor, then: str = "none", how: str = "") -> Tensor:
        """The product, and then a function by oneDNN's name, such as ``swish``; some have more than one way."""
        return self.multiply(states, self.weight, self.bias, then, [], how)

    def times(self, states: Tensor, other: Tensor) -> Tensor:
        """The product times ``(..., out)``, number by number."""
        return self.multiply.binary(states, other, self.weight, self.bias, "mul")


def multiplier(weight: Tensor, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """States ``(..., in)`` to ``(..., out)``, the fastest way that is known for a weight ``(out, in)``."""
    import torch

    if can_reorder(weight):
        return Product(weight, bias)
    return partial(torch.nn.functional.linear, weight=weight, bias=bias)


def can_reorder(weight: Tensor) -> bool:
    """Whether this torch, processor and number format have a way to multiply by weights in another order."""
    import torch

    if weight.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
