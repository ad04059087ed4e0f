"""The hub's client with an end to every wait, and without retries of its own, which would multiply with ours."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from causal2vec.fetch.retry import Patience, TransientError
from causal2vec.runtime.secrets import MaskingFormatter

BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another in a moment."""

UNREACHED = (
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
    "WriteTimeout",
    "PoolTimeout",
    "ReadError",
    "WriteError",
    "RemoteProtocolError",
    "ProxyError",
)
"""Names of the exceptions of a network that does not work; by name, as the hub's client changed its library twice."""


@contextlib.contextmanager
def bounded_client(patience: Patience) -> Iterator[None]:
    """Within, requests of huggingface_hub end: with an answer, or after ``patience.timeout`` seconds of silence.

    Without it a listing that stalls is waited for without end, and a Retry-After of a day is obeyed five times over.
    What may be tried again raises `TransientError`. Only what the hub's client does well is left to it: it resumes a
    file whose connection breaks off, after a second and up to five times in a row without a new byte.
    """
    import huggingface_hub
    from huggingface_hub.utils import _http

    def factory() -> Any:
        client = _http.default_client_factory()
        client.event_hooks["request"].append(lambda request: _limit(request, patience))
        client.event_hooks["response"].append(_refuse)
        client.request = _translated(client.request)  # type: ignore[method-assign]
        return client

    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.setFormatter(MaskingFormatter())  # its warnings quote addresses that are signed
    huggingface_hub.set_client_factory(factory)
    try:
        yield
    finally:
        huggingface_hub.set_client_factory(_http.default_client_factory)


def is_unreached(error: BaseException) -> bool:
    """Whether an exception says that there was no answer, or only a part of one."""
    return any(kind.__name__ in UNREACHED for kind in type(error).__mro__)


def _limit(request: Any, patience: Patience) -> None:
    """Give a request without time limits ours."""
    given = request.extensions.get("timeout") or {}
    limits = {name: given.get(name) or patience.timeout for name in ("connect", "read", "write", "pool")}
    request.extensions["timeout"] = {name: min(limit, patience.timeout) for name, limit in limits.items()}


def _refuse(response: Any) -> None:
    """Stop at an answer that the hub's client would wait on for long, or begin a file again for ever because of."""
    if response.status_code in BUSY:
        raise TransientError(words_of_status(response.status_code), _retry_after(response.headers))
    begin = str(response.request.headers.get("range") or "").removeprefix("bytes=").partition("-")[0]
    if response.status_code == 200 and begin.isdigit() and int(begin) > 0:
        raise TransientError("the connection broke off, and the server cannot resume a file")


def words_of_status(status: int) -> str:
    """A status as the end of a sentence."""
    if status == 429:
        return "the server answers 429, too many requests"
    return f"the server answers with status {status}"


def _retry_after(headers: Any) -> float | None:
    """Seconds that a server asks to wait: Retry-After as a number or a date, or the hub's own rate limit header."""
    import email.utils
    import re
    import time

    value = str(headers.get("retry-after") or "").strip()
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    if value:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    left = re.search(r"\br=0\b.*\bt=(\d{1,9})\b", str(headers.get("ratelimit") or ""))
    return float(left[1]) if left else None


def _translated(request: Any) -> Any:
    """``client.request``, used for listings and metadata, with failures that the hub's client does not try again."""

    def bounded(*args: Any, **kwargs: Any) -> Any:
        try:
            return request(*args, **kwargs)
        except Exception as error:
            if is_unreached(error):
                raise TransientError(unreached_words(error)) from error
            raise

    return bounded


def unreached_words(error: BaseException) -> str:
    """What a failure of the network is, as the end of a sentence."""
    from huggingface_hub import constants

    name = type(error).__name__
    if "Timeout" in name:
        return f"no answer from {constants.ENDPOINT} in time ({name})"
    if name in ("ReadError", "RemoteProtocolError"):
        return f"the connection to {constants.ENDPOINT} broke off ({name})"
    return f"no answer from {constants.ENDPOINT} ({name})"
