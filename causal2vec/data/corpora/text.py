"""Small text tools that the readers, the training pairs and the tasks share."""

from __future__ import annotations

import hashlib
import html
import re

_TAG = re.compile(r"<[^<>]*>")
_USUAL_TAG = re.compile(r"</?(?:p|a|b|i|ul|ol|li|dl|dt|dd|code|note|important|br)(?: [^<>]*)?/?>")
_SPACE = re.compile(r"\s+")
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[A-Z\"'(\[0-9])")
_ABBREVIATION = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|St|vs|No|c|ca|lit|fl|b|d|e\.g|i\.e|etc|Jr|Sr)|\b[A-Z])\.$")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


def held_out(key: str, share: float) -> bool:
    """Whether the record named ``key`` is for evaluation: true for about ``share`` (0 to 1) of all keys.

    The SHA-256 of the key decides, so the answer never depends on order, on other records or on a seed.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return number < share * 2**64


def tidy(text: str) -> str:
    """``text`` with every run of white space as one space."""
    return _SPACE.sub(" ", text).strip()


def strip_html(text: str) -> str:
    """``text`` without HTML tags and entities, tidied; for trusted documentation, not for safety."""
    once = html.unescape(_TAG.sub(" ", text))
    return re.sub(r" ([.,;:)])", r"\1", tidy(_USUAL_TAG.sub(" ", once)))  # some pages were escaped twice


def split_first_sentence(text: str) -> tuple[str, str]:
    """The first sentence of a tidied text and the rest, which is empty if there is only one sentence."""
    for match in _SENTENCE_END.finditer(text):
        first = text[: match.end()].rstrip()
        if not _ABBREVIATION.search(first):
            return first, text[match.end() :]
    return text, ""


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters of ``text``: whole sentences if one fits, otherwise whole words."""
    if len(text) <= limit:
        return text
    kept, rest = split_first_sentence(text)
    if len(kept) > limit:
        return text[: limit + 1].rsplit(" ", 1)[0][:limit]
    while rest:
        sentence, rest = split_first_sentence(rest)
        if len(kept) + 1 + len(sentence) > limit:
            break
        kept = f"{kept} {sentence}"
    return kept


def words_of_name(name: str) -> str:
    """An operation name such as ``ListDBInstances`` as lower-case words: ``list db instances``."""
    return " ".join(_CAMEL.findall(name)).lower()


def without_years(text: str) -> str:
    """``text`` without a closing bracket that holds digits, such as the years of a life."""
    return re.sub(r"\s*\([^()]*\d[^()]*\)$", "", text)


def plain(text: str) -> str:
    """``text`` for comparing: lower case, letters and digits only, single spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))
