"""A SentenceTransformer as mteb sees it: right prompts, every distinct text embedded once."""

from __future__ import annotations

from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from causal2vec.errors import UserError
from causal2vec.evaluation.prompts import Prompts

CACHE_LIMIT = 200_000
"""Vectors kept in memory between tasks; beyond that the memory starts afresh."""


class PromptedEncoder(AbsEncoder):
    """mteb's encoder protocol around a SentenceTransformer.

    Args:
        model: The SentenceTransformer.
        meta: Name and revision under which mteb files the scores. Never left out: mteb mixes up models without.
        prompts: Instructions by task; ``None`` leaves prompting to the model's own ``prompts``.
        batch_size: Texts per batch; part of a score's identity, as it can change the last digits.
    """

    def __init__(self, model: Any, meta: ModelMeta, prompts: Prompts | None, batch_size: int) -> None:
        self.model = model
        self.mteb_model_meta = meta
        self.name = str(meta.name)
        self.prompts = prompts
        self.batch_size = batch_size
        self.used_prompts: dict[str, dict[str, str]] = {}
        self._known: dict[tuple[str, str], np.ndarray] = {}

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Vectors ``(texts, dim)``, float32, in the order of the input."""
        texts = [text for batch in inputs for text in batch["text"]]
        prompt = self._prompt(task_metadata, prompt_type)
        if len(self._known) > CACHE_LIMIT:
            self._known.clear()
        fresh = [text for text in dict.fromkeys(texts) if (prompt, text) not in self._known]
        if fresh:
            try:
                vectors = self.model.encode(
                    fresh,
                    prompt=prompt or None,
                    batch_size=self.batch_size,
                    show_progress_bar=kwargs.get("show_progress_bar", False),
                    convert_to_numpy=True,
                )
            except ValueError as error:  # what a method says of a text or instruction that it cannot read
                raise UserError(f"{self.name} cannot embed {task_metadata.name}: {error}") from error
            _check_finite(vectors, fresh, self.name)
            self._known.update(((prompt, text), vector) for text, vector in zip(fresh, vectors, strict=True))
        return np.stack([self._known[prompt, text] for text in texts])

    def _prompt(self, task: Any, prompt_type: PromptType | None) -> str:
        document = prompt_type == PromptType.document
        if self.prompts is None:
            prompt = self.model.prompts.get("document" if document else "query", "")
        else:
            prompt = self.prompts.for_task(task.name, task.type, task.prompt, document=document)
        self.used_prompts.setdefault(task.name, {})["document" if document else "query"] = prompt
        return prompt


def _check_finite(vectors: np.ndarray, texts: list[str], model: str) -> None:
    """Stop at the first vector that is not finite: a score from it would look like any other.

    Raises:
        UserError: With the model and the text.
    """
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        text = texts[int(bad.argmax())]
        raise UserError(
            f"{model} gives a vector that is not finite for the text {text[:60]!r}; its weights are broken "
            "or overflow, train it again or set compute.dtype: float32"
        )


def model_meta(name: str, revision: str, embed_dim: int | None, max_tokens: int | None) -> ModelMeta:
    """mteb's description of a model, with the name and revision that its scores are filed under."""
    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            "revision": revision,
            "similarity_fn_name": ScoringFunction.COSINE,
            "embed_dim": embed_dim,
            "max_tokens": max_tokens,
        }
    )
