"""Attention within each text of a row, on a GPU: one call for all texts, by the flash attention that torch brings.

Flash attention (Dao, arXiv 2307.08691) takes texts of any length end to end, once it is told where they begin. A prefix
that all texts begin with is attended to by the tokens of all texts at once, as one large matrix product, and not copied
in front of every text (Juravsky et al., arXiv 2402.05099): each token's two results, of the prefix and of its own text,
are joined in proportion to their sums of exponentials.

Like `causal2vec.embedder`, this file needs nothing of this project and is copied beside every saved model.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

WIDEST = 256
"""Numbers per head that the kernel has room for; it wants a multiple of `STEP`."""

STEP = 8

OLDEST = (8, 0)
"""Compute capability from which on the kernel runs (Ampere)."""


class Beginnings(NamedTuple):
    """Where the texts of a row begin and end, ``(texts + 1)`` in 32 bits, and the length of the longest."""

    ends: Tensor
    longest: int


def in_one_call(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether torch has the kernel for these: 16 bits, on a GPU that is young enough."""
    return (
        query.device.type == "cuda"
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.dtype == key.dtype == value.dtype
        and query.shape[-1] == key.shape[-1] == value.shape[-1] <= WIDEST
        and query.shape[-1] % STEP == 0
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(query.device) >= OLDEST
    )


def attend_in_one_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    texts: Beginnings,
    *,
    causal: bool,
    prefix: tuple[Tensor, Tensor] | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Attention within each text: ``(1, heads, tokens, head width)`` each to ``(1, tokens, heads, head width)``.

    Args:
        query, key, value: Of the row; several heads of the query may share one of the keys.
        texts: Where the texts begin.
        causal: Whether a token sees only those before it.
        prefix: Keys and values that every text begins with, shaped as those of the row.
        dropout: Share of the attention weights that are dropped.
        scale: Of the products; None: one over the root of the head width.
    """
    q, k, v = (_rows(x) for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if prefix is None:
        return flash(q, k, v, texts, texts, causal, dropout, scale)[0].unsqueeze(0)
    keys, values = (_rows(x) for x in prefix)
    if dropout or (torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, keys, values))):
        # The sums of exponentials have no gradient: here the prefix is copied in front of every text.
        places, longer = _behind(texts, len(keys))
        k, v = (torch.cat([p, x]).index_select(0, places) for p, x in ((keys, k), (values, v)))
        return flash(q, k, v, texts, longer, causal, dropout, scale)[0].unsqueeze(0)
    own, own_sums = flash(q, k, v, texts, texts, causal, dropout, scale)
    shared, shared_sums = flash(q, keys, values, _one(q), _one(keys), False, dropout, scale)
    share = torch.sigmoid(own_sums - shared_sums).T.unsqueeze(-1)
    return torch.lerp(shared, own, share.to(own.dtype)).unsqueeze(0)


def flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Beginnings,
    keys: Beginnings,
    causal: bool,
    dropout: float,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """torch's kernel: ``(tokens, heads, head width)`` each to the same, and the logarithms ``(heads, tokens)`` of the
    sums of exponentials. The last query of a text stands at its last key."""
    # A longest text of one token would take another way, of which the sums are laid out otherwise.
    longest = max(queries.longest, 2)
    states, sums, *_ = torch.ops.aten._flash_attention_forward(
        query, key, value, queries.ends, keys.ends, longest, keys.longest, dropout, causal, False, scale=scale
    )
    return states, sums


def beginnings(lengths: list[int], device: torch.device) -> Beginnings:
    """Where texts of these lengths begin that follow one another."""
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return Beginnings(ends.to(device, non_blocking=True), max(lengths, default=0))


def _rows(states: Tensor) -> Tensor:
    """``(1, heads, tokens, width)`` to ``(tokens, heads, width)``, each head's numbers side by side."""
    rows = states.squeeze(0).transpose(0, 1)
    return rows if rows.stride(-1) == 1 else rows.contiguous()


def _one(rows: Tensor) -> Beginnings:
    # Made there: a list of numbers would have to be sent in every layer, and the processor would wait for it.
    return Beginnings(torch.arange(2, dtype=torch.int32, device=rows.device) * len(rows), len(rows))


def _behind(texts: Beginnings, before: int) -> tuple[Tensor, Beginnings]:
    """Where the keys of each text, the prefix's and its own, stand in the prefix and the row laid end to end."""
    number = torch.arange(len(texts.ends), dtype=torch.int32, device=texts.ends.device)
    longer = texts.ends + before * number
    text = torch.repeat_interleave(number[:-1].long(), longer.diff().long())
    rank = torch.arange(len(text), device=text.device) - longer[text]
    places = torch.where(rank < before, rank, texts.ends[text] + rank)
    return places, Beginnings(longer, texts.longest + before)
