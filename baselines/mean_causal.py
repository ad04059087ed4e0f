"""Mean pooling of a causal LLM: the control of every paper that changes the mask, the input or the pooling.

LLM2Vec (arXiv 2404.05961), E5-mistral (2401.00368), NV-Embed (2405.17428), bge-en-icl (2409.15700) and Echo
(2402.15449) all compare with it. They do not agree whether it is above or below the state at EOS.
"""

from __future__ import annotations

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool


class MeanCausal(DecoderEmbedder):
    """Causal LLM; the vector is the mean over the text's tokens, instruction and special tokens excluded."""

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text``; a causal state does not see an EOS behind it."""
        return [*self.bos, Piece(prompt), Piece(text, role=Role.TEXT, cut=True)]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Mean over the text's tokens, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """The text's tokens, ``(batch, length)``."""
        return roles == Role.TEXT
