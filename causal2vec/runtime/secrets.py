"""Secrets leave no trace: tokens and passwords are taken out of every text that is logged, shown or kept."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"
SHORTEST = 6
"""Characters: a shorter value, such as the ``1`` of a switch, is no secret, and masking it would spoil every text."""

_NAMES = re.compile(
    r"TOKEN(?!S|IZ)|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|(^|_)AUTH$"
)
_USERINFO = re.compile(r"(://)([^\s/?#'\"<>\\]+)@")
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization['\"]?\s{0,4}[:=]\s{0,4}['\"]?)(?:(basic|bearer|token|digest)\s{1,4})?[^\s'\",;]+"
)
_SCHEME = re.compile(r"(?i)\b((?:bearer|basic)\s{1,4})[A-Za-z0-9._~+/=-]{16,}")
_QUERY = re.compile(
    r"(?i)([?&][\w.-]{0,40}(?:token|signature|secret|password|api_?key|credential)[\w.-]{0,40}=)[^&\s'\"<>#]+"
)
_KNOWN_FORMS = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|pypi-[\w-]{40,})")


def mask(text: str) -> str:
    """``text`` with every secret replaced by ``***``.

    Secrets are: the values of environment variables whose names say so (``HF_TOKEN``, ``..._SECRET``,
    ``..._PASSWORD``, ``..._API_KEY``); the model hub's token files; user and password in any URL, and wherever else a
    password from a URL in the environment (``PIP_INDEX_URL``, ``HTTPS_PROXY``) appears; Authorization headers;
    signatures and tokens in a URL's query; and whatever has the form of a known kind of token.
    """
    return _masked(text, _secrets())


def _masked(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = _USERINFO.sub(_without_userinfo, text)
    text = _HEADER.sub(lambda m: f"{m[1]}{m[2] + ' ' if m[2] else ''}{MASK}", text)
    text = _SCHEME.sub(rf"\g<1>{MASK}", text)
    text = _QUERY.sub(rf"\g<1>{MASK}", text)
    return _KNOWN_FORMS.sub(MASK, text)


def mask_values(value: Any) -> Any:
    """A copy of nested mappings and lists, with every string in it masked, keys too."""
    secrets = _secrets()

    def masked(part: Any) -> Any:
        if isinstance(part, str):
            return _masked(part, secrets)
        if isinstance(part, dict):
            return {masked(key): masked(entry) for key, entry in part.items()}
        if isinstance(part, list | tuple):
            return [masked(entry) for entry in part]
        return part

    return masked(value)


class MaskingFormatter(logging.Formatter):
    """Formats a log record as its parent does, traceback included, and takes the secrets out."""

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines of a record, masked."""
        return mask(super().format(record))


def _without_userinfo(match: re.Match[str]) -> str:
    return match[0] if match[2] == "git" else f"{match[1]}{MASK}@"  # git@ is a public user name


def _secrets() -> list[str]:
    """All forms in which a secret may appear, longest first, so that no part of one is left."""
    found = set()
    for name, value in os.environ.items():
        if _NAMES.search(name.upper()) and not _is_a_place(value):
            found |= {value.strip(), *(line.strip() for line in value.splitlines())}
        if "://" in value:
            found |= {part for match in _USERINFO.finditer(value) for part in _passwords(match[2])}
    for path in _token_files():
        found |= set(_words_of(path))
    forms = {form for secret in found for form in (secret, quote(secret, safe=""), unquote(secret), repr(secret)[1:-1])}
    return sorted((form for form in forms if len(form) >= SHORTEST), key=lambda form: (-len(form), form))


def _passwords(userinfo: str) -> Iterator[str]:
    """What is secret before the ``@``: the password, or the only word if there is no password."""
    user, colon, password = userinfo.partition(":")
    yield password if colon else user


def _is_a_place(value: str) -> bool:
    """Whether a variable names a file or folder that is there, such as HF_TOKEN_PATH, and holds no secret itself."""
    try:
        return value.startswith(("/", "~")) and Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _token_files() -> Iterator[Path]:
    """Where huggingface_hub keeps tokens; found without importing it, which takes half a second."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        home = Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()
        yield Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
        yield Path(os.environ.get("HF_STORED_TOKENS_PATH") or home / "stored_tokens").expanduser()
    except RuntimeError:  # no home folder
        return


_read: dict[Path, tuple[tuple[int, int], list[str]]] = {}


def _words_of(path: Path) -> list[str]:
    """The tokens in a file, read again only when the file has changed."""
    try:
        state = path.stat()
        stamp = (state.st_mtime_ns, state.st_size)
        if path not in _read or _read[path][0] != stamp:
            text = path.read_text(encoding="utf-8", errors="replace")[:100_000]
            lines = [line.partition("=")[2] if " = " in line else line for line in text.splitlines()]
            _read[path] = (stamp, [line.strip() for line in lines if not line.startswith("[")])
        return _read[path][1]
    except OSError:
        return []
