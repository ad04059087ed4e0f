"""Echo embeddings (Springer et al., arXiv 2402.15449): say the text twice, keep only the second copy.

In the second copy every token has seen the whole text, although attention stays causal. The price is a
sequence twice as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool

TEMPLATES = {
    # The fine-tuned checkpoints' templates, from the authors' README.
    "query": ("", "\nQuery again: "),
    "document": ("Document: ", "\nDocument again: "),
    # The zero-shot prompt's meaning, from the authors' issue 8; the exact words are assumed.
    "rewrite": ("Rewrite the following paragraph: ", "\nThe rewritten paragraph: "),
}


class Echo(DecoderEmbedder):
    """The text twice, pooled over the second copy.

    Args:
        pooling: ``mean`` over the second copy's tokens, or ``last``: the state at the EOS behind it.
        template: ``fine_tuned`` (``Query … again``, ``Document … again``) or ``rewrite`` (zero-shot).

    Both copies share ``max_seq_length``, so a long text is cut to half of it, in both copies alike.
    """

    config_keys: list[str] = [*DecoderEmbedder.config_keys, "pooling", "template"]

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        pooling: str = "mean",
        template: str = "fine_tuned",
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        if pooling not in ("mean", "last"):
            raise ValueError(f"pooling is '{pooling}', but must be mean or last")
        if template not in ("fine_tuned", "rewrite"):
            raise ValueError(f"template is '{template}', but must be fine_tuned or rewrite")
        self.pooling, self.template = pooling, template

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text again: text[EOS]``; a text without instruction is a document."""
        kind = "rewrite" if self.template == "rewrite" else ("query" if prompt else "document")
        before, between = TEMPLATES[kind]
        return [
            *self.bos,
            Piece(prompt + before),
            Piece(text, cut=True),
            Piece(between),
            Piece(text, role=Role.TEXT, cut=True),
            *self.eos,
        ]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Mean over the second copy, or the state at EOS, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """The second copy, or EOS, ``(batch, length)``."""
        return roles == (Role.TEXT if self.pooling == "mean" else Role.EOS)
