"""Small helps for error messages: the word that was probably meant, the module that is not there."""

from __future__ import annotations

import difflib
import importlib.util
import re
from typing import Any


def hint(word: str, known: list[str]) -> str:
    """`` (did you mean 'x'?)`` if a known word is near, else the known words, else nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else (f" (known: {', '.join(known)})" if known else "")


def one_line(error: Exception) -> str:
    """The first sentence of what a library's error says, in one line; its kind where it says nothing."""
    text = " ".join(str(error).split())
    return re.split(r"(?<=[\w)`'])\. (?=[A-Z])", text)[0][:400].removesuffix(".") or type(error).__name__


_PATTERNS = {
    r"^[0-9a-f]{64}$": "SHA-256 of 64 hexadecimal digits in lower case; it stands beside the file on the package "
    "index, or `sha256sum FILE` computes it",
    r"^[^+]+\+\w+=.+$": "variant in the form METHOD+KEY=VALUE, such as causal2vec+place=after_instruction",
    r"^[a-z]{3}-[A-Z][a-z]{3}$": "language with its script, such as eng-Latn, deu-Latn or zho-Hans",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "name of a study (letters, digits and . _ -), as folders are called so",
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "name of a task (letters, digits, _ and -)",
    r"^[A-Za-z0-9][A-Za-z0-9._+-]*$": "name (letters, digits and . _ + -); a model is named by its key under models, "
    "and organisation/name belongs to its repository there",
}
"""What is meant by a pattern, in words."""


def fault_sentence(fault: Any, key: str, known: list[str]) -> str:
    """One fault of pydantic's as 'key: what is wrong', with the nearest ``known`` key for a typing slip."""
    key = key if key.isprintable() else ascii(key)[1:-1]
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}'{hint(str(fault['loc'][-1]), known)}; remove it or correct its name"
    if fault["type"] == "missing":
        return f"key '{key}' is missing; add it"
    if fault["type"] == "value_error":  # our own words, which say what to do
        message = fault["msg"].removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    if fault["type"] == "string_pattern_mismatch" and (meant := _PATTERNS.get(fault["ctx"]["pattern"])):
        return f"{key}: {_shown(fault['input'])} is no {meant}; correct it"
    if fault["type"] in ("dict_type", "model_type", "model_attributes_type"):
        message = "Input should be a mapping"
    else:
        message = fault["msg"].partition(" after validation")[0]
    return f"{key or 'the whole'}: {message}, but is {_shown(fault['input'])}; correct it"


def _shown(value: Any) -> str:
    """A value as Python writes it, no longer than it takes to recognise it."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def module_exists(name: str) -> bool:
    """Whether Python finds a module of this name; imports at most the packages above it."""
    try:
        return bool(name) and importlib.util.find_spec(name) is not None
    except Exception:  # a package above it that does not import, or a name that no module can have
        return False
