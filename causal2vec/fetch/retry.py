"""Trying again where it may help: with pauses that grow, an end that is known beforehand, and a log that says so."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from causal2vec.errors import UserError
from causal2vec.runtime.secrets import mask

T = TypeVar("T")
_log = logging.getLogger(__name__)


class TransientError(Exception):
    """A failure that may be gone in a moment.

    Args:
        reason: What happened, as the end of a sentence.
        wait: Seconds that the server asks to wait (its Retry-After), if it does.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Patience:
    """How long a download is tried.

    ``tries`` at most; the pauses between them are ``pause`` seconds, then twice as long each time, at most
    ``longest``; a server may ask for more (Retry-After), up to ``obeyed`` seconds. An answer that takes more than
    ``timeout`` seconds to begin or to go on is none.
    """

    tries: int = 5
    pause: float = 2.0
    longest: float = 30.0
    obeyed: float = 300.0
    timeout: float = 30.0

    @classmethod
    def from_environment(cls) -> Patience:
        """The defaults, or what CAUSAL2VEC_FETCH_TRIES, _PAUSE, _LONGEST, _OBEYED and _TIMEOUT say.

        Raises:
            UserError: One of them is no positive number.
        """
        found = {}
        for name in ("tries", "pause", "longest", "obeyed", "timeout"):
            variable = f"CAUSAL2VEC_FETCH_{name.upper()}"
            if text := os.environ.get(variable, "").strip():
                found[name] = _positive(variable, text, whole=name == "tries")
        return cls(**found)  # type: ignore[arg-type]

    def pause_before(self, number: int, asked: float | None) -> float | None:
        """Seconds to wait before try ``number`` (from 2); None if the server asks for longer than is obeyed."""
        if asked is not None and asked > self.obeyed:
            return None
        return max(min(self.pause * 2.0 ** (number - 2), self.longest), asked or 0.0)


def _positive(variable: str, text: str, *, whole: bool) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e6:
        kind = "a whole number" if whole else "a number"
        raise UserError(f"{variable} is '{text}', but must be {kind} above 0; correct or unset it")
    return value


def retrying(what: str, attempt: Callable[[], T], patience: Patience) -> T:
    """What ``attempt`` returns, tried again as long as it raises `TransientError` and patience lasts.

    Raises:
        TransientError: The last one, if no try succeeded or the server asks for too long a pause; its text then also
            says how often was tried.
    """
    number = 1
    while True:
        try:
            return attempt()
        except TransientError as error:
            number += 1
            pause = patience.pause_before(number, error.wait)
            if pause is None:
                asked = f"{error} and asks to wait {error.wait:.0f} s, longer than the {patience.obeyed:.0f} s obeyed"
                raise TransientError(asked, error.wait) from error
            if number > patience.tries:
                times = "once" if patience.tries == 1 else f"{patience.tries} times"
                raise TransientError(f"{error} (tried {times})", error.wait) from error
            _log.warning("%s: %s; try %d of %d in %.3g s", what, mask(str(error)), number, patience.tries, pause)
            time.sleep(pause)
