"""Linear layers that multiply by weights in oneDNN's own order, on a processor.

Torch hands oneDNN the weights as they are, which puts them into the order that its loops read, for every batch anew;
and float32 it hands to a library that is half as fast on a processor of another maker. Put in order
once, weights multiply a tenth faster in bfloat16, to the same bits, and up to twice as fast in float32 (docs/speed.md).
It costs a second copy of the linear layers for as long as it lasts, and there are no gradients.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def reordered_weights(model: Any) -> Iterator[None]:
    """Within it a model's linear layers are faster; nested in another of its kind it does nothing.

    Only for inference, and as long as no weight changes.

    Args:
        model: A module of torch, on any device and in any number format; where nothing can be won it is left alone, and
            so is what is no module, such as a model that another program serves.
    """
    from torch.nn import Linear, Module

    modules = model.modules() if isinstance(model, Module) else ()
    # A layer with a forward of its own, be it another library's or ours, is not a plain product any more.
    layers: list[Any] = [m for m in modules if type(m) is Linear and "forward" not in vars(m) and can_reorder(m.weight)]
    for layer in layers:
        layer.forward = multiplier(layer.weight, layer.bias)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def multiplier(weight: Tensor, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """States ``(..., in)`` to ``(..., out)``, the fastest way that is known for a weight ``(out, in)``."""
    import torch

    if not can_reorder(weight):
        return partial(torch.nn.functional.linear, weight=weight, bias=bias)
    with torch.no_grad():
        reordered = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    multiply = torch.ops.mkldnn._linear_pointwise  # what torch.compile makes of a linear layer
    return lambda states: multiply(states, reordered, bias, "none", [], "")


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
