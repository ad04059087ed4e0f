"""The hub's client with an end to every wait, without retries of its own, and why a download failed, in words."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import logging
import re
import time
from collections.abc import Iterator
from typing import Any, Literal

from causal2vec.errors import chain
from causal2vec.fetch.retry import Patience, TransientError
from causal2vec.runtime.secrets import MaskingFormatter, mask

Kind = Literal["model", "dataset"]

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


def as_transient(error: Exception) -> TransientError | None:
    """The same failure as one that may be tried again; None if that would change nothing."""
    for cause in chain(error):
        if isinstance(cause, TransientError):
            return TransientError(str(cause), cause.wait)  # a new one, so that `raise ... from` makes no circle
        if is_unreached(cause):
            return TransientError(unreached_words(cause))
        if "Consistency check failed" in str(cause):
            return TransientError("a file came with another length than the server had said")
    return None


def reason(error: Exception, kind: Kind) -> str:
    """Why a download failed and what to do, without secrets: the end of a sentence that begins with the repository."""
    return mask(_reason(error, kind))


def _reason(error: Exception, kind: Kind) -> str:
    from huggingface_hub import constants, errors, get_token

    full = next((e for e in chain(error) if getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT)), None)
    if full or "No space left on device" in str(error):
        return (
            f"does not fit on the disk of {constants.HF_HUB_CACHE}; make room, or set HF_HOME to a folder on a "
            "larger disk, and run the same command again: it goes on from where it stopped"
        )
    if isinstance(error, errors.GatedRepoError):
        if get_token():
            return f"is gated, and your token has no access; accept the licence on the {kind}'s page with its account"
        return f"is gated; accept the licence on the {kind}'s page and set HF_TOKEN to a token of your account"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"is not on the hub: the {kind} is there, but has no such revision; correct the revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"is not on the hub: there is no such {kind}, or it is private; correct the name, or set HF_TOKEN"
    if isinstance(error, PermissionError):
        return f"cannot be stored: {error.filename} is not writable; set HF_HOME to a folder of your own"
    return _reason_of_transport(error)


def _reason_of_transport(error: Exception) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.HFValidationError):
        return f"is no name of a repository ({_first_line(error)}); write organisation/name"
    if constants.HF_HUB_OFFLINE:
        return (
            "is not in the cache, or not all of it, and HF_HUB_OFFLINE is set; run `snakemake fetch` where there is "
            "a network, with the HF_HOME that is set here"
        )
    if isinstance(error, TransientError):
        return f"cannot be downloaded: {error}; {_remedy(error)}"
    if any(isinstance(c, errors.FileMetadataError) or "JSONDecodeError" in type(c).__name__ for c in chain(error)):
        return (
            f"cannot be downloaded: {constants.ENDPOINT} answers with a page instead of data, as a login or proxy page "
            "does; log in to the network, or correct HF_ENDPOINT or HTTPS_PROXY"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"cannot be downloaded: the hub answers with status {status} ({_first_line(error)}); try again later"
    return f"cannot be downloaded ({type(error).__name__}: {_first_line(error)}); run the same command again"


def _remedy(error: TransientError) -> str:
    text = str(error)
    if " 429," in text:
        return "wait some minutes and run the same command again, or set HF_TOKEN for a higher limit"
    if "status" in text or "another length" in text:
        return "run the same command again later, or set HF_ENDPOINT to another mirror"
    return "check the network, or set HF_ENDPOINT, and run the same command again"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:160]
