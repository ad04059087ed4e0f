"""A training that is told to stop writes a checkpoint first: time limits, preemption, ``scancel``."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from causal2vec.errors import UserError
from causal2vec.training import ranks
from causal2vec.training.checkpoints import mark_whole

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What asks a training to stop: Slurm before the end of time and at preemption, other schedulers by USR1."""


class SignalCheckpoint(TrainerCallback):
    """For any transformers trainer: finish the step, write a checkpoint, stop. Also marks every checkpoint as whole.

    With several processes a signal to one is a signal to all: they agree after every step, so that all stop at
    the same one. The trainer's ``train`` then ends with a `UserError`;
    `causal2vec.training.checkpoints.last_checkpoint` finds where to go on.
    """

    def __init__(self) -> None:
        self._received = 0
        self._stopped: tuple[int, int] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Listen for signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After a signal: a checkpoint, and no further step. The last step ends the training anyway."""
        number = int(ranks.largest(self._received))
        if number and state.global_step < state.max_steps:
            self._stopped = (number, state.global_step)
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The trainer has written a checkpoint's files: every rank its own, so that all must be done."""
        ranks.largest(0)
        if state.is_world_process_zero:
            mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop listening.

        Raises:
            UserError: The training was stopped by a signal.
        """
        for listened, before in self._before.items():
            signal.signal(listened, before)
        if self._stopped:
            number, step = self._stopped
            raise UserError(
                f"stopped by {signal.Signals(number).name} at step {step} of {state.max_steps}; "
                "the same command goes on from there"
            )

    def _receive(self, number: int, frame: Any) -> None:
        self._received = number
