"""Position-weighted mean (SGPT, Muennighoff, arXiv 2202.08904): later tokens have seen more, so they weigh more.

LLM2Vec (arXiv 2404.05961) takes it as its causal baseline ("Uni + weighted mean").
"""

from __future__ import annotations

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool


class WeightedMean(DecoderEmbedder):
    """Causal LLM; the vector is the mean over the text's tokens, the i-th of which weighs i.

    Counting starts at the text's first token, so that neither padding nor an instruction changes a weight. SGPT has no
    instruction; that LLM2Vec counts so too is third-hand.
    """

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text``; a causal state does not see an EOS behind it."""
        return [*self.bos, Piece(prompt), Piece(text, role=Role.TEXT, cut=True)]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """``sum(i * state_i) / sum(i)`` over the text's tokens, ``(batch, width)``."""
        text = self.kept(roles)
        return mean_pool(states, text.cumsum(dim=1) * text)

    def kept(self, roles: Tensor) -> Tensor:
        """The text's tokens, ``(batch, length)``."""
        return roles == Role.TEXT
