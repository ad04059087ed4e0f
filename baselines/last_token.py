"""Last-token pooling (E5-mistral, Wang et al., arXiv 2401.00368): append EOS, keep its last hidden state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool


class LastToken(DecoderEmbedder):
    """Causal LLM; the vector is the state at EOS, which is there even when the text was cut.

    Args:
        end: Another token of the vocabulary that ends a text instead; None: the tokenizer's EOS. Chat models have two
            that could: what ends a turn, and what ends a document.
    """

    config_keys: list[str] = [*DecoderEmbedder.config_keys, "end"]

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        end: str | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        self.end = end
        if end is not None:
            if end not in (vocabulary := self.tokenizers["llm"].get_vocab()):
                raise ValueError(f"end is '{end}', which is no token of this LLM; name one of its vocabulary")
            self.eos = [Piece(token=vocabulary[end], role=Role.EOS)]

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text[EOS]``."""
        return [*self.bos, Piece(prompt), Piece(text, role=Role.TEXT, cut=True), *self.eos]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """The state at EOS, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """EOS, ``(batch, length)``."""
        return roles == Role.EOS
