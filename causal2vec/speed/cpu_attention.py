"""Attention on a processor in bfloat16, block by block of queries, out of nothing but matrix products and a softmax.

Torch's own attention there is written for few long texts. An embedder reads many short ones, and many LLMs let several
heads of the query share one of the keys, which torch copies for each. Here these heads are one matrix more rows of
queries, and a block of queries is multiplied with the keys that it may see, for all texts and heads of a group at once:
two to three times as fast (docs/speed.md). Training is left to torch: it would be faster too, but oneDNN keeps a
program for every shape of matrices that it meets, and the batches of a training have others each time.

Like `causal2vec.embedder`, this file needs nothing of this project and is copied beside every saved model.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 64
"""Tokens of a block of queries, by measurement. A causal block does not look at the keys behind it, so that small
blocks compute less that is thrown away; large ones are better to multiply."""

WIDTH = 32
"""Keys come in multiples of it: what one instruction takes. The softmax of a row that ends elsewhere takes four times
as long."""


def pays_in_blocks(query: Tensor) -> bool:
    """Whether `Blocks` are better than torch's attention: where a processor embeds in bfloat16."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and torch.is_inference_mode_enabled()


class Blocks:
    """Which tokens of a row make up the blocks of queries and their keys; the same for all layers.

    Args:
        groups: Lengths of the texts that follow one another in the row, those of like length together.
        heads: Of the keys; those of the query are as many or a multiple.
        before: Keys of a prefix that all texts begin with.
        causal: Whether a token sees only those before it.
    """

    def __init__(self, groups: list[tuple[int, ...]], heads: int, before: int, *, causal: bool) -> None:
        self.groups, self.heads, self.before, self.causal = groups, heads, before, causal
        self.lengths = [max(lengths) for lengths in groups]
        self.widths = [length + -(before + length) % WIDTH for length in self.lengths]
        firsts = torch.tensor([length for lengths in groups for length in lengths]).cumsum(0)
        starts = [ends - torch.tensor(lengths) for ends, lengths in zip(self._split(firsts), groups, strict=True)]
        self.queries = self._rows(starts, self.lengths)
        self.keys = self._rows(starts, self.widths)
        self.places = self._places()
        self.unseen: dict[tuple[int, int], Tensor] = {}

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor] | None, scale: float | None
    ) -> Tensor:
        """Softmax of the queries' products with the keys, times the values, within each text.

        Scores and weights are rounded to bfloat16, as all else that such a model computes.

        Args:
            query: ``(1, heads, tokens, head width)``.
            key: ``(1, heads or fewer, tokens, head width)``.
            value: The same, of any width.
            prefix: Keys and values of the prefix, if there is one, shaped alike.
            scale: Of the products; None: one over the root of the head width.

        Returns:
            ``(1, tokens, heads, value width)``.
        """
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        together = query.shape[1] // self.heads  # heads whose queries meet the same keys
        sizes = [len(lengths) * self.heads for lengths in self.groups]
        parts = [
            _rows_of(x, self.heads).index_select(0, index).split([n * m for n, m in zip(sizes, rows, strict=True)])
            for x, index, rows in (
                (query, self.queries, self.lengths), (key, self.keys, self.widths), (value, self.keys, self.widths)
            )
        ]  # fmt: skip
        result = []
        for number, (texts, *group) in enumerate(zip(sizes, *parts, strict=True)):
            q = group[0].view(texts, -1, query.shape[-1])
            k, v = (x.view(texts, -1, x.shape[-1]) for x in group[1:])
            if prefix:
                k, v = (
                    torch.cat([p[0].repeat(texts // self.heads, 1, 1), x], 1)
                    for p, x in zip(prefix, (k, v), strict=True)
                )
            result.append(self._attend(number, q, k, v, together, scale).view(-1, together * value.shape[-1]))
        return torch.cat(result).index_select(0, self.places).view(1, query.shape[2], query.shape[1], -1)

    def _attend(self, number: int, query: Tensor, key: Tensor, value: Tensor, together: int, scale: float) -> Tensor:
        """Of a group: ``(texts x heads, rows, head width)`` each."""
        hidden = self._unseen(number, together, key)
        parts: list[Tensor] = []
        for block in query.split(BLOCK * together, dim=1):
            start = self.before + len(parts) * BLOCK
            end = key.shape[1]
            added = hidden
            if self.causal:
                end = min(end, -(-(start + block.shape[1] // together) // WIDTH) * WIDTH)
                zero = hidden.shape[1] - BLOCK - WIDTH
                added = hidden[: block.shape[1], zero - start : zero - start + end]
            scores = torch.baddbmm(added, block, key[:, :end].transpose(1, 2), alpha=scale)
            parts.append(torch.bmm(scores.softmax(dim=-1), value[:, :end]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _unseen(self, number: int, together: int, key: Tensor) -> Tensor:
        """What is added to the scores of a group: minus infinity where a token does not look.

        Returns:
            ``(texts x heads or 1, 1, keys)``; if causal, a flight of stairs ``(rows of a block, keys and a block)``,
            of which every block takes the columns that begin as far before the stairs as it has keys before it.
        """
        name = (together, -1 if self.causal else number)
        if name in self.unseen:
            return self.unseen[name]
        if self.causal:
            columns = torch.arange(-self.before - max(self.widths), BLOCK + WIDTH)
            hidden = columns > torch.arange(BLOCK).repeat_interleave(together)[:, None]
        else:
            ends = torch.tensor(self.groups[number])
            ends = ends[:1] if len(ends.unique()) == 1 else ends.repeat_interleave(self.heads)
            hidden = torch.arange(key.shape[1]) >= ends[:, None, None]
        self.unseen[name] = key.new_zeros(hidden.shape).masked_fill(hidden, float("-inf"))
        return self.unseen[name]

    def _split(self, per_text: Tensor) -> tuple[Tensor, ...]:
        return per_text.split([len(lengths) for lengths in self.groups])

    def _rows(self, starts: list[Tensor], counts: list[int]) -> Tensor:
        """Rows ``(token, head)`` in the order ``(text, head, token)``: so many tokens of every text, the last of a
        shorter one again and again, where nobody looks."""
        rows = []
        for begin, lengths, count in zip(starts, self.groups, counts, strict=True):
            ranks = torch.minimum(torch.arange(count), torch.tensor(lengths)[:, None] - 1)
            tokens = begin[:, None] + ranks
            rows.append((tokens[:, None] * self.heads + torch.arange(self.heads)[:, None]).flatten())
        return torch.cat(rows)

    def _places(self) -> Tensor:
        """The way back: where each token's heads stand among the rows of all groups."""
        places, before = [], 0
        for lengths, longest in zip(self.groups, self.lengths, strict=True):
            rows = torch.arange(len(lengths) * self.heads * longest).view(len(lengths), self.heads, longest)
            real = torch.arange(longest) < torch.tensor(lengths)[:, None]
            places.append(before + rows.transpose(1, 2)[real].flatten())
            before += rows.numel()
        return torch.cat(places)


def _rows_of(states: Tensor, heads: int) -> Tensor:
    """``(1, heads or a multiple, tokens, width)`` to a row for every token and one of so many heads."""
    return states.squeeze(0).transpose(0, 1).reshape(states.shape[2] * heads, -1)
