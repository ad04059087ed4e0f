"""Retrieval within held-back training pairs: what settings are chosen by, and what no table reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from causal2vec.config.prompts import Prompts
from causal2vec.data.pairs.files import read_pairs


def validation_mrr(module: Any, path: Path, prompts: Prompts, *, device: str) -> dict[str, float]:
    """Mean reciprocal rank of each query's positive among all positives of its source.

    Returns:
        MRR per source and their unweighted mean under ``mean``, each in [0, 1].
    """
    from sentence_transformers import SentenceTransformer

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
