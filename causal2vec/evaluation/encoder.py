"""A SentenceTransformer as mteb sees it: right prompts, every distinct text embedded once."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from mteb.models.abs_encoder import AbsEncoder, get_prompt_name
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType
from threadpoolctl import threadpool_limits

from causal2vec.config.prompts import Prompts
from causal2vec.embedder import clean
from causal2vec.encoding import encode, encodes, tokens_per_batch
from causal2vec.errors import UserError
from causal2vec.evaluation.vectors import Vectors, keys_of


class PromptedEncoder(AbsEncoder):
    """mteb's encoder protocol around a SentenceTransformer.

    Args:
        model: The SentenceTransformer.
        meta: Name and revision under which mteb files the scores. Never left out: mteb mixes up models without.
        prompts: Instructions by task; ``None`` leaves prompting to the model's own ``prompts``, as mteb reads them.
        batch_size: Texts per batch of a model that is none of this suite's; part of a score's identity, as it can
            change the last digits.
        batch_tokens: Tokens per batch of this suite's models, which are read by `causal2vec.encoding.encode`; None:
            by device.
        vectors: Where vectors are kept between tasks; None: in memory.

    Attributes:
        encoding_seconds: Spent in the model so far, tokenising included.
        used_prompts: By task and side.
    """

    def __init__(
        self,
        model: Any,
        meta: ModelMeta,
        prompts: Prompts | None,
        batch_size: int,
        *,
        batch_tokens: int | None = None,
        vectors: Vectors | None = None,
    ) -> None:
        self.model = model
        self.mteb_model_meta = meta
        self.name = str(meta.name)
        self.prompts = prompts
        self.batching = batching(model, batch_size, batch_tokens)
        self.encoding_seconds = 0.0
        self.used_prompts: dict[str, dict[str, str]] = {}
        self._vectors = vectors or Vectors(None)

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
        try:
            texts = [clean(text) for batch in inputs for text in batch["text"]]
        except ValueError as error:
            raise UserError(f"{self.name} cannot embed {task_metadata.name}: {error}") from error
        prompt = self._prompt(task_metadata, prompt_type)
        unique = list(dict.fromkeys(texts))
        # A foreign model may read queries by other modules than documents.
        side = prompt_type.value if prompt_type and hasattr(self.model, "encode_query") and not self._ours else ""
        keys = keys_of(f"{side}\n{prompt}" if side else prompt or "", unique)
        known, vectors = self._vectors.look_up(keys)
        if not known.all():
            fresh = [unique[place] for place in np.flatnonzero(~known)]
            start = time.perf_counter()
            try:
                with threadpool_limits(torch.get_num_threads(), user_api="blas"):  # which the evaluation has set to 1
                    made = self._embed(fresh, prompt, side, bool(kwargs.get("show_progress_bar", False)))
            except ValueError as error:  # what a method says of a text or instruction that it cannot read
                raise UserError(f"{self.name} cannot embed {task_metadata.name}: {error}") from error
            self.encoding_seconds += time.perf_counter() - start
            _check_finite(made, fresh, self.name)
            self._vectors.add(keys[~known], made)
            whole = np.empty((len(known), made.shape[1]), dtype=np.float32)
            whole[~known] = made
            if vectors is not None:
                whole[known] = vectors
            vectors = whole
        assert vectors is not None
        if len(unique) == len(texts):
            return vectors
        places = {text: place for place, text in enumerate(unique)}
        return vectors[[places[text] for text in texts]]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Between all vectors of one collection and all of another, by the model's own function."""
        own = None if self._ours else getattr(self.model, "similarity", None)
        return (own or super().similarity)(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The same, row by row."""
        own = None if self._ours else getattr(self.model, "similarity_pairwise", None)
        return (own or super().similarity_pairwise)(embeddings1, embeddings2)

    @property
    def _ours(self) -> bool:
        return "batch_tokens" in self.batching

    def _embed(self, texts: list[str], prompt: str | None, side: str, progress: bool) -> np.ndarray:
        if self._ours:
            return encode(
                self.model, texts, prompt=prompt, batch_tokens=self.batching["batch_tokens"], progress=progress
            )
        vectors = getattr(self.model, f"encode_{side}" if side else "encode")(
            texts,
            prompt=prompt,
            batch_size=self.batching["batch_size"],
            show_progress_bar=progress,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, dtype=np.float32)

    def _prompt(self, task: Any, prompt_type: PromptType | None) -> str | None:
        """What goes before a text; an empty prompt is one, None leaves it to a foreign model."""
        document = prompt_type == PromptType.document
        if self.prompts is None:
            prompt = self._own_prompt(task, prompt_type)
        else:
            prompt = self.prompts.for_task(task.name, task.type, task.prompt, document=document)
        self.used_prompts.setdefault(task.name, {})["document" if document else "query"] = prompt or ""
        return prompt

    def _own_prompt(self, task: Any, prompt_type: PromptType | None) -> str | None:
        """What mteb's wrapper and sentence-transformers take from a model's prompts, in their order."""
        known, _ = self.validate_task_to_prompt_name(self.model.prompts, raise_for_invalid_keys=False)
        name = get_prompt_name(known, task, prompt_type)
        if name is None and prompt_type is not None:
            sides = ("query",) if prompt_type == PromptType.query else ("document", "passage", "corpus")
            name = next((side for side in sides if side in self.model.prompts), None)
        if name is None:
            name = getattr(self.model, "default_prompt_name", None)
        return self.model.prompts.get(name) if name else None


def batching(model: Any, batch_size: int, batch_tokens: int | None = None) -> dict[str, int]:
    """How texts are put into batches: ``batch_tokens`` for a model of this suite, else ``batch_size``."""
    if not hasattr(model, "__getitem__") or not encodes(model):
        return {"batch_size": batch_size}
    natural = tokens_per_batch(model.device.type, str(next(model.parameters()).dtype))
    return {"batch_tokens": batch_tokens or natural}


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


def model_meta(
    name: str, revision: str, embed_dim: int | None, max_tokens: int | None, similarity: str = "cosine"
) -> ModelMeta:
    """mteb's description of a model, with the name and revision that its scores are filed under."""
    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            "revision": revision,
            "similarity_fn_name": ScoringFunction.from_str(similarity),
            "embed_dim": embed_dim,
            "max_tokens": max_tokens,
        }
    )
