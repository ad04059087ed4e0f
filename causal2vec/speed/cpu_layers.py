"""The layers of transformers' models, as they are fastest where texts are embedded.

On a processor weights lie in the order in which they are multiplied. In bfloat16, where multiplication is so fast that
the rest shows, an activation is computed within the product before it, and a norm a few tokens at a time, so that what
it reads is still in the cache (docs/speed.md). On a GPU a norm, an activation and a rotation are one kernel each
(`causal2vec.speed.gpu_layers`).
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from causal2vec.speed.packing import plain

if TYPE_CHECKING:
    from torch import Tensor


GATED = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP", "SmolLM3MLP")
"""transformers' names of ``down(act(gate(x)) * up(x))`` (SwiGLU, Shazeer 2020, where the activation is SiLU)."""

ACTIVATED = ("BertIntermediate", "RobertaIntermediate", "XLMRobertaIntermediate")
"""transformers' names of ``act(dense(x))``."""

NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "SmolLM3RMSNorm")
"""transformers' names of what divides each row by its root mean square (RMSNorm, Zhang and Sennrich 2019)."""

ROTATING = ("LlamaAttention", "MistralAttention", "Qwen2Attention", "Qwen3Attention", "SmolLM3Attention")
"""transformers' names of attention that rotates queries and keys by its file's function `ROTATION`."""

ROTATION = "apply_rotary_pos_emb"

ACTIVATIONS = {
    "SiLU": ("swish", ""), "SiLUActivation": ("swish", ""), "GELUActivation": ("gelu", "none"),
    "GELUTanh": ("gelu", "tanh"),
}  # fmt: skip
"""What oneDNN calls them."""

PIECE = 2**18
"""Numbers of a piece of a norm's input: in float32, in which it computes, a megabyte."""


@contextmanager
def fast_layers(model: Any) -> Iterator[None]:
    """Within it a model's layers are faster; nested in another of its kind it does nothing.

    Only for inference, and as long as no weight changes. In float32 vectors stay within its rounding; in bfloat16 they
    are rounded less often.

    Args:
        model: A module of torch, on any device and in any number format; where nothing can be won it is left alone, and
            so is what is no module, such as a model that another program serves.
    """
    from torch.nn import Linear, Module

    # A layer with a forward of its own, be it another library's or ours, is not transformers' any more.
    faster = isinstance(model, Module) and not plain()
    modules = [m for m in model.modules() if "forward" not in vars(m)] if faster else []
    products = {m: Product(m.weight, m.bias) for m in modules if type(m) is Linear and can_reorder(m.weight)}
    forwards: dict[Any, Callable[..., Tensor]] = dict(products)
    for module in modules:
        better = _better(module, products)
        if better is not None:
            forwards[module] = better
    with _replaced(forwards), _fast_rotation(modules):
        yield


@contextmanager
def fast_layers_in_training(model: Any) -> Iterator[None]:
    """Within it layers that lie in 16 bits on a GPU compute norms, activations and rotations in one kernel each, there
    and back; weights may change meanwhile."""
    modules = [] if plain() else [m for m in model.modules() if "forward" not in vars(m)]
    better = {m: _on_gpu(m) for m in modules if type(m).__module__.startswith("transformers.") and _half_on_gpu(m)}
    with _replaced({m: forward for m, forward in better.items() if forward}), _fast_rotation(modules):
        yield


@contextmanager
def _replaced(forwards: dict[Any, Callable[..., Tensor]]) -> Iterator[None]:
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in forwards:
            del module.forward


def _better(module: Any, products: dict[Any, Product]) -> Callable[[Tensor], Tensor] | None:
    """Another forward for a module of transformers that is more than one product; None: there is none."""
    kind = type(module)
    if not kind.__module__.startswith("transformers."):
        return None
    if _half_on_gpu(module):
        return _on_gpu(module)
    if kind.__name__ in NORMS:
        return partial(_in_pieces, module.forward) if _half(module.weight) else None
    if kind.__name__ in GATED:
        return _gated(module, products)
    return _activated(module, products) if kind.__name__ in ACTIVATED else None


def _gated(module: Any, products: dict[Any, Product]) -> Callable[[Tensor], Tensor] | None:
    gate, up, down = (products.get(layer) for layer in (module.gate_proj, module.up_proj, module.down_proj))
    then = ACTIVATIONS.get(type(module.act_fn).__name__)
    if not (gate and up and down and then and _half(gate.weight)):
        return None
    return lambda states: down(up.times(states, gate(states, *then)))


def _activated(module: Any, products: dict[Any, Product]) -> Callable[[Tensor], Tensor] | None:
    dense, then = products.get(module.dense), ACTIVATIONS.get(type(module.intermediate_act_fn).__name__)
    return (lambda states: dense(states, *then)) if dense and then and _half(dense.weight) else None


def _on_gpu(module: Any) -> Callable[[Tensor], Tensor] | None:
    from causal2vec.speed.gpu_layers import gated, has_norm, has_triton, norm

    name = type(module).__name__
    if name in NORMS and has_norm():
        return partial(_norm_on_gpu, norm, module.forward, module)
    activated = name in GATED and ACTIVATIONS.get(type(module.act_fn).__name__, ("",))[0] == "swish"
    if not (activated and has_triton()):
        return None
    return lambda states: module.down_proj(gated(module.gate_proj(states), module.up_proj(states)))


def _norm_on_gpu(
    norm: Callable[..., Tensor], before: Callable[[Tensor], Tensor], module: Any, states: Tensor
) -> Tensor:
    # The weight is asked for anew each time: FSDP exchanges it.
    alike = states.dtype == module.weight.dtype and states.device.type == "cuda"
    return norm(states, module.weight, module.variance_epsilon) if alike else before(states)


@contextmanager
def _fast_rotation(modules: list[Any]) -> Iterator[None]:
    """Within it the files of attention layers on a GPU rotate in one kernel; all else they rotate as before."""
    kinds = {type(m) for m in modules if type(m).__name__ in ROTATING and _half_on_gpu(m)}
    files = [sys.modules[kind.__module__] for kind in kinds if kind.__module__.startswith("transformers.")]
    with ExitStack() as stack:
        for file in files:
            before = getattr(file, ROTATION)
            setattr(file, ROTATION, partial(_rotation, before))
            stack.callback(setattr, file, ROTATION, before)
        yield


def _rotation(before: Callable[..., Any], query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, **options: Any) -> Any:
    from causal2vec.speed.gpu_layers import has_triton, rotated, rotates

    if options or not (rotates(query, cos) and rotates(key, cos) and has_triton()):
        return before(query, key, cos, sin, **options)
    return rotated(query, cos, sin), rotated(key, cos, sin)


def _half_on_gpu(module: Any) -> bool:
    weight = next(module.parameters(), None)
    return weight is not None and weight.device.type == "cuda" and weight.element_size() == 2


def _in_pieces(norm: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """What ``norm`` makes of ``(..., width)``, to the same bits: it computes each row alone."""
    rows = max(1, PIECE // states.shape[-1])
    flat = states.reshape(-1, states.shape[-1])
    if len(flat) <= rows:
        return norm(states)
    result = flat.new_empty(flat.shape)
    for piece, place in zip(flat.split(rows), result.split(rows), strict=True):
        place.copy_(norm(piece))
    return result.view(states.shape)


def _half(weight: Tensor) -> bool:
    import torch

    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16


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
