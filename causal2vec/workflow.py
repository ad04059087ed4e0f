"""What every workflow script shares: a log, and errors in one sentence."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError
from causal2vec.gpus import claim_gpus


@contextlib.contextmanager
def job(snakemake: Any, *imports: str) -> Iterator[Any]:
    """Log to the rule's log file; end a `UserError` with one sentence on stderr instead of a traceback.

    A job that asks for GPUs (``resources: gpu``) gets GPUs of its own, see `claim_gpus`. Progress bars stay on the
    terminal. The log of any other failure holds its traceback; set ``CAUSAL2VEC_TRACEBACK=1`` to get one for a
    `UserError` too.

    Args:
        snakemake: The object that Snakemake gives a script.
        imports: Large modules that the job will need, see `import_fast`.
    """
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log, mode="w", encoding="utf-8")
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(asctime)s %(name)s %(message)s", force=True)
    try:
        import_fast(*imports)
        with claim_gpus(int(snakemake.resources.get("gpu", 0) or 0)):
            yield snakemake
    except UserError as error:
        asked = bool(os.environ.get("CAUSAL2VEC_TRACEBACK"))
        logging.getLogger(__name__).error(traceback.format_exc() if asked else str(error))
        sys.stderr.write(f"error: {error} (log: {log})\n")
        sys.exit(1)
    except Exception:
        logging.getLogger(__name__).error(traceback.format_exc())
        raise


def import_fast(*modules: str) -> None:
    """Import modules without looking for garbage: in the many objects that they make there is none.

    Looking for it takes a fifth of the time, and would again whenever the job collects; so all that is there now is
    set aside for good.
    """
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()
