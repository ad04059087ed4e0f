"""What a pooling does not look at is not computed: the last layer's queries, output and MLP of all other tokens.

In the last layer a token gives its keys and values to other tokens, and what else is made of it goes nowhere but into
its own state. Pooling at EOS keeps one state per text; the rest, most of a layer, is left out, and the vectors stay the
same. It is one layer of however many there are: an eighth of eight, three per cent of thirty-two.

Like `causal2vec.embedder`, this file needs nothing of this project and is copied beside every saved model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from causal2vec.speed.packing import avoids, send

TOKENWISE = ("self_attn.q_proj", "self_attn.o_proj", "mlp")
"""Parts of a layer that make something of each token alone and do not make keys or values, by transformers' names; an
LLM that calls them otherwise computes everything."""

FEW = 0.75
"""Share of the tokens up to which leaving out the others pays."""


@contextmanager
def only_for(model: Any, kept: Tensor | None) -> Iterator[None]:
    """Within it, the last layer computes what is not keys and values for some tokens only; the others' states are void.

    Args:
        model: A transformers model without a head.
        kept: Non-zero for those tokens, in the order in which the model sees all tokens of a batch; None: all.
    """
    if kept is None or model.training or torch.is_grad_enabled() or not left_out(int(kept.sum()), kept.numel()):
        yield
        return
    parts = tokenwise(model)
    device = next((weight.device for part in parts for weight in part.parameters()), kept.device)
    rows = send(kept.flatten().nonzero().squeeze(1), device)  # `kept` may lie where nobody waits for a GPU
    before = [vars(part).get("forward") for part in parts]
    for part in parts:
        part.forward = partial(_for_rows, part.forward, rows)
    try:
        yield
    finally:
        for part, forward in zip(parts, before, strict=True):
            del part.forward
            if forward is not None:
                part.forward = forward


def left_out(kept: int, tokens: int) -> int:
    """For how many of a batch's tokens the parts are not computed."""
    return tokens - kept if kept <= FEW * tokens else 0


def tokenwise(model: Any) -> list[Any]:
    """The parts of the last layer that `only_for` shortens: all of them, or none."""
    layers = getattr(model, "layers", None)
    if avoids(model, "last_layer"):
        return []
    try:
        return [layers[-1].get_submodule(name) for name in TOKENWISE] if layers else []
    except (AttributeError, TypeError):
        return []


def weights_left_out(model: Any) -> int:
    """Weights of the linear layers that a token is not multiplied by where it is left out."""
    layers = (layer for part in tokenwise(model) for layer in part.modules() if isinstance(layer, torch.nn.Linear))
    return sum(layer.weight.numel() for layer in layers)


def _for_rows(forward: Callable[[Tensor], Any], rows: Tensor, states: Tensor) -> Any:
    """What ``forward`` makes of some rows of ``(..., width)``, and zero for the others."""
    made = forward(states.flatten(0, -2).index_select(0, rows).unsqueeze(0))
    if not isinstance(made, Tensor):
        return forward(states)  # a mixture of experts that says more than the states
    whole = made.new_zeros(states.shape[:-1].numel(), made.shape[-1])
    return whole.index_copy_(0, rows, made[0]).view(*states.shape[:-1], -1)
