"""Why a download failed, in words: the end of a sentence that begins with the repository."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Literal

from causal2vec.fetch.client import is_unreached, unreached_words
from causal2vec.fetch.retry import TransientError
from causal2vec.runtime.secrets import mask

Kind = Literal["model", "dataset"]


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, each once: causes can go round in a circle."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__ or current.__context__


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
    """What is wrong and what to do, with no secret in it."""
    return mask(_reason(error, kind))


def _reason(error: Exception, kind: Kind) -> str:
    from huggingface_hub import constants, errors

    full = next((e for e in chain(error) if getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT)), None)
    if full or "No space left on device" in str(error):
        return (
            f"does not fit on the disk of {constants.HF_HUB_CACHE}; make room, or set HF_HOME to a folder on a "
            "larger disk, and run the same command again: it goes on from where it stopped"
        )
    if isinstance(error, errors.GatedRepoError):
        if _has_token():
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
    if any(isinstance(cause, errors.FileMetadataError) or _is_no_json(cause) for cause in chain(error)):
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


def _is_no_json(error: BaseException) -> bool:
    return "JSONDecodeError" in type(error).__name__


def _has_token() -> bool:
    from huggingface_hub import get_token

    return bool(os.environ.get("HF_TOKEN") or get_token())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:160]
