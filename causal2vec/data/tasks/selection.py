"""Deterministic choices for building tasks: no random numbers, only hashes of the texts themselves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from causal2vec.data.corpora.text import plain

T = TypeVar("T")
_FUNCTION_WORDS = re.compile(
    r"(?:an?|and|are|as|at|be|by|for|from|has|have|in|into|is|its?|of|on|or|that|the|their|this|to|was|were"
    r"|which|who(?:se)?|with)"
)


def by_hash(items: Iterable[T], key: Callable[[T], str]) -> list[T]:
    """``items`` in the order of the SHA-256 of their keys: shuffled, yet the same everywhere."""
    return sorted(items, key=lambda item: hashlib.sha256(key(item).encode()).hexdigest())


def content_words(text: str) -> set[str]:
    """Lower-case words of ``text`` cut to five letters (a poor man's stem), function words left out."""
    return {word[:5] for word in plain(text).split() if not _FUNCTION_WORDS.fullmatch(word)}


def overlap(query: str, text: str) -> float:
    """Share (0 to 1) of the query's content words that also occur in ``text``; 1 for an empty query."""
    words = content_words(query)
    return len(words & content_words(text)) / len(words) if words else 1.0


def has_digit(text: str) -> bool:
    """Whether any digit occurs in ``text``."""
    return bool(re.search(r"\d", text))


def unique(items: Iterable[T], key: Callable[[T], str]) -> list[T]:
    """``items`` without those whose key, compared as plain words, came before."""
    seen: dict[str, T] = {}
    for item in items:
        seen.setdefault(plain(key(item)), item)
    return list(seen.values())
