"""Latent attention (NV-Embed, Lee et al., arXiv 2405.17428): the LLM's states look up a trainable dictionary.

Attention is bidirectional. Each last hidden state is the query of a multi-head attention onto an array of trainable
latents, which gives keys and values; an MLP follows, then the mean over the text, instruction tokens excluded.

Known from the paper: the bidirectional LLM, queries, keys and values, 512 latents, 8 heads, two linear layers with GELU
between them, the mean. Third-hand, from a port of the released model: the residuals around attention and MLP, layer
norms before both and on the latents, projections without bias, an MLP four times as wide as the LLM. Assumed: GELU
without the gate, and heads that share the LLM's width, of which the released model has both; the first values of all
weights; and the LLM's input, that of `bidirectional`, without the EOS that the released model appends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool

WIDER = 4
"""How many times the LLM's width the MLP has between its layers."""


class LatentLayer(nn.Module):
    """Attention of each state alone onto the latents, and an MLP.

    Args:
        width: Of the states and latents.
        inner: Of all heads together.
        latents, heads: Their numbers.
    """

    def __init__(self, width: int, inner: int, latents: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.latents = nn.Parameter(torch.randn(latents, width))
        self.norm_states, self.norm_latents, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.output = nn.Linear(inner, width, bias=False)
        self.mlp: Any = nn.Sequential(nn.Linear(width, WIDER * width), nn.GELU(), nn.Linear(WIDER * width, width))

    def forward(self, states: Tensor) -> Tensor:
        """States ``(tokens, width)`` to ``(tokens, width)``; no token sees another."""
        latents = self.norm_latents(torch.stack([self.latents]))  # no view: torch's FLOP counter stumbles over a leaf
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(self.norm_states(states.unsqueeze(0))), self.key(latents), self.value(latents))
        )
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        states = states + self.output(found.transpose(1, 2).flatten(2)).squeeze(0)
        return states + self.mlp(self.norm_mlp(states))


class LatentAttention(DecoderEmbedder):
    """Bidirectional LLM, latent attention, and the mean over the text.

    Args:
        latents: How many there are.
        heads: Of the attention onto them.
        width: Of all heads together; None: the LLM's width.

    The layer treats each token alone, so that only tokens that count in the mean go through it.
    """

    closing_role: ClassVar[Role] = Role.TEXT
    config_keys: list[str] = [*DecoderEmbedder.config_keys, "latents", "heads", "width"]

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        latents: int = 512,
        heads: int = 8,
        width: int | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        self.llm.config.is_causal = False
        self.latents, self.heads, self.width = latents, heads, width
        outer = int(self.llm.config.hidden_size)
        inner = outer if width is None else width
        if min(latents, heads, inner) < 1:
            raise ValueError(f"latents is {latents}, heads {heads} and width {inner}, but each must be at least 1")
        if inner % heads:
            raise ValueError(
                f"heads is {heads}, which does not divide width, {inner}; set heads or width so that it does"
            )
        self.latent_layer = LatentLayer(outer, inner, latents, heads)
        self.latent_layer.to(next(self.llm.parameters()).dtype)

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text``."""
        return [*self.bos, Piece(prompt), Piece(text, role=Role.TEXT, cut=True)]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Mean over the text's tokens behind the latent attention, ``(batch, width)``."""
        kept = self.kept(roles)
        found = self.latent_layer(states[kept].to(self.latent_layer.latents.dtype))
        return mean_pool(found.new_zeros(states.shape).index_put((kept,), found), kept)

    def kept(self, roles: Tensor) -> Tensor:
        """The text's tokens, ``(batch, length)``."""
        return roles == Role.TEXT

    def own_products(self) -> tuple[float, float, float]:
        """Multiplications of the latent attention: per text, per kept token, and per batch (the latents' own)."""
        layer = self.latent_layer
        latents, inner = len(layer.latents), layer.query.out_features
        shared = layer.key.weight.numel() + layer.value.weight.numel()
        each = sum(part.weight.numel() for part in (layer.query, layer.output, layer.mlp[0], layer.mlp[2]))
        return 0.0, each + 2.0 * latents * inner, float(latents * shared)
