"""PromptEOL (Jiang et al., arXiv 2307.16645): ask for the text in one word, keep the state that would predict it.

"Explicit one-word limitation": the LLM has to put the whole text into the next token. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, check_layers, mean_pool


class PromptEol(DecoderEmbedder):
    """Causal LLM; the text in a template, and the state at its last token, a quotation mark that the word would follow.

    The words of the template are those of the authors' README. They also end each text with a full stop and make its
    double quotation marks single ones before they evaluate; here texts stay as they are, as for every method (assumed).

    Args:
        sees_instruction: Whether an instruction is put before the template. The paper has none (assumed: no).
        layer: Read the state behind this layer, without the final norm; None: behind all, with it, as in the paper.
    """

    config_keys: list[str] = [*DecoderEmbedder.config_keys, "sees_instruction", "layer"]

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        sees_instruction: bool = False,
        layer: int | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        if chat:
            raise ValueError("nothing may stand behind the template, where the word would follow; remove chat: true")
        if layer is not None:
            check_layers(self.llm, layer)
        self.sees_instruction, self.layer = sees_instruction, layer

    @property
    def exit_layer(self) -> int | None:
        """The layer that is read."""
        return self.layer

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]This sentence : "text" means in one word:"``."""
        return [
            *self.bos,
            Piece((prompt if self.sees_instruction else "") + 'This sentence : "'),
            Piece(text, role=Role.TEXT, cut=True),
            Piece('" means in one word:'),
            Piece('"', role=Role.EOS),
        ]

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """The state at the template's end, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """The template's end, ``(batch, length)``."""
        return roles == Role.EOS
