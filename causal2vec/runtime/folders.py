"""Where the files of a study lie: the one place that knows.

A study has two folders of its own: ``results/NAME`` with what it is made for, and ``work/NAME`` with what it needs on
the way. What is the same for several studies is made once, in ``work/shared``, see `causal2vec.runtime.shared`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from causal2vec.errors import UserError

RESULTS, WORK = Path("results"), Path("work")
SHARED = WORK / "shared"

UNNAMED = "default"
"""The study of a configuration that names none."""

RESERVED = ("shared", "bench", "gpu")
"""Folders below ``results`` and ``work`` that belong to no study."""


@dataclass(frozen=True)
class Folders:
    """The folders of one study."""

    study: str

    @property
    def results(self) -> Path:
        """Models, scores, tables, figures, the report."""
        return RESULTS / self.study

    @property
    def work(self) -> Path:
        """All that is needed on the way."""
        return WORK / self.study

    @property
    def state(self) -> Path:
        """Works in progress: checkpoints, evaluated tasks."""
        return self.work / "state"

    @property
    def seals(self) -> Path:
        """Checksums of artefacts, see `causal2vec.runtime.seals`."""
        return self.work / "seals"

    @property
    def plan(self) -> Path:
        """What the study will cost."""
        return self.work / "plan"

    @property
    def calibration(self) -> Path:
        """What `snakemake calibrate` measured."""
        return self.work / "calibration.json"

    @property
    def benchmarks(self) -> Path:
        """Snakemake's benchmark files."""
        return self.work / "benchmarks"


def study_of(path: Path) -> Folders:
    """The study whose file this is; what several share, and files elsewhere, count as those of ``shared``."""
    own = len(path.parts) > 2 and path.parts[0] in (RESULTS.name, WORK.name)
    return Folders(path.parts[1] if own else SHARED.name)


def the_only(top: Path, needed: str, option: str) -> Path:
    """The one study's folder below ``results`` or ``work`` that holds a file or folder.

    Args:
        top: `RESULTS` or `WORK`.
        needed: What the folder must hold.
        option: The command-line option that names a folder, for messages.

    Raises:
        UserError: There is none, or more than one.
    """
    found = [path.parent for path in sorted(top.glob(f"*/{needed}")) if path.parent.name not in RESERVED]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{top} holds several studies ({', '.join(f.name for f in found)}); name one with {option}")
    raise UserError(f"{top} holds no study with {needed}; run 'snakemake' to make one, or name a folder with {option}")


HOME = SHARED / "home"


def have_home() -> None:
    """Let this process and its children live in ``work/shared/home`` if the home folder cannot be written.

    What the model hub's cache in the real one holds is still read from there. Call before libraries are imported.
    """
    home = Path("~").expanduser()
    if os.access(home, os.W_OK | os.X_OK):
        return
    hub = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface" / "hub"
    if not {"HF_HOME", "HF_HUB_CACHE"} & os.environ.keys() and os.access(hub, os.R_OK | os.X_OK):
        os.environ["HF_HUB_CACHE"] = str(hub)
    HOME.mkdir(parents=True, exist_ok=True)
    os.environ["HOME"] = str(HOME.absolute())
