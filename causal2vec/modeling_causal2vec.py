"""Causal2Vec (Lin et al., arXiv 2507.23386): a small encoder reads the whole text first.

The encoder's mean-pooled output goes through an MLP and becomes one more input vector of the LLM, the
*Contextual token*. Attention stays causal; still every token behind it sees a summary of the whole text. The
embedding is the concatenation of the last hidden states at the Contextual token and at EOS.

Known from the abstract: the encoder, the prepended token, the causal LLM, the concatenation. Assumed, as the
recipe is not public: mean pooling in the encoder, the MLP's two layers and GELU, its initialisation, the exact
place of the token, and that the encoder does not see the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool

PLACES = ("before_bos", "after_bos", "after_instruction")
POOLINGS = {
    "concat": (Role.CONTEXTUAL, Role.EOS),
    "contextual": (Role.CONTEXTUAL,),
    "eos": (Role.EOS,),
    "mean": (Role.TEXT,),
}


class Causal2Vec(DecoderEmbedder):
    """Contextual token, causal LLM, EOS.

    Args:
        place: Where the Contextual token goes: ``before_bos`` (the very first position, which is also a causal
            LLM's attention sink), ``after_bos``, or ``after_instruction``.
        pooling: ``concat`` (the paper's), or one of its parts ``contextual`` and ``eos``, or ``mean`` over the text.
        encoder_sees_instruction: Whether the encoder reads the instruction too (assumed: no).
        freeze_encoder: Train only the MLP and the LLM's adapters (assumed: no).
        prefixes: What the encoder was trained to find before a query and before a document, such as e5's
            ``["query: ", "passage: "]`` (assumed, like the encoder itself).
    """

    parts: ClassVar[tuple[str, ...]] = ("llm", "encoder")
    config_keys: list[str] = [
        *DecoderEmbedder.config_keys,
        "place",
        "pooling",
        "encoder_sees_instruction",
        "freeze_encoder",
        "prefixes",
    ]
    encoder: Any

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        place: str = "after_bos",
        pooling: str = "concat",
        encoder_sees_instruction: bool = False,
        freeze_encoder: bool = False,
        prefixes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        self.prefixes = list(prefixes) if prefixes else None
        if place not in PLACES:
            raise ValueError(f"place is '{place}', but must be one of {', '.join(PLACES)}")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is '{pooling}', but must be one of {', '.join(POOLINGS)}")
        if place == "after_bos" and not self.bos:
            raise ValueError(
                "place is after_bos, but this LLM's input has no BOS; set add_bos: true or place: before_bos"
            )
        self.place, self.pooling = place, pooling
        self.encoder_sees_instruction, self.freeze_encoder = encoder_sees_instruction, freeze_encoder
        width, inner = int(self.llm.config.hidden_size), int(self.encoder.config.hidden_size)
        self.projection: Any = nn.Sequential(nn.Linear(inner, width), nn.GELU(), nn.Linear(width, width))
        self.projection.to(next(self.llm.parameters()).dtype)
        self.encoder.requires_grad_(not freeze_encoder)

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[C][BOS]instruction text[EOS]``, with C, the Contextual token, at the configured place."""
        # The id is a stand-in: embed() puts the encoder's vector there.
        contextual = [Piece(token=self.eos[0].token, role=Role.CONTEXTUAL)]
        instruction, body = [Piece(prompt)], [Piece(text, role=Role.TEXT, cut=True)]
        if self.place == "before_bos":
            return [*contextual, *self.bos, *instruction, *body, *self.eos]
        if self.place == "after_bos":
            return [*self.bos, *contextual, *instruction, *body, *self.eos]
        return [*self.bos, *instruction, *contextual, *body, *self.eos]

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """Adds the encoder's view, ``pre_ids`` and ``pre_mask``, each ``(batch, encoder length)``."""
        features = super().preprocess(inputs, prompt, **kwargs)
        ids, mask = self.encoder_inputs(inputs, prompt, self.encoder_sees_instruction)
        return {**features, "pre_ids": ids, "pre_mask": mask}

    def contextual_token(self, features: dict[str, Tensor]) -> Tensor:
        """The Contextual token's vector ``(batch, width)``: MLP(mean(encoder(text)))."""
        states = self.encoder_states(features["pre_ids"], features["pre_mask"])
        summary = mean_pool(states, features["pre_mask"])
        return self.projection(summary.to(self.projection[0].weight.dtype))

    def embed(self, features: dict[str, Tensor]) -> Tensor:
        """Token vectors, with the Contextual token in its place."""
        tokens = super().embed(features)
        contextual = self.contextual_token(features).to(tokens.dtype)
        return torch.where((features["roles"] == Role.CONTEXTUAL).unsqueeze(-1), contextual.unsqueeze(1), tokens)

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """``concat``: ``[h(C); h(EOS)]``, of twice the LLM's width."""
        return torch.cat([mean_pool(states, roles == role) for role in POOLINGS[self.pooling]], dim=-1)

    def kept(self, roles: Tensor) -> Tensor:
        """The Contextual token and EOS, ``(batch, length)``, or what else `pool` takes."""
        return torch.isin(roles, torch.tensor(POOLINGS[self.pooling], device=roles.device))

    def get_embedding_dimension(self) -> int:
        """Twice the LLM's width for ``concat``, else the LLM's width."""
        return super().get_embedding_dimension() * (2 if self.pooling == "concat" else 1)

    @torch.no_grad()
    def initialise(self) -> None:
        """Scale the MLP so that the Contextual token is as long as the LLM's own token vectors (assumed).

        A vector of another length in front of everything would disturb a pre-trained LLM before training has
        taught it anything. Measured on 64 random token sequences, so that no text is needed, and against what
        the LLM's embedding gives, not what it stores: Gemma's lengthens its vectors by the root of the width.
        """
        vocabulary = int(self.encoder.config.vocab_size)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(vocabulary, (64, 16), generator=generator).to(self.encoder.device)
        length = self.contextual_token({"pre_ids": ids, "pre_mask": torch.ones_like(ids)}).float().norm(dim=-1).mean()
        embedding = self.llm.get_input_embeddings()
        tokens = torch.arange(embedding.weight.shape[0], device=embedding.weight.device)
        target = embedding(tokens).float().norm(dim=-1).mean()
        last = self.projection[-1]
        last.weight.mul_(target / length)
        last.bias.mul_(target / length)
