"""Token Prepending (Fu et al., arXiv 2412.11556): between layers, the text's summary is put in front of the text.

PromptEOL's template with one more token, a placeholder, before the text. What a layer made of the last token, which
has seen everything, takes the placeholder's place before the next layer reads: there the text's own tokens see it,
although attention stays causal. Early layers only, and the state is read before the last layer. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, check_layers, mean_pool


class TokenPrepending(DecoderEmbedder):
    """Causal LLM; `baselines/prompt_eol.py` with a placeholder before the text, overwritten between layers.

    As in the authors' code: the placeholder stands before the text's opening quotation mark, starts as a vector drawn
    at random (it is saved with the model), and the state is read without the final norm. Published for Llama-2-7B are
    ``k`` 7 and ``layer`` 27 of 32, for Qwen2 and Gemma2 ``k`` 6; what another base needs is assumed.

    Args:
        k: The last layer, counted from 1, whose input has the placeholder overwritten; layer 2 is the first.
            0: no placeholder, which is PromptEOL.
        layer: Read the state behind this layer, without the final norm; None: behind all, with it.
        sees_instruction: Whether an instruction is put before the template. The paper has none (assumed: no).
    """

    config_keys: list[str] = [*DecoderEmbedder.config_keys, "k", "layer", "sees_instruction"]
    placeholder: Tensor

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        k: int = 7,
        layer: int | None = None,
        sees_instruction: bool = False,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        if chat:
            raise ValueError("nothing may stand behind the template, where the word would follow; remove chat: true")
        last = int(self.llm.config.num_hidden_layers) if layer is None else layer
        check_layers(self.llm, last)
        if k != 0 and not 2 <= k <= last:
            raise ValueError(f"k is {k}, but must be 0 or from 2 to {last}, the last layer that is read")
        self.k, self.layer, self.sees_instruction = k, layer, sees_instruction
        if k:
            self.register_buffer("placeholder", torch.zeros(int(self.llm.config.hidden_size)))

    def initialise(self) -> None:
        """Draw the placeholder."""
        if self.k:
            self.placeholder.normal_()

    @property
    def exit_layer(self) -> int | None:
        """The layer that is read."""
        return self.layer

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]This sentence :[P] "text" means in one word:"``, with P, the placeholder."""
        # The id is a stand-in: embed() puts the placeholder's vector there.
        placeholder = [Piece(token=self.eos[0].token, role=Role.PLACEHOLDER)] if self.k else []
        return [
            *self.bos,
            Piece((prompt if self.sees_instruction else "") + "This sentence :"),
            *placeholder,
            Piece(' "'),
            Piece(text, role=Role.TEXT, cut=True),
            Piece('" means in one word:'),
            Piece('"', role=Role.EOS),
        ]

    def embed(self, features: dict[str, Tensor]) -> Tensor:
        """Token vectors, with the placeholder in its place."""
        tokens = super().embed(features)
        if not self.k:
            return tokens
        here = (features["roles"] == Role.PLACEHOLDER).unsqueeze(-1)
        return torch.where(here, self.placeholder.to(tokens), tokens)

    def between(self, layer: int, states: Tensor, roles: Tensor) -> Tensor:
        """Into layers 2 to ``k`` the placeholder goes as the last token, text by text."""
        if layer >= self.k:
            return states
        return states.masked_scatter((roles == Role.PLACEHOLDER).unsqueeze(-1), states[roles == Role.EOS])

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """The state at the template's end, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """The template's end, ``(batch, length)``."""
        return roles == Role.EOS
