"""Texts of a batch laid end to end: no padding is computed, and a beginning that all share is computed once.

Everything in a decoder but attention treats each token alone, so the tokens of a batch can stand in one long row.
Attention, the one part that must know where a text starts, is computed text by text (texts of like length together), or
on a GPU for all texts in one call (`causal2vec.speed.gpu_attention`).
With causal attention the keys and values of a prefix do not depend on what follows: a prefix that all texts share,
such as an instruction, is read once, and every text attends to it.

Like `causal2vec.embedder`, this file is copied beside every saved model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from causal2vec.speed.cpu_attention import Blocks, pays_in_blocks
from causal2vec.speed.gpu_attention import Beginnings, attend_in_one_call, beginnings, in_one_call

PACKED = "packed_sdpa"
"""Name of the attention below in transformers; without a `Layout` it is sdpa."""

FLASH = "flash_attention_2"

WASTE = 0.25
"""Texts are attended to together if the shortest is at most so much shorter than the longest. Only attention, a few
per cent of the work, is padded so; without it every length would be a call of its own."""

SHORT = 256
"""Tokens up to which a CPU that learns in bfloat16 attends in float32: torch's backward pass of attention between short
texts is two to seven times as slow in bfloat16 (docs/speed.md)."""

STEPS = 16
"""Lengths of a row between a power of two and the next, while a CPU learns in bfloat16: torch's backend for it makes
and keeps a program for every length that it meets, a quarter of the memory of a training with gradient caching
(docs/speed.md). A row is filled up to the next of these lengths, by at most a sixteenth."""

WORTHWHILE = 64
"""Tokens that reading a prefix once must save per batch, to pay for the pass of its own."""

AVOIDS = "causal2vec_avoids"
"""Key in an LLM's config.json: which of ``packing``, ``prefix`` and ``last_layer`` give other states than its own, so
that they are left out (`causal2vec.models.check_llm` finds out)."""

PLAIN = "CAUSAL2VEC_PLAIN"
"""Environment variable that, if it is set, turns off all that makes vectors faster (``compute.fast: false``): texts
are padded and read whole by the libraries' own layers. In the environment, as it is for every process of a job."""

Prefix = dict[int, tuple[Tensor, Tensor]]
"""Per attention layer: keys and values ``(1, heads, tokens, head width)`` of a prefix."""


class Group(NamedTuple):
    """Texts of like length, which follow one another in the row: first token, texts, tokens of each."""

    start: int
    lengths: tuple[int, ...]


