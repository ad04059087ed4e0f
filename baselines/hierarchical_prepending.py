"""Hierarchical Token Prepending (HTP, Ding et al., arXiv 2511.14868): every sentence's summary goes before the text.

Token Prepending squeezes a whole text into one token. Here the text is read in blocks, its sentences, with a
placeholder before each and a copy of every placeholder at the start. Between early layers both go as the last token of
their block, so that earlier sentences see later ones, although attention stays causal. The vector is a mean. Nothing is
trained.

Confirmed, in the abstract: blocks, their summaries in front, the mean. Confirmed, in the authors' code: sentences as
blocks, placeholders and copies, which layers, the state behind the last layer but one without the norm, the mean over
the text without placeholders and template, an instruction in front of the copies. Third-hand, from transformers, which
the code asks for two new tokens: a placeholder starts as the mean of all token vectors. Assumed: a regular expression
finds sentences as their spaCy model does; an instruction is the study's own. Differs: texts stay as they are (theirs
ends each sentence with a full stop); the last block is summed up by its own last token (theirs takes the one behind it,
of the template's `</s>`); the copies are part of ``max_seq_length`` (theirs exceed it).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from causal2vec.embedder import DecoderEmbedder, Piece, Role, check_layers, mean_pool

SENTENCE = re.compile(r""".*?[.!?]["'”’)\]]*(?=\s+\S)|.+""", re.DOTALL)
"""Up to a full stop or its like, with the quotation marks and brackets that it closes, before white space and more."""


class HierarchicalPrepending(DecoderEmbedder):
    """Causal LLM; a mean over a text whose sentences have placeholders, overwritten between layers.

    Published for Mistral-7B are ``k`` 7 and ``layer`` 31 of 32; what another base needs is assumed.

    Args:
        k: The last layer, counted from 1, whose input has the placeholders overwritten; layer 2 is the first.
            0: no placeholders, which is `mean_causal`.
        layer: Read the states behind this layer, without the final norm; None: behind all, with it.
        copies: Whether every placeholder has a copy at the start, where all sentences see it. Without copies a sentence
            sees its own end and what stands before it; the authors' code calls that ``tp_sentence``.
    """

    config_keys: list[str] = [*DecoderEmbedder.config_keys, "k", "layer", "copies"]
    placeholder: Tensor

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        k: int = 7,
        layer: int | None = None,
        copies: bool = True,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        last = int(self.llm.config.num_hidden_layers) if layer is None else layer
        check_layers(self.llm, last)
        if k != 0 and not 2 <= k <= last:
            raise ValueError(f"k is {k}, but must be 0 or from 2 to {last}, the last layer that is read")
        self.k, self.layer, self.copies = k, layer, copies
        if k:
            self.register_buffer("placeholder", torch.zeros(int(self.llm.config.hidden_size)))

    def initialise(self) -> None:
        """Make the placeholder the mean of all token vectors."""
        if self.k:
            self.placeholder.copy_(self.llm.get_input_embeddings().weight.detach().float().mean(dim=0))

    @property
    def exit_layer(self) -> int | None:
        """The layer that is read."""
        return self.layer

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction P1 P2 … P1 sentence P2 sentence …``, with placeholders P."""
        # The id is a stand-in: embed() puts the placeholder's vector there.
        token = self.eos[0].token
        sentences = [
            Piece(sentence, role=Role.TEXT, cut=True, block=block)
            for block, sentence in enumerate(SENTENCE.findall(text) or [""], start=1)
        ]
        places = [Piece(token=token, role=Role.PLACEHOLDER, block=piece.block) for piece in sentences]
        row = [*self.bos, Piece(prompt)]
        if not self.k:
            return row + sentences
        both = [piece for pair in zip(places, sentences, strict=True) for piece in pair]
        return row + (places if self.copies else []) + both

    def embed(self, features: dict[str, Tensor]) -> Tensor:
        """Token vectors, with the placeholder in its places."""
        tokens = super().embed(features)
        if not self.k:
            return tokens
        here = (features["roles"] == Role.PLACEHOLDER).unsqueeze(-1)
        return torch.where(here, self.placeholder.to(tokens), tokens)

    def between(self, layer: int, states: Tensor, roles: Tensor) -> Tensor:
        """Into layers 2 to ``k`` the placeholders go as their blocks' last tokens, block by block."""
        if layer >= self.k:
            return states
        text, places = roles == Role.TEXT, roles == Role.PLACEHOLDER
        before_text = nn.functional.pad(text[..., 1:], (0, 1))
        ends = states[text & ~before_text]
        for some in (places & before_text, places & ~before_text):  # before the blocks, and the copies
            states = states.masked_scatter(some.unsqueeze(-1), ends)
        return states

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Mean over the text's tokens, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """The text's tokens, ``(batch, length)``."""
        return roles == Role.TEXT
