"""Run under torchrun by tests/training/test_distributed.py: several jobs, one after the other, in the same processes.

A job whose path follows ``stopped:`` is stopped first, by a signal to the last process alone, and then resumed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from causal2vec.errors import UserError
from causal2vec.training import ranks, trainer
from causal2vec.training.job import read_job
from causal2vec.training.launch import perform


def stop_at(step: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Send the last process a signal in the middle of a step of the next training."""

    def check(loss: float, now: int) -> None:
        if now == step and ranks.rank() == ranks.world_size() - 1:
            os.kill(os.getpid(), number)

    trainer.check_finite = check


if __name__ == "__main__":
    original = trainer.check_finite
    for word in sys.argv[1:]:
        job = read_job(Path(word.removeprefix("stopped:")))
        if word.startswith("stopped:"):
            stop_at(3)
            try:
                perform(job)
            except UserError as error:
                sys.stderr.write(f"error: {error}\n")
            trainer.check_finite = original
            if os.environ.get("STOP_FOR_GOOD"):
                sys.exit(1)
        perform(job)
    ranks.leave()
