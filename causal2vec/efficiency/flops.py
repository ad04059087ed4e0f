"""How much arithmetic a stage is: FLOPs from parameters and tokens.

Kaplan et al. (arXiv 2001.08361, section 2.1) and Hoffmann et al. (arXiv 2203.15556, appendix F): a token costs two
FLOPs per weight that it is multiplied with, plus attention; the backward pass costs the same again for the
gradients of the activations and once more for those of the weights, which a frozen weight does not have.
"""

from __future__ import annotations

from typing import Protocol

from causal2vec.efficiency.architecture import Architecture


class Sized(Protocol):
    """What arithmetic depends on, of an `Architecture` or of anything that says as much."""

    @property
    def linear(self) -> float:
        """Weights of the linear layers."""

    @property
    def layers(self) -> int:
        """Blocks."""

    @property
    def attention(self) -> int:
        """Width of all query heads together."""


FORWARD, ACTIVATIONS, WEIGHTS = 1, 1, 1
"""Passes over a weight, in units of two FLOPs per token."""


def forward_flops(architecture: Sized, tokens: float, context: float) -> float:
    """FLOPs of one forward pass: ``tokens * (2 * linear weights + 4 * layers * attention width * context)``.

    Args:
        tokens: Tokens in all, padding included, as it is computed on too.
        context: Tokens per row: each attends to all. A causal mask does not halve this here: with padding the mask
            is explicit, and torch's attention then computes the whole square. An upper bound for fused kernels.
    """
    return tokens * (2 * architecture.linear + 4 * architecture.layers * architecture.attention * context)


def training_flops(
    architecture: Architecture,
    tokens: float,
    context: float,
    *,
    adapters: int | None,
    checkpointing: bool = False,
    caching: bool = False,
) -> float:
    """FLOPs of forward and backward passes.

    Args:
        tokens, context: As for `forward_flops`.
        adapters: LoRA weights on a frozen model (2 + 2 FLOPs per frozen weight and token, 6 per adapter weight);
            None: every weight learns (6 FLOPs).
        checkpointing: Gradient checkpointing runs the forward pass once more.
        caching: Gradient caching (arXiv 2101.06983) embeds everything once without gradients before.
    """
    passes = FORWARD + ACTIVATIONS + (WEIGHTS if adapters is None else 0) + int(checkpointing) + int(caching)
    learned = 2 * (adapters or 0) * tokens * (FORWARD + ACTIVATIONS + WEIGHTS)
    return passes * forward_flops(architecture, tokens, context) + learned


def prediction_flops(architecture: Architecture, tokens: float) -> float:
    """FLOPs of a language model's frozen head over all tokens, there and back: ``4 * width * vocabulary`` each."""
    return 4 * architecture.width * architecture.vocabulary * tokens
