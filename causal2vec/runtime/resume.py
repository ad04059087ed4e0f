"""What a run does first in a folder where an earlier one may have been killed, or another may be at work.

One run at a time for each study; several studies may run at once, as no two of them make the same file. Snakemake's own
lock survives a kill and then wants ``--unlock`` by hand, and a run that ends would remove the locks of the others; ours
is the kernel's, which ends with its process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import IO

from causal2vec.errors import UserError
from causal2vec.runtime import seals
from causal2vec.runtime.files import DRAFT, SETTLED, read_record, remove_draft, write_record
from causal2vec.runtime.folders import SHARED, Folders
from causal2vec.runtime.locks import InUseError, alone, take

SNAKEMAKE = Path(".snakemake")


def kept(study: str, ending: str) -> Path:
    """A file of ours in Snakemake's folder.

    ``lock``: held while a run of the study is at work. ``running``: there until it has ended by itself. ``failures``:
    what its jobs that failed have said, a line each. ``scratch``: names the folders for temporary files of Snakemake's
    own that a kill may have left behind.
    """
    return SNAKEMAKE / f"causal2vec.{study}.{ending}"


_held: list[IO[str]] = []


def begin_run(folders: Folders, scratch: Path) -> None:
    """Take the study, clear what a killed run left, and move damaged artefacts aside, so that they are made anew.

    Args:
        folders: The study's.
        scratch: This run's folder for temporary files, which Snakemake removes unless it is killed.

    Raises:
        UserError: Another run of the study is at work here, or a folder cannot be written.
    """
    results, work = folders.results, folders.work
    for place in (Path.cwd(), SNAKEMAKE, results.parent, work.parent, results, work, SHARED):
        if place.exists() and not os.access(place, os.W_OK):
            raise UserError(
                f"{place.absolute()} cannot be written by user {os.geteuid()}: its disk is read-only, or its "
                "permissions forbid it; make it writable, or work in another folder (--directory)"
            )
    with alone(kept("any", "begins"), lambda: None):
        try:
            lock = take(kept(folders.study, "lock"))
        except InUseError as error:
            raise UserError(
                f"another run of the study {folders.study} is at work in {Path.cwd()} ({error}); wait until it has "
                "ended, or give this one a name of its own (--config study=NAME)"
            ) from error
        if lock is not None:
            _held.append(lock)
            _leave_out_snakemakes_lock()
            _take_over(folders, scratch)
    for artefact in seals.sealed(folders):
        if not artefact.exists():
            seals.unseal(artefact)
        elif problem := seals.damage(artefact, thorough=False):
            aside = seals.set_aside(artefact)
            sys.stderr.write(f"{artefact} is damaged: {problem}; it was moved to {aside} and is made anew\n")


def _leave_out_snakemakes_lock() -> None:
    """As ``--nolock`` does; what could be set is not there yet while the Snakefile is read."""
    from snakemake.persistence import PersistenceBase

    PersistenceBase.lock = PersistenceBase.noop


def _take_over(folders: Folders, scratch: Path) -> None:
    """What is to be done once nobody else is at work on the study."""
    running = kept(folders.study, "running")
    kept(folders.study, "failures").unlink(missing_ok=True)
    _clear_scratch(kept(folders.study, "scratch"), scratch)
    clear(folders) if running.exists() else drop_settled(folders)
    running.touch()
    atexit.register(_ended, running, os.getpid())


def _ended(running: Path, pid: int) -> None:
    if os.getpid() == pid:  # no process that was forked from it
        running.unlink(missing_ok=True)


def note_failure(study: str, sentence: str) -> None:
    """Keep a job's last word for the end of the run: Snakemake says much after it."""
    with contextlib.suppress(OSError), kept(study, "failures").open("a", encoding="utf-8") as file:
        file.write(f"{sentence}\n")


def repeat_failures(study: str) -> None:
    """Let the sentences of all jobs that failed be the last that a run says."""
    with contextlib.suppress(OSError):
        said = dict.fromkeys(kept(study, "failures").read_text(encoding="utf-8").splitlines())
        atexit.register(sys.stderr.write, "".join(f"{line}\n" for line in said))


def drop_settled(folders: Folders) -> None:
    """Remove the folders of works in progress whose results are there, and which Snakemake has taken note of."""
    for path in folders.state.glob(f"*/*/{SETTLED}"):
        record = read_record(path)
        if record is not None and Path(record["output"]).exists():
            for other in path.parent.iterdir():
                if other != path:  # which says that the others may go
                    shutil.rmtree(other) if other.is_dir() else other.unlink()
            shutil.rmtree(path.parent)


def _clear_scratch(known: Path, mine: Path) -> None:
    """Remove dead runs' temporary folders of Snakemake's. Ours is named first, so that no kill lets it be forgotten."""
    record = read_record(known) or {"folders": []}
    write_record(known, {"folders": [*record["folders"], str(mine)]})
    for folder in record["folders"]:
        if Path(folder).name.startswith("snakemake"):
            shutil.rmtree(folder, ignore_errors=True)
    write_record(known, {"folders": [str(mine)]})


def clear(folders: Folders) -> None:
    """Remove what a dead run of the study left: drafts, and Snakemake's copies of scripts, which name its folders."""
    for path in (SNAKEMAKE / "scripts").glob("tmp*"):
        if f"{folders.work}/".encode() in path.read_bytes():
            path.unlink(missing_ok=True)
    for top in (folders.results, folders.work, SHARED):
        for path in top.rglob(f".*{DRAFT}*"):
            remove_draft(path)
