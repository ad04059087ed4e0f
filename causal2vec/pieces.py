"""What an LLM reads of a text: pieces of characters and special tokens, and the token ids that they become.

Like `causal2vec.embedder`, this file needs nothing of this project and is copied beside every saved model.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Role(IntEnum):
    """What a token is to the pooling."""

    NONE = 0
    TEXT = 1
    EOS = 2
    CONTEXTUAL = 3


class Piece(NamedTuple):
    """A stretch of the LLM's input: characters, or one special token.

    ``text`` and the pieces beside it are tokenised as one string, so that a word after ``Query: `` gets the
    token it has in running text. ``cut`` marks a copy of the user's text, which alone may be shortened; ``extra`` what
    has room of its own beside ``max_seq_length``, such as in-context examples.
    """

    text: str = ""
    role: Role = Role.NONE
    cut: bool = False
    token: int | None = None
    extra: bool = False


def tokenise(tokenizer: Any, rows: list[list[Piece]], end: int) -> list[list[tuple[Piece, list[int]]]]:
    """Token ids of every piece. A token that spans two pieces belongs to the one it ends in.

    An empty text is the text that ends at once: it gets the id ``end``.
    """
    encoded = tokenizer(
        ["".join(piece.text for piece in row) for row in rows],
        add_special_tokens=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    result = []
    for row, ids, offsets in zip(rows, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        ends = [stop for _, stop in offsets]
        start = boundary = 0
        tokenised = []
        for piece in row:
            boundary += len(piece.text)
            stop = bisect_right(ends, boundary, lo=start)
            own = ids[start:stop] if piece.token is None else [piece.token]
            tokenised.append((piece, own or ([end] if piece.cut else [])))
            start = stop
        result.append(tokenised)
    return result


def shorten(row: list[tuple[Piece, list[int]]], max_length: int) -> list[tuple[list[int], int]]:
    """Shorten the copies of the text so that everything but the extra fits; each copy gets an equal share.

    Returns:
        Ids and role of each piece.

    Raises:
        ValueError: What is not the text fills ``max_length`` tokens already.
    """
    fixed = sum(len(ids) for piece, ids in row if not (piece.cut or piece.extra))
    share = (max_length - fixed) // max(1, sum(piece.cut for piece, _ in row))
    if share < 1:
        raise ValueError(
            f"the instruction and special tokens take {fixed} of max_seq_length={max_length} tokens "
            "and leave none for the text; raise max_seq_length or shorten the instruction"
        )
    return [(ids[:share] if piece.cut else ids, int(piece.role)) for piece, ids in row]


def head_of(row: list[tuple[Piece, list[int]]]) -> list[int]:
    """The ids in front of all that depends on the text: BOS, an instruction, examples, a template's first words."""
    ids: list[int] = []
    for piece, own in row:
        if piece.cut or piece.role != Role.NONE:
            break
        ids += own
    return ids


def wrap(row: list[Piece], chat: list[str], closing_role: Role) -> list[Piece]:
    """The chat template's words around everything that is characters, not a special token."""
    places = [i for i, piece in enumerate(row) if piece.token is None]
    first, end = places[0], places[-1] + 1
    return [*row[:first], Piece(chat[0]), *row[first:end], Piece(chat[1], role=closing_role), *row[end:]]


def pad_left(rows: list[list[int]], value: int) -> Tensor:
    """Lists of ids as one tensor ``(rows, longest)``."""
    width = max(len(row) for row in rows)
    padded = np.full((len(rows), width), value, dtype=np.int64)
    for place, row in zip(padded, rows, strict=True):
        place[width - len(row) :] = row
    return torch.from_numpy(padded)


def clean(text: Any) -> str:
    """Any Python string as valid Unicode: a lone surrogate becomes '?' instead of a tokenizer's crash.

    Raises:
        ValueError: It is no string.
    """
    if not isinstance(text, str):
        raise ValueError(f"only strings can be embedded, but the input holds {type(text).__name__}: {text!r:.80}")
    return text.encode("utf-8", "replace").decode("utf-8")
