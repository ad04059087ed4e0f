"""What a run does first in a folder where an earlier one may have been killed, or another may be at work.

Snakemake's own lock survives a kill and then wants ``--unlock`` by hand; ours is the kernel's, which ends with its
process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import IO

from causal2vec import seals
from causal2vec.errors import UserError
from causal2vec.files import DRAFT, SETTLED, read_record, remove_draft, write_record
from causal2vec.locks import InUseError, take

LOCK = Path(".snakemake/causal2vec.lock")
FAILURES = Path(".snakemake/causal2vec.failures")
"""What the jobs of this run that failed have said, a line each."""
SCRATCH = Path(".snakemake/causal2vec.scratch")
"""Names the folders for temporary files of Snakemake's own that a kill may have left behind."""

_LOOKS_ONLY = {
    "--dry-run", "--dryrun", "--report", "--report-after-run", "--unlock", "--lint", "--list", "--list-rules",
    "--summary", "--detailed-summary", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--archive", "--help",
    "--version",
    "--list-input-changes", "--list-params-changes", "--list-code-changes", "--list-version-changes",
    "--list-target-rules", "--list-resources", "--list-untracked", "--print-compilation", "--cleanup-metadata",
    "--cleanup-shadow", "--containerize", "--touch",
}  # fmt: skip
_held: list[IO[str]] = []


def runs_jobs(words: list[str]) -> bool:
    """Whether a command line of Snakemake is one that makes something, and does not only look or tidy up."""
    for word in words:
        if word == "verify" or word.split("=")[0] in _LOOKS_ONLY:
            return False
        if word.startswith("-") and not word.startswith("--") and _looks_only(word[1:]):
            return False
    return True


def _looks_only(letters: str) -> bool:
    """Whether short options such as ``kn`` have one that only looks; what follows one with a value is its value."""
    for letter in letters:
        if letter in "nlSDht":
            return True
        if letter not in "kFfpiqr":
            return False
    return False


def begin_run(scratch: Path) -> None:
    """Take the folder, clear what a killed run left, and move damaged artefacts aside, so that they are made anew.

    Args:
        scratch: This run's folder for temporary files, which Snakemake removes unless it is killed.

    Raises:
        UserError: Another run is at work here, or the folder cannot be written.
    """
    for place in (Path.cwd(), Path(".snakemake"), Path("results"), Path("work")):
        if place.exists() and not os.access(place, os.W_OK):
            raise UserError(
                f"{place.absolute()} cannot be written by user {os.geteuid()}: its disk is read-only, or its "
                "permissions forbid it; make it writable, or work in another folder (--directory)"
            )
    try:
        lock = take(LOCK)
    except InUseError as error:
        raise UserError(
            f"another run is at work in {Path.cwd()} ({error}); wait until it has ended, or work in another folder "
            "(--directory)"
        ) from error
    if lock is not None:
        _held.append(lock)
        FAILURES.unlink(missing_ok=True)
        _clear_scratch(scratch)
        clear() if _was_killed() else drop_settled()
    for artefact in seals.sealed():
        if not artefact.exists():
            seals.unseal(artefact)
        elif problem := seals.damage(artefact, thorough=False):
            aside = seals.set_aside(artefact)
            sys.stderr.write(f"{artefact} is damaged: {problem}; it was moved to {aside} and is made anew\n")


def note_failure(sentence: str) -> None:
    """Keep a job's last word for the end of the run: Snakemake says much after it."""
    with contextlib.suppress(OSError), FAILURES.open("a", encoding="utf-8") as file:
        file.write(f"{sentence}\n")


def repeat_failures() -> None:
    """Let the sentences of all jobs that failed be the last that a run says."""
    with contextlib.suppress(OSError):
        said = dict.fromkeys(FAILURES.read_text(encoding="utf-8").splitlines())
        atexit.register(sys.stderr.write, "".join(f"{line}\n" for line in said))


def drop_settled() -> None:
    """Remove the folders of works in progress whose results are there, and which Snakemake has taken note of."""
    for path in Path("work/state").glob(f"*/*/{SETTLED}"):
        record = read_record(path)
        if record is not None and Path(record["output"]).exists():
            for other in path.parent.iterdir():
                if other != path:  # which says that the others may go
                    shutil.rmtree(other) if other.is_dir() else other.unlink()
            shutil.rmtree(path.parent)


def _was_killed() -> bool:
    """Snakemake removes its locks when it ends by itself, whether well or not."""
    return any(Path(".snakemake/locks").glob("*.lock"))


def _clear_scratch(mine: Path) -> None:
    """Remove dead runs' temporary folders of Snakemake's. Ours is named first, so that no kill lets it be forgotten."""
    record = read_record(SCRATCH) or {"folders": []}
    write_record(SCRATCH, {"folders": [*record["folders"], str(mine)]})
    for folder in record["folders"]:
        if Path(folder).name.startswith("snakemake"):
            shutil.rmtree(folder, ignore_errors=True)
    write_record(SCRATCH, {"folders": [str(mine)]})


def clear() -> None:
    """Remove a dead run's drafts, Snakemake's copies of scripts and its lock, which goes last: it says that it is dead.

    Nobody else is at work here.
    """
    for path in Path(".snakemake/scripts").glob("tmp*"):
        path.unlink(missing_ok=True)
    for top in ("results", "work"):
        for path in Path(top).rglob(f".*{DRAFT}*"):
            remove_draft(path)
    shutil.rmtree(".snakemake/locks", ignore_errors=True)
