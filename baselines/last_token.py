"""Last-token pooling (E5-mistral, Wang et al., arXiv 2401.00368): append EOS, keep its last hidden state."""

from __future__ import annotations

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool


class LastToken(DecoderEmbedder):
    """Causal LLM; the vector is the state at EOS, which is there even when the text was cut."""

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text[EOS]``."""
        return [*self.bos, Piece(prompt), Piece(text, role=Role.TEXT, cut=True), *self.eos]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """The state at EOS, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """EOS, ``(batch, length)``."""
        return roles == Role.EOS
