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
STARTS = ("random", "centred", "whitened", "token_mean")
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
        token_start: What the Contextual token is before training (assumed), see `fit_token`: a ``random`` projection
            of the encoder's summary; the same ``centred``, without what all texts have in common; ``whitened``, with
            all directions of the summary equally strong; ``token_mean``, the mean of the LLM's own vectors of the
            text's tokens.
        token_length: Its length then, in units of the mean length of the LLM's own token vectors (assumed).
        unit_halves: Whether ``concat`` brings both halves to length one first, so that each has the same say in a
            cosine (assumed: no).
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
        "token_start",
        "token_length",
        "unit_halves",
        "prefixes",
    ]
    encoder: Any

    def __init__(  # noqa: PLR0913 (its settings are its arguments)
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        place: str = "after_bos",
        pooling: str = "concat",
        encoder_sees_instruction: bool = False,
        freeze_encoder: bool = False,
        token_start: str = "random",
        token_length: float = 1.0,
        unit_halves: bool = False,
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
        if token_start not in STARTS:
            raise ValueError(f"token_start is '{token_start}', but must be one of {', '.join(STARTS)}")
        if not token_length > 0:
            raise ValueError(f"token_length is {token_length}, but must be more than 0")
        self.place, self.pooling = place, pooling
        self.token_start, self.token_length, self.unit_halves = token_start, token_length, unit_halves
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
        parts = [mean_pool(states, roles == role) for role in POOLINGS[self.pooling]]
        if self.unit_halves:
            parts = [nn.functional.normalize(part, dim=-1) for part in parts]
        return torch.cat(parts, dim=-1)

    def kept(self, roles: Tensor) -> Tensor:
        """The Contextual token and EOS, ``(batch, length)``, or what else `pool` takes."""
        return torch.isin(roles, torch.tensor(POOLINGS[self.pooling], device=roles.device))

    def get_embedding_dimension(self) -> int:
        """Twice the LLM's width for ``concat``, else the LLM's width."""
        return super().get_embedding_dimension() * (2 if self.pooling == "concat" else 1)

    @torch.no_grad()
    def initialise(self) -> None:
        """Scale the MLP so that the Contextual token is ``token_length`` times as long as the LLM's own token vectors.

        Measured on 64 random token sequences, so that no text is needed, and against what the LLM's embedding gives,
        not what it stores: Gemma's lengthens its vectors by the root of the width. `fit_token` does it again on real
        text, where there is some.
        """
        vocabulary = int(self.encoder.config.vocab_size)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(vocabulary, (64, 16), generator=generator).to(self.encoder.device)
        self._scale(self.contextual_token({"pre_ids": ids, "pre_mask": torch.ones_like(ids)}))

    @torch.no_grad()
    def fit_token(self, texts: Sequence[str]) -> None:
        """Give the Contextual token its first value, ``token_start``, in closed form from texts without labels.

        The MLP's first layer stays random; its last layer is the ridge regression of the target on what the first
        gives. Nothing to do for ``random``.
        """
        if self.token_start == "random":
            return
        first, last = self.projection[0], self.projection[-1]
        summaries, targets = [], []
        for start in range(0, len(texts), 64):
            features = self.preprocess(texts[start : start + 64])
            features = {name: value.to(last.weight.device) for name, value in features.items()}
            states = self.encoder_states(features["pre_ids"], features["pre_mask"])
            summaries.append(mean_pool(states, features["pre_mask"]))
            if self.token_start == "token_mean":
                own = self.llm.get_input_embeddings()(features["input_ids"])
                targets.append(mean_pool(own, features["roles"] == Role.TEXT))
        summary = torch.cat(summaries).double()
        hidden = nn.functional.gelu(first(summary.to(first.weight.dtype))).double()
        if self.token_start == "centred":
            last.bias.sub_(last(hidden.to(last.weight.dtype)).mean(dim=0))
        else:
            target = torch.cat(targets).double() if targets else _whitened(summary, last.out_features)
            centre, goal = hidden.mean(dim=0), target.mean(dim=0)
            wide, aim = hidden - centre, target - goal
            ridge = 1e-3 * wide.square().sum() / wide.shape[1]
            weight = torch.linalg.solve(wide.T @ wide + ridge * torch.eye(wide.shape[1]).to(wide), wide.T @ aim)
            last.weight.copy_(weight.T)
            last.bias.copy_(goal - centre @ weight)
        self._scale(last(hidden.to(last.weight.dtype)))

    @torch.no_grad()
    def _scale(self, tokens: Tensor) -> None:
        """Bring Contextual tokens ``(texts, width)`` to ``token_length`` in the mean, by the MLP's last layer."""
        embedding = self.llm.get_input_embeddings()
        ids = torch.arange(embedding.weight.shape[0], device=embedding.weight.device)
        factor = self.token_length * embedding(ids).float().norm(dim=-1).mean() / tokens.float().norm(dim=-1).mean()
        last = self.projection[-1]
        last.weight.mul_(factor)
        last.bias.mul_(factor)


def _whitened(summaries: Tensor, width: int) -> Tensor:
    """Summaries ``(texts, inner)`` without their mean and with all directions equally strong, turned into ``width``."""
    centred = summaries - summaries.mean(dim=0)
    directions, strengths, _ = torch.linalg.svd(centred, full_matrices=False)
    known = directions[:, strengths > 1e-3 * strengths[0]]
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(max(width, known.shape[1]), known.shape[1], generator=generator).double())[0]
    return known @ turn.T[:, :width].to(known)
