"""What a trained model makes of held-back training pairs: are its vectors all alike, and how well does it retrieve.

Settings are chosen by the latter; no table reports it.
"""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer

from causal2vec.config.prompts import Prompts
from causal2vec.data.pairs.files import read_pairs

logger = logging.getLogger(__name__)

COLLAPSED = 0.98
"""Mean cosine between the vectors of unrelated texts from which on a model has learnt to give all the same vector."""

LOOKED_AT = 32


def look_for_collapse(module: Any, path: Path, name: str) -> float | None:
    """Mean cosine between vectors of unrelated positives of a file of pairs; says so aloud if all vectors are alike."""
    texts = list(dict.fromkeys(pq.read_table(path, columns=["positive"])["positive"].to_pylist()))
    some = texts[:: max(1, len(texts) // LOOKED_AT)][:LOOKED_AT]
    if len(some) < 2:
        return None
    with torch.inference_mode():
        vectors = module(module.preprocess(some))["sentence_embedding"]
        unit = torch.nn.functional.normalize(vectors, dim=1)
        cosine = float(((unit @ unit.T).sum() - len(some)) / (len(some) * (len(some) - 1)))
    if cosine > COLLAPSED:
        warning = (
            f"{name} gives nearly the same vector to every text (mean cosine {cosine:.3f}): its scores mean nothing; "
            "lower budget.learning_rates, raise budget.temperature, or train longer"
        )
        logger.warning(warning)
        sys.stderr.write(f"warning: {warning}\n")
    return round(cosine, 4) if math.isfinite(cosine) else None


def validation_mrr(module: Any, path: Path, prompts: Prompts, *, device: str) -> dict[str, float]:
    """Mean reciprocal rank of each query's positive among all positives of its source.

    Returns:
        MRR per source and their unweighted mean under ``mean``, each in [0, 1].
    """
    model = SentenceTransformer(modules=[module], device=device).eval()
    scores = {}
    for source, rows in read_pairs(path).to_pandas().groupby("source", sort=True):
        prompt = prompts.for_training(str(source))
        queries, documents = (
            model.encode(rows[column].tolist(), prompt=prompt.get(column, ""), normalize_embeddings=True)
            for column in ("query", "positive")
        )
        similar = queries @ documents.T
        ranks = (similar > np.diag(similar)[:, None]).sum(axis=1) + 1
        scores[str(source)] = float((1 / ranks).mean())
    return {**scores, "mean": float(np.mean(list(scores.values())))}
