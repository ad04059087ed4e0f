"""A home folder for the libraries that keep their caches in one, where the user's own cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

from causal2vec.folders import SHARED

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
