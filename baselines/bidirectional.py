"""Bidirectional attention (LLM2Vec, BehnamGhader et al., arXiv 2404.05961): drop the causal mask, take the mean.

LLM2Vec first teaches the LLM to live without the mask (masked-next-token prediction, a stage of its own, see
``causal2vec.training.stages``), then trains contrastively like every other method here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool


class Bidirectional(DecoderEmbedder):
    """Every token sees every token; the vector is the mean over the text, instruction tokens excluded.

    A layer with a sliding window keeps it, in both directions. Of a chat wrapper, what stands before the text is
    excluded like the instruction, what stands behind it counts: LLM2Vec excludes from the front only (assumed, from
    reading its code).
    """

    closing_role: ClassVar[Role] = Role.TEXT

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        # The supported switch. Setting is_causal on the attention layers instead is silently causal as soon as
        # a batch is padded.
        self.llm.config.is_causal = False

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text``; LLM2Vec appends no EOS."""
        return [*self.bos, Piece(prompt), Piece(text, role=Role.TEXT, cut=True)]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Mean over the text's tokens, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """The text's tokens, ``(batch, length)``."""
        return roles == Role.TEXT