class Layout:
    """Where the tokens of a batch stand in the row, and what attention must know of it.

    Args:
        mask: ``(batch, width)``, non-zero where there is a token; padding may be on either side.
        causal: Whether a token sees only those before it.
        prefix: Keys and values that every text begins with; None: there are none.
        skip: Tokens at the beginning of each text that ``prefix`` stands for.
        record: Keep every layer's keys and values in ``recorded``.
    """

    def __init__(
        self, mask: Tensor, *, causal: bool, prefix: Prefix | None = None, skip: int = 0, record: bool = False
    ) -> None:
        self.shape, self.causal, self.prefix, self.record = mask.shape, causal, prefix, record
        self.recorded: Prefix = {}
        self.layers: set[int] = set()
        device, mask = mask.device, on_host(mask)
        rank = mask.cumsum(dim=1) - 1  # the how-manieth token of its text
        kept = mask.bool() & (rank >= skip)
        lengths = kept.sum(dim=1)
        order = torch.argsort(lengths, stable=True)
        rows, columns = kept[order].nonzero(as_tuple=True)  # row by row, so the shortest text stands first
        self._places = order[rows] * mask.shape[1] + columns
        self.index = send(self._places, device)
        self.positions = send(rank[order[rows], columns].unsqueeze(0), device)
        self.longest = mask.shape[1]
        self.groups = _groups(lengths[order].tolist())
        self._masks: dict[tuple[int, ...], Tensor] = {}
        self._made: dict[tuple[int, int], Blocks] = {}

    @cached_property
    def _evened(self) -> tuple[Tensor | None, Tensor | None]:
        return _evened(self.groups, self.index.device)  # asked for first when the row is as long as it gets

    def fill(self, tokens: int) -> None:
        """Lengthen the row by so many tokens: a text of their own, which nobody asks for."""
        self.positions = torch.nn.functional.pad(self.positions, (0, tokens))
        self.groups.append(Group(len(self.index), (tokens,)))

    def pack(self, padded: Tensor) -> Tensor:
        """``(batch, width, ...)`` to ``(1, tokens, ...)``."""
        index = self.index if padded.device == self.index.device else self._places
        return padded.flatten(0, 1).index_select(0, index).unsqueeze(0)

    def unpack(self, packed: Tensor) -> Tensor:
        """The way back; zero where there was padding or the shared prefix."""
        whole = packed.new_zeros(self.shape[0] * self.shape[1], *packed.shape[2:])
        return whole.index_copy(0, self.index, packed[0]).unflatten(0, self.shape)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, prefix: Any, dropout: float, scale: float | None
    ) -> Tensor:
        """Attention within each text: ``(1, heads, tokens, head width)`` each to ``(1, tokens, heads, head width)``."""
        if pays_in_blocks(query):
            return self._blocks(key.shape[1], prefix).attend(query, key, value, prefix, scale)
        if in_one_call(query, key, value):
            return attend_in_one_call(
                query, key, value, self.texts, causal=self.causal, prefix=prefix, dropout=dropout, scale=scale
            )
        result: list[Tensor] = []
        sources, places = self._evened
        shares = query.shape[1] != key.shape[1]  # several heads of the query share one of the keys
        # Split, not sliced: the gradient of a slice is a tensor of zeros as large as the whole.
        sizes = [len(group.lengths) * max(group.lengths) for group in self.groups]
        parts = zip(
            *(_taken(x.squeeze(0).transpose(0, 1), sources).split(sizes) for x in (query, key, value)), strict=True
        )
        for (_, lengths), group in zip(self.groups, parts, strict=True):
            q, k, v = (x.unflatten(0, (len(lengths), max(lengths))).transpose(1, 2) for x in group)
            k, v = (_behind(x, p) for x, p in zip((k, v), prefix or (None, None), strict=True))
            mask = self._mask(lengths, k.shape[2] - q.shape[2], query.device)
            causal = self.causal and mask is None and q.shape[2] > 1
            states = _attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scale, enable_gqa=shares
            )
            result.append(states.transpose(1, 2).flatten(0, 1))
        states = result[0] if len(result) == 1 else torch.cat(result)
        return _taken(states, places).unsqueeze(0)

    def _blocks(self, heads: int, prefix: Any) -> Blocks:
        before = prefix[0].shape[2] if prefix else 0
        if (heads, before) not in self._made:
            lengths = [group.lengths for group in self.groups]
            self._made[heads, before] = Blocks(lengths, heads, before, causal=self.causal)
        return self._made[heads, before]

    @cached_property
    def texts(self) -> Beginnings:
        """Where texts begin."""
        return beginnings([length for group in self.groups for length in group.lengths], self.index.device)

    def beginnings(self) -> dict[str, Any]:
        """The same in the words of transformers' flash attention."""
        ends, longest = self.texts
        return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}

    def _mask(self, lengths: tuple[int, ...], before: int, device: torch.device) -> Tensor | None:
        """What a group's tokens see, None for what SDPA calls causal or everything.

        Short texts are padded at their end, where a causal token does not look.
        """
        longest, shortest = max(lengths), min(lengths)
        key = (before, longest) if self.causal else lengths
        if self.causal and before and longest > 1 and key not in self._masks:
            seen = torch.ones(longest, before + longest, dtype=torch.bool, device=device)
            self._masks[key] = seen.tril(before)
        elif not self.causal and shortest < longest and key not in self._masks:
            ends = torch.tensor(lengths, device=device)
            self._masks[key] = (torch.arange(longest, device=device) < ends[:, None])[:, None, None]
        return self._masks.get(key)


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: sdpa, or text by text where the LLM is called with a `Layout`."""
    if packed is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    layer = id(module)
    window = kwargs.get("sliding_window")
    if window is None or packed.longest <= window:
        packed.layers.add(layer)
    if packed.record:
        packed.recorded[layer] = (key, value)
    return packed.attend(query, key, value, packed.prefix[layer] if packed.prefix else None, dropout, scaling), None


AttentionInterface.register(PACKED, attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)


def plain() -> bool:
    """Whether nothing here is to make vectors faster; see `PLAIN`."""
    return bool(os.environ.get(PLAIN))


def avoids(model: Any, way: str) -> bool:
    """Whether a model is read without one of the ways in `AVOIDS`."""
    return plain() or way in (getattr(getattr(model, "config", None), AVOIDS, None) or ())


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; from a processor to a GPU without waiting for what the GPU still has to do."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    sent = tensor.pin_memory().to(device, non_blocking=True)
    sent.on_host = tensor  # type: ignore[attr-defined]
    return sent


def on_host(tensor: Tensor) -> Tensor:
    """The copy that was sent, on the processor, where it can be asked without waiting; else the tensor itself."""
    return getattr(tensor, "on_host", tensor)


def let_pack(model: Any) -> None:
    """Give a model that attends by sdpa the attention above."""
    if model.config._attn_implementation == "sdpa" and not avoids(model, "packing"):
        model.config._attn_implementation = PACKED


def packs(model: Any, longest: int) -> bool:
    """Whether texts of up to so many tokens can be packed with this model's attention.

    Sliding windows are left to transformers' own masks.
    """
    limits = [getattr(model.config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    window = min((limit for limit in limits if limit), default=longest)
    return longest <= window and model.config._attn_implementation in (PACKED, FLASH) and not plain()


def run_packed(model: Any, layout: Layout, **tokens: Tensor) -> Tensor | None:
    """Last hidden states ``(1, tokens, width)`` of packed ids or vectors; None if this model cannot be packed.

    It cannot if a layer mixes tokens by other means than transformers' attention interface, or sees less of a text than
    all that stands before. Flash attention packs by
    itself, once it is told where texts begin.

    Args:
        model: A transformers model without a head.
        layout: Where the texts stand.
        tokens: ``inputs_embeds`` or ``input_ids``, packed.
    """
    if model.config._attn_implementation == FLASH:
        return model(position_ids=layout.positions, use_cache=False, **tokens, **layout.beginnings()).last_hidden_state
    # A mask of four dimensions is passed on as it is: none is made, and the attention above does not look at it.
    nothing = layout.positions.new_zeros(1, 1, 1, 1, dtype=torch.bool)
    if missing := _missing(model, layout):
        layout.fill(missing)
        tokens = {name: torch.cat([x, x[:, :1].expand(-1, missing, *x.shape[2:])], 1) for name, x in tokens.items()}
    states = model(
        attention_mask=nothing, position_ids=layout.positions, use_cache=False, packed=layout, **tokens
    ).last_hidden_state
    return states[:, : len(layout.index)] if len(layout.layers) == model.config.num_hidden_layers else None


def _missing(model: Any, layout: Layout) -> int:
    """Tokens that a row lacks to a length that comes again; none where `STEPS` says nothing is won."""
    bfloat16 = model.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    if not (model.training and bfloat16 and layout.index.device.type == "cpu") or layout.record:
        return 0
    tokens = len(layout.index)
    return -tokens % max(STEPS, 2 ** (tokens.bit_length() - 1) // STEPS)


def shared_beginning(heads: Iterable[list[int]]) -> list[int]:
    """The tokens that all begin with."""
    first, last = min(heads := list(heads)), max(heads)
    same = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]


def _groups(lengths: list[int]) -> list[Group]:
    """Texts, sorted by length, in groups of like length; a text without tokens is in none."""
    groups: list[tuple[int, list[int]]] = []
    start = 0
    for length in filter(None, lengths):
        if groups and length * (1 - WASTE) <= groups[-1][1][0]:
            groups[-1][1].append(length)
        else:
            groups.append((start, [length]))
        start += length
    return [Group(first, tuple(own)) for first, own in groups]


def _attention(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """Torch's attention ``(texts, heads, length, head width)``, in the number format that it learns fastest in."""
    learns = query.requires_grad and query.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if not (learns and key.shape[2] <= SHORT):
        return scaled_dot_product_attention(query, key, value, **options)
    with torch.autocast("cpu", enabled=False):
        states = scaled_dot_product_attention(query.float(), key.float(), value.float(), **options)
    return states.to(query.dtype)


def _evened(groups: list[Group], device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """How texts become as long as the longest of their group, for attention, and back; ``None`` where they are.

    Returns:
        For each token of the longer row its source in the row, a text's last token where it has none; for each token
        of the row its place in the longer one.
    """
    if all(min(group.lengths) == max(group.lengths) for group in groups):
        return None, None
    sources: list[int] = []
    places: list[int] = []
    start = 0
    for _, lengths in groups:
        longest = max(lengths)
        for length in lengths:
            places += range(len(sources), len(sources) + length)
            sources += [*range(start, start + length), *[start + length - 1] * (longest - length)]
            start += length
    return torch.tensor(sources, device=device), torch.tensor(places, device=device)


def _taken(tokens: Tensor, places: Tensor | None) -> Tensor:
    """``(tokens, ...)`` in another order, if there is one."""
    return tokens if places is None else tokens.index_select(0, places)


def _behind(rows: Tensor, prefix: Tensor | None) -> Tensor:
    """Keys or values ``(texts, heads, length, head width)`` behind those of the prefix."""
    return rows if prefix is None else torch.cat([prefix.expand(len(rows), -1, -1, -1), rows], dim=2)
