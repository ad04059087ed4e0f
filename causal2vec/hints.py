"""Small helps for error messages: the word that was probably meant, the module that is not there."""

from __future__ import annotations

import difflib
import importlib.util
from typing import Any


def hint(word: str, known: list[str]) -> str:
    """`` (did you mean 'x'?)`` if a known word is near, else the known words, else nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else (f" (known: {', '.join(known)})" if known else "")


def fault_sentence(fault: Any, key: str, known: list[str]) -> str:
    """One fault of pydantic's as 'key: what is wrong', with the nearest ``known`` key for a typing slip."""
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}'{hint(str(fault['loc'][-1]), known)}; remove it or correct its name"
    if fault["type"] == "missing":
        return f"key '{key}' is missing; add it"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def module_exists(name: str) -> bool:
    """Whether Python finds a module of this name; imports at most the packages above it."""
    try:
        return bool(name) and importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
