"""peft's low-rank adapter of a linear layer, with fewer passes over memory."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn


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
        if x.device.type == "cuda" and type(self.base_layer) is nn.Linear:
            return self.in_place(x, name)
        whole = self.base_layer(x)
        inner = down(self.lora_dropout[name](x))
        summed = torch.addmm(whole.flatten(0, -2), inner.flatten(0, -2), up.weight.T, alpha=self.scaling[name])
        return summed.view_as(whole)

    def in_place(self, x: Tensor, name: str) -> Tensor:
        """The same, the sum written over the frozen layer's result, of which a GPU would make a copy first.

        That result must be no view of another tensor, or its gradient is copied instead: hence the two dimensions.
        """
        rows = x.flatten(0, -2)
        whole, inner = self.base_layer(rows), self.lora_A[name](self.lora_dropout[name](rows))
        weight = self.lora_B[name].weight.to(whole.dtype)  # autocast does not see to what is written over
        return whole.addmm_(inner, weight.T, alpha=self.scaling[name]).unflatten(0, x.shape[:-1])
