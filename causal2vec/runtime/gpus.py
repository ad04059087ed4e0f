"""The GPUs of this machine, counted without importing torch, and one of them for each job."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from causal2vec.errors import UserError
from causal2vec.runtime.locks import try_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
_WAIT = 2.0
"""Seconds between two looks for a free GPU."""

logger = logging.getLogger(__name__)


def local_gpus() -> int:
    """How many GPUs there are for us: those that CUDA_VISIBLE_DEVICES names, else all of this machine."""
    return len(visible_gpus())


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """The GPUs that a process started now would see, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get(VISIBLE)
    if named is None:
        return [str(index) for index in range(len(list(devices.glob("nvidia[0-9]*"))))]
    found: list[str] = []
    for name in (part.strip() for part in named.split(",")):
        if not name or name.startswith("-"):
            break  # CUDA, too, ends the list at the first name that is none
        found.append(name)
    return found


@contextlib.contextmanager
def claim_gpus(count: int, folder: Path | None = None, devices: Path = Path("/dev")) -> Iterator[list[str]]:
    """Take ``count`` GPUs that no other job of this user has on this machine; wait until so many are free.

    Snakemake gives no GPU to a job of its own. Here each GPU is an exclusive lock on a file, and CUDA_VISIBLE_DEVICES
    names the GPUs whose locks the job got; it must not have used CUDA before. The kernel drops a lock when its
    process ends, however that happens. Jobs wait in a queue, so that one that wants all GPUs gets them.

    Nothing is done where a scheduler has chosen the GPUs already (inside a Slurm job that sees no more than it asked
    for), where none are asked for, or where there are none that can be counted (torch then says what is wrong).

    Args:
        count: How many.
        folder: Where the lock files lie; one per user (and Slurm job) in the temporary folder if not given.
        devices: Where the device files lie.

    Yields:
        The names of the GPUs, or nothing where nothing was done.

    Raises:
        UserError: More are asked for than there are.
    """
    there = visible_gpus(devices)
    scheduled = bool(os.environ.get("SLURM_JOB_ID")) and len(there) <= count
    if count < 1 or not there or scheduled:
        yield []
        return
    if count > len(there):
        raise UserError(
            f"this job asks for {count} GPUs, but this machine has {len(there)} for it "
            f"({VISIBLE}: {os.environ.get(VISIBLE, 'not set')}); lower distributed.processes, or run it on a cluster"
        )
    before = os.environ.get(VISIBLE)
    with contextlib.ExitStack() as held:
        mine = _take(there, count, folder or _folder(), held)
        os.environ[VISIBLE] = ",".join(mine)
        logger.info("this job has GPU %s", os.environ[VISIBLE])
        try:
            yield mine
        finally:
            if before is None:
                del os.environ[VISIBLE]
            else:
                os.environ[VISIBLE] = before


def _folder() -> Path:
    """One per user, and per Slurm job: there a GPU's number counts from 0 in each job."""
    job = os.environ.get("SLURM_JOB_ID")
    return Path(tempfile.gettempdir()) / f"causal2vec-gpus-{os.getuid()}{f'-slurm{job}' if job else ''}"


def _take(there: list[str], count: int, folder: Path, held: contextlib.ExitStack) -> list[str]:
    """Lock ``count`` of the GPUs; only the first in the queue looks for free ones, so that nobody starves."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine: list[str] = []
    told = False
    with contextlib.ExitStack() as queue:
        while not _lock(folder / "queue.lock", queue):
            told = told or _tell(count, len(there))
            time.sleep(_WAIT)
        while True:
            for name in there:
                if len(mine) < count and name not in mine and _lock(folder / f"{name.replace('/', '_')}.lock", held):
                    mine.append(name)
            if len(mine) == count:
                return sorted(mine, key=there.index)
            told = told or _tell(count, len(there))
            time.sleep(_WAIT)


def _lock(path: Path, held: contextlib.ExitStack) -> bool:
    """Try to lock a file until ``held`` is closed."""
    try:
        held.enter_context(try_lock(path) or contextlib.nullcontext())
    except BlockingIOError:
        return False
    return True


def _tell(count: int, total: int) -> bool:
    message = f"waiting until {count} of {total} GPUs are free; other jobs of yours have them"
    logger.info(message)
    sys.stderr.write(f"{message}\n")
    return True
