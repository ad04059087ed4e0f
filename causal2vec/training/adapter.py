"""peft's low-rank adapter of a linear layer, with fewer passes over memory."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor


class Adapter(Linear):
    """The same function of the same weights; scale and sum are part of a matrix multiplication.

    peft computes ``W x``, ``B A x``, the latter scaled, and their sum: four results as wide as the layer, and as many
    gradients. Here there are two. What this file does not know is left to peft.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``(..., width in)`` to ``(..., width out)``."""
        if args or kwargs or self.disable_adapters or self.merged or self.lora_variant or len(self.active_adapters) > 1:
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        down, up = self.lora_A[name], self.lora_B[name]
        alike = x.dtype == self.base_layer.weight.dtype == up.weight.dtype
        if up.bias is not None or not (alike or torch.is_autocast_enabled(x.device.type)):
            return super().forward(x)
        whole = self.base_layer(x)
        inner = down(self.lora_dropout[name](x))
        summed = torch.addmm(whole.flatten(0, -2), inner.flatten(0, -2), up.weight.T, alpha=self.scaling[name])
        return summed.view_as(whole)
