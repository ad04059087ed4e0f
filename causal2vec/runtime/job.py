"""What every workflow script shares: a log, errors in one sentence, and artefacts that are what they were."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import logging
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from causal2vec.errors import UserError, explained
from causal2vec.runtime import seals
from causal2vec.runtime.files import sha256_json
from causal2vec.runtime.folders import UNNAMED, Folders
from causal2vec.runtime.gpus import claim_gpus
from causal2vec.runtime.locks import alone
from causal2vec.runtime.resume import note_failure
from causal2vec.runtime.secrets import MaskingFormatter, mask
from causal2vec.runtime.signals import ending_on_signals

LESS_MEMORY = {
    "train_model": "lower budget.mini_batch_size or set budget.gradient_checkpointing",
    "pretrain_mntp": "lower mntp.batch_size",
    "pretrain_simcse": "lower simcse.batch_size",
    "pretrain_alignment": "lower alignment.batch_size",
    "evaluate_model": "lower evaluation.batch_tokens",
    "measure_efficiency": "lower efficiency.max_tokens",
}
"""What a job of a rule can be told to take less memory."""


def folders_of(snakemake: Any) -> Folders:
    """The folders of the study that a job is of; a job of no workflow is of the unnamed one."""
    return Folders(getattr(snakemake, "config", {}).get("study", UNNAMED))


def state_of(snakemake: Any, stage: str, *more: str) -> Path:
    """Where a job keeps unfinished work: another folder for other parameters, or for what else decides the result."""
    identity = [snakemake.output[0], dict(snakemake.params.items()), *more]
    return folders_of(snakemake).state / stage / sha256_json(identity)[:16]


@contextlib.contextmanager
def job(snakemake: Any, *imports: str) -> Iterator[Any]:
    """Log to the rule's log file; end a `UserError` with one sentence on stderr instead of a traceback.

    What the job reads is compared with its checksums first, and what it has made gets one
    (`causal2vec.runtime.seals`). Nobody else makes the same meanwhile: a second process waits. A job that asks for
    GPUs (``resources: gpu``) gets GPUs of its own, see `claim_gpus`. Progress bars stay on the terminal. The log of
    any other failure holds its traceback; set ``CAUSAL2VEC_TRACEBACK=1`` to get one for a `UserError` too.

    Args:
        snakemake: The object that Snakemake gives a script.
        imports: Large modules that the job will need, see `import_fast`.
    """
    log, outputs = Path(snakemake.log[0]), [Path(path) for path in snakemake.output]
    folders = folders_of(snakemake)
    what = f"{snakemake.rule} of {outputs[0]}" if outputs else snakemake.rule
    with ending_on_signals(what), _explaining(snakemake, folders), alone(log, lambda: _say_waiting(what)):
        handler = logging.FileHandler(log, mode="w", encoding="utf-8")
        handler.setFormatter(MaskingFormatter("%(asctime)s %(name)s %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        for path in outputs:
            seals.unseal(path)
        for path in snakemake.input:
            _refuse_damaged(Path(path))
        with _scratch(log):
            import_fast(*imports)
            with claim_gpus(int(snakemake.resources.get("gpu", 0) or 0)):
                yield snakemake
        for path in outputs:
            if path.exists() and not seals.is_sealed(path):
                seals.seal(path)


@contextlib.contextmanager
def _explaining(snakemake: Any, folders: Folders) -> Iterator[None]:
    """End an error with a sentence where there is one for it."""
    log, rule = Path(snakemake.log[0]), snakemake.rule
    try:
        yield
    except Exception as error:
        places = [*(Path(path).parent for path in snakemake.output), folders.state, Path(tempfile.gettempdir())]
        known = error if isinstance(error, UserError) else explained(error, places, memory=LESS_MEMORY.get(rule, ""))
        asked = bool(os.environ.get("CAUSAL2VEC_TRACEBACK"))
        with contextlib.suppress(OSError):  # the disk may be full
            logging.getLogger(__name__).error(traceback.format_exc() if asked or not known else str(known))
        if known is None:  # Python's own words would not be masked
            sys.stderr.write(mask(traceback.format_exc()))
            sys.exit(1)
        note_failure(folders.study, f"error: {mask(str(known))} (log: {log})")
        # A progress bar may stand on the line.
        sys.stderr.write(f"\nerror: {mask(str(known))} (log: {log})\n")
        sys.exit(known.status or 1)


def _say_waiting(what: str) -> None:
    sys.stderr.write(f"{what}: another process is making the same; waiting for it to end\n")


def _refuse_damaged(path: Path) -> None:
    """Move a damaged input out of the way, so that the next run makes it anew.

    Raises:
        UserError: It is not what was made; or another job has found that before.
    """
    if not path.exists() and seals.is_sealed(path):
        raise UserError(f"{path} is gone, though it had been made; run the same command again to have it made anew")
    if problem := seals.damage(path):
        aside = seals.set_aside(path)
        raise UserError(
            f"{path} is damaged: {problem}; it was moved to {aside}, run the same command again to have it made anew"
        )


@contextlib.contextmanager
def _scratch(log: Path) -> Iterator[None]:
    """A folder of this job's own for temporary files, in the usual place; what a killed try left there is removed."""
    name = hashlib.sha256(str(log.absolute()).encode()).hexdigest()[:10]
    folder = Path(tempfile.gettempdir()) / f"c2v-{os.geteuid()}-{name}"  # short: it may have to hold a socket
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before[0]
        os.environ.pop("TMPDIR") if before[1] is None else os.environ.update(TMPDIR=before[1])
        if any(folder.glob("pymp-*")):  # multiprocessing removes it at the very end, and wants to find it
            Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-200)
        else:
            shutil.rmtree(folder, ignore_errors=True)


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
