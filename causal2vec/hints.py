"""Small helps for error messages: the word that was probably meant, the module that is not there."""

from __future__ import annotations

import difflib
import importlib.util


def hint(word: str, known: list[str]) -> str:
    """`` (did you mean 'x'?)`` if a known word is near, else the known words, else nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else (f" (known: {', '.join(known)})" if known else "")


def module_exists(name: str) -> bool:
    """Whether Python finds a module of this name; imports at most the packages above it."""
    try:
        return bool(name) and importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
