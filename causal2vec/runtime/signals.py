"""Being told to stop: Ctrl-C, a scheduler's SIGTERM, a terminal that closes.

A job ends with 128 and the signal's number, cleaning up behind it; a training writes a checkpoint first
(`causal2vec.training.checkpoints`). Snakemake's main process passes the signal on, waits for its jobs, and ends
likewise.
Whoever dies without a chance to do so (SIGKILL) leaves nobody behind: helpers end with their parents.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_SHELLS = {"sh", "bash", "dash", "ash", "ksh", "zsh"}
_received: list[int] = []
_ending: list[int] = []


def end_with_parent(parent: int | None = None) -> None:
    """Let this process, a helper, end within a second of whoever started it, whatever it is computing.

    Args:
        parent: Process ID of the starter, where the helper is its own child. It may have ended before the helper gets
            here, and then the helper's parent is another.
    """
    if not _watched:
        _watched.append(parent or os.getppid())
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    # Whoever this process was forked from may be a server that waits for it to end; loky's processes know no other.
    parent = multiprocessing.parent_process()
    known = getattr(parent, "_sentinel", None) is not None
    while os.getppid() == _watched[0] and not (known and parent and not parent.is_alive()):
        time.sleep(0.5)
    os._exit(1)


def ends_with_us() -> None:
    """For ``preexec_fn`` of a subprocess, which is told to stop when this thread ends (on Linux alone)."""
    if _prctl:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_watched: list[int] = []
_PR_SET_PDEATHSIG = 1
# Looked up here: between fork and exec there is no safe time for it.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@contextlib.contextmanager
def ending_on_signals(what: str) -> Iterator[None]:
    """Let a job that is told to stop end by `SystemExit`, so that it removes its drafts and gives back its locks.

    Only the first signal counts: Ctrl-C reaches a job twice, from the terminal and from Snakemake.

    Args:
        what: The job, for the sentence.
    """

    def stop(number: int, frame: Any) -> None:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        if _ending:
            return
        sys.stderr.write(f"{what} was stopped by {signal.Signals(number).name}; the same command goes on from there\n")
        raise SystemExit(128 + number)

    _ending.clear()
    before = _listen(stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ends_by_itself(number: int) -> None:
    """Say that this job was told to stop and is about to end with a sentence of its own: nothing may come between."""
    _ending.append(number)


def pass_on_signals() -> None:
    """Let Snakemake's main process hand a signal to its jobs, wait until they have ended, and start no more.

    Of itself it would let jobs run to their end after SIGTERM, which a scheduler does not wait for.
    """

    def stop(number: int, frame: Any) -> None:
        if not _received:
            _received.append(number)
            for job in _jobs():
                job.send_signal(number)
            raise KeyboardInterrupt

    _listen(stop)


def end_as_told() -> None:
    """End Snakemake's main process with 128 and the signal's number, if it was told to stop."""
    if _received:
        raise SystemExit(128 + _received[0])


def _listen(handler: Any) -> dict[signal.Signals, Any]:
    """Handle all signals but those that are ignored, as SIGHUP under nohup; what handled them before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _jobs() -> list[Any]:
    """The processes that this one has started, past the shells that hold them: a shell would die and leave its job."""
    import psutil

    found = []
    todo = psutil.Process().children()
    while todo:
        process = todo.pop()
        try:
            if Path(process.name()).name in _SHELLS:
                todo += process.children()
            else:
                found.append(process)
        except psutil.Error:  # ended meanwhile
            continue
    return found
