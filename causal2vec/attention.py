"""Attention on a processor in bfloat16, block by block of queries, out of nothing but matrix products and a softmax.

Torch's own attention there is written for few long texts. An embedder reads many short ones, and many LLMs let several
heads of the query share one of the keys, which torch copies for each. Here these heads are one matrix more rows of
queries, and a block of queries is multiplied with the keys that it may see, of all texts and heads at once: two to
three times as fast, and four with the gradients (docs/speed.md).

Like `causal2vec.embedder`, this file needs nothing of this project and is copied beside every saved model.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 64
"""Tokens of a block of queries, by measurement (docs/speed.md). A causal block does not look at the keys behind it, so
that small blocks compute less that is thrown away; large ones are better to multiply."""


def pays_in_blocks(query: Tensor, dropout: float) -> bool:
    """Whether `attend_in_blocks` is faster than torch's attention: on a processor in bfloat16. It drops nothing out."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and not dropout


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor, scale: float | None) -> Tensor:
    """Softmax of the queries' products with the keys, times the values, within each text.

    Scores and weights are rounded to bfloat16, as all else that such a model computes.

    Args:
        query: ``(texts, heads, tokens, head width)``.
        key: ``(texts, heads or fewer, keys, head width)``; if causal, the last ``tokens`` are the query's own.
        value: The same, of any width.
        hidden: Of `unseen`, for texts of these lengths.
        scale: Of the products; None: one over the root of the head width.

    Returns:
        ``(texts, heads, tokens, value width)``.
    """
    texts, heads, tokens, width = query.shape
    shared = key.shape[1]
    together = heads // shared  # heads whose queries meet the same keys
    before = key.shape[2] - tokens
    scale = width**-0.5 if scale is None else scale
    rows = query.unflatten(1, (shared, together)).transpose(2, 3).reshape(texts * shared, tokens * together, width)
    keys, values = (x.reshape(texts * shared, *x.shape[2:]) for x in (key, value))
    causal = hidden.dim() == 2
    parts: list[Tensor] = []
    for block in rows.split(BLOCK * together, dim=1):  # split, not sliced: the gradient of a slice is as large as all
        first = len(parts) * BLOCK
        end = before + min(first + BLOCK, tokens) if causal else key.shape[2]
        added = _steps(hidden, block.shape[1], before + first, end) if causal else _per_head(hidden, shared)
        scores = torch.baddbmm(added, block, keys[:, :end].transpose(1, 2), alpha=scale)
        parts.append(torch.bmm(scores.softmax(dim=-1), values[:, :end]))
    states = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return states.view(texts, shared, tokens, together, -1).transpose(2, 3).flatten(1, 2)


def unseen(query: Tensor, key: Tensor, lengths: tuple[int, ...] | None) -> Tensor:
    """What is added to the scores: minus infinity where a token does not look.

    Args:
        query: As in `attend_in_blocks`.
        key: The same.
        lengths: Tokens of each text, which are the first of its keys; None: attention is causal.

    Returns:
        ``(texts or 1, 1, keys)``; if causal, a flight of stairs ``(rows of a block, keys + a block)``, of which every
        block takes the columns that end where it does.
    """
    places = torch.arange(key.shape[2], device=query.device)
    if lengths:
        ends = torch.tensor(lengths if min(lengths) < max(lengths) else lengths[:1], device=query.device)
        return query.new_zeros(len(ends), 1, len(places)).masked_fill(places >= ends[:, None, None], float("-inf"))
    tokens = torch.arange(BLOCK, device=query.device).repeat_interleave(query.shape[1] // key.shape[1])
    columns = torch.arange(-len(places), BLOCK, device=query.device)
    return query.new_zeros(len(tokens), len(columns)).masked_fill(columns > tokens[:, None], float("-inf"))


def _steps(stairs: Tensor, rows: int, start: int, end: int) -> Tensor:
    """The part for a block whose first query stands at ``start`` among keys that end at ``end``."""
    zero = stairs.shape[1] - BLOCK
    return stairs[:rows, zero - start : zero + end - start]


def _per_head(hidden: Tensor, heads: int) -> Tensor:
    """``(texts or 1, 1, keys)`` for every text's heads in turn."""
    return hidden if len(hidden) == 1 else hidden.repeat_interleave(heads, dim=0)
