"""A loss for methods that give several vectors of each text while they learn, such as one after every soft token.

The method says how many (``steps``), gives them side by side, ``(batch, steps * width)``, and makes one loss of those
of all steps (``combine``). Each is the InfoNCE of any other method: a text's k-th vector is compared with others' k-th.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import all_gather_with_grad
from torch import Tensor


class StepLoss(MultipleNegativesRankingLoss):
    """InfoNCE of every step, combined by the method.

    Args:
        model: Its first module is the method.
        options: As for sentence-transformers' loss of one vector.
    """

    def __init__(self, model: SentenceTransformer, **options: Any) -> None:
        super().__init__(model, **options)
        method: Any = model[0]  # kept apart from `model`, which a trainer wraps
        self.steps, self.combine = method.steps, method.combine

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Any) -> Tensor:
        """One loss from the vectors of queries, positives and hard negatives."""
        infonce = super().compute_loss_from_embeddings
        columns = zip(*(vectors.chunk(self.steps, dim=1) for vectors in embeddings), strict=True)
        losses = torch.stack([infonce(list(column), labels) for column in columns])
        if self.gather_across_devices:  # what combines them need not be linear, and must see the whole batch's
            losses = all_gather_with_grad(losses.unsqueeze(0)).mean(dim=0)
        return self.combine(losses)


class CachedStepLoss(CachedMultipleNegativesRankingLoss):
    """The same with cached gradients."""

    def __init__(self, model: SentenceTransformer, *, mini_batch_size: int, **options: Any) -> None:
        super().__init__(model, mini_batch_size=mini_batch_size, **options)
        self.loss = StepLoss(model, **options)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss from the vectors of all pieces of the batch, at once: only texts are embedded in pieces."""
        whole: Any = self.loss
        loss: Tensor = whole.compute_loss_from_embeddings([torch.cat(pieces) for pieces in reps], labels)
        if with_backward:
            loss.backward()
        return loss.detach() if with_backward else loss
