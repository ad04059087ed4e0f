"""Soft mask (Conan-embedding-v2, Li et al., arXiv 2509.12892): later tokens are let in step by step.

An LLM that has only ever looked back is not made to look ahead at once: in training the mask's upper triangle goes from
0 to 1. Here the logarithm of its weight w is added to the attention scores of later tokens, so that each counts in the
softmax as w of a token: with w = 1 that is `bidirectional`, with w towards 0 the causal LLM. A trained model has w = 1.

Third-hand, from a translation of the full text: w grows linearly with the steps, and the two other schedules of its
appendix, which did worse. Third-hand, from summaries: the logarithm, and the first w of 1e-4. Assumed: one w for all
positions (the paper's equation 4 has another factor, position over length, with which the mask would end short of
bidirectional); that the whole contrastive training is the transition (the paper's is its weakly supervised stage); the
mean over the text; the LLM's input, that of `bidirectional`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from causal2vec.embedder import DecoderEmbedder, Piece, Role, mean_pool
from causal2vec.speed.packing import FLASH

SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": lambda done: done,
    "accelerating": lambda done: done**2,
    "decelerating": lambda done: 1 - (1 - done) ** 2,
}
"""How far w is on its way from its first value to 1, of the share of steps that are done."""


class SoftMask(DecoderEmbedder):
    """Bidirectional LLM with a weight on later tokens, and the mean over the text.

    Args:
        schedule: ``linear`` (the paper's), ``accelerating`` or ``decelerating``.
        start: The first w.
    """

    closing_role: ClassVar[Role] = Role.TEXT
    config_keys: list[str] = [*DecoderEmbedder.config_keys, "schedule", "start"]
    w = 1.0
    """The weight of later tokens; less than 1 only while a training runs."""
    attends_by: str | None = None
    """The attention that the LLM goes back to when w is 1."""

    def __init__(
        self,
        loaded: dict[str, tuple[Any, Any]],
        max_seq_length: int = 512,
        add_bos: bool | None = None,
        chat: Sequence[str] | None = None,
        schedule: str = "linear",
        start: float = 1e-4,
    ) -> None:
        super().__init__(loaded, max_seq_length, add_bos, chat)
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule is '{schedule}', but must be one of {', '.join(SCHEDULES)}")
        if not 0 < start <= 1:
            raise ValueError(f"start is {start}, but must be more than 0 and at most 1")
        self.schedule, self.start = schedule, start
        self.llm.config.is_causal = False

    def on_step(self, done: float) -> None:
        """Set w for the next step of a training; ``done`` is the share of its steps that are behind it.

        Flash attention takes no weights; while there are some, the LLM attends by sdpa.
        """
        self.w = 1 - (1 - self.start) * (1 - SCHEDULES[self.schedule](done))  # at the end exactly 1
        config = self.llm.config
        if self.w < 1 and config._attn_implementation == FLASH:
            config._attn_implementation, self.attends_by = "sdpa", FLASH
        elif self.w == 1 and self.attends_by:
            config._attn_implementation, self.attends_by = self.attends_by, None

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """``[BOS]instruction text``."""
        return [*self.bos, Piece(prompt), Piece(text, role=Role.TEXT, cut=True)]

    def states(self, features: dict[str, Tensor], kept: Tensor | None = None) -> Tensor:
        """See `DecoderEmbedder.states`; with w below 1 the batch is padded and every state is computed.

        Raises:
            ValueError: w is below 1 and the LLM has a sliding window that is shorter than the batch.
        """
        if self.w == 1:
            return super().states(features, kept)
        mask, vectors = features["attention_mask"], self.embed(features)
        limits = [getattr(self.llm.config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        window = min(filter(None, limits), default=math.inf)
        if mask.shape[1] > window:
            raise ValueError(
                f"texts of {mask.shape[1]} tokens are longer than the LLM's sliding window of {window}, which a soft "
                f"mask replaces; lower budget.max_length to {window} or run this method on another base"
            )
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        return self.llm(
            inputs_embeds=vectors,
            attention_mask=self.soft(mask, vectors.dtype),
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state

    def soft(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """What is added to attention scores, ``(batch, 1, length, length)``: 0, log w, or nearly -inf at padding.

        transformers hands a mask of four dimensions to every layer as it is.
        """
        lowest, length = torch.finfo(dtype).min, mask.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=mask.device).triu(1)
        weights = torch.zeros(length, length, dtype=dtype, device=mask.device)
        weights = weights.masked_fill(later, math.log(self.w) if self.w > 0 else lowest)
        return weights.expand(len(mask), 1, -1, -1).masked_fill(mask[:, None, None] == 0, lowest)

    def pool(self, states: Tensor, roles: Tensor) -> Tensor:
        """Mean over the text's tokens, ``(batch, width)``."""
        return mean_pool(states, self.kept(roles))

    def kept(self, roles: Tensor) -> Tensor:
        """The text's tokens, ``(batch, length)``."""
        return roles == Role.TEXT
