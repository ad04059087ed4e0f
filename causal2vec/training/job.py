"""One training as a file can hold it, for the processes that share it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from causal2vec.config import Section
from causal2vec.config.prompts import Prompts
from causal2vec.config.runs import Run
from causal2vec.errors import UserError
from causal2vec.runtime.files import read_json

JOB, FAILURE = "job.json", "failure.json"
"""Files in the state folder: what is to be done, and the sentence of the process that failed first."""


class Job(Section):
    """What one training is told: its run, what it reads, where it writes, how it computes."""

    run: Run
    """Method, base, seed, and the budget that every trained method gets."""
    folders: dict[str, Path]
    """Model folder per part (``llm``, ``encoder``)."""
    pairs: Path
    """Folder with ``train.parquet`` and ``validation.parquet``."""
    prompts: Prompts
    output: Path
    """The model's folder; appears whole or not at all."""
    state: Path
    """Checkpoints; a training that was stopped goes on from there, if it has the same settings and inputs
    (`causal2vec.runtime.files.take_up`). Removed at the end."""
    device: str = "cpu"
    dtype: str = "float32"
    """Of the computation; the weights that learn are float32."""
    attention: str = "auto"
    """``compute.attention``."""
    threads: int = 1
    """Processor threads of each process."""
    validation: bool = False
    """Also measure retrieval within the validation pairs (for choosing settings)."""
    keep_state: bool = False
    """See `causal2vec.runtime.files.settle`."""


def read_job(path: Path) -> Job:
    """The job in a file.

    Raises:
        UserError: There is none.
    """
    try:
        return Job.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} is no job file; start the training again to have it written") from error
