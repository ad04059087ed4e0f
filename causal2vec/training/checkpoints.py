"""Checkpoints that are whole or do not count, written in time when a training is told to stop.

The trainer writes a checkpoint's files one by one. A last file, which lists the others, makes it count, so that a kill
in the middle spoils nothing; the checkpoint before is removed only after that. A time limit, preemption, ``scancel`` or
Ctrl-C first has a checkpoint written.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerState

from causal2vec.errors import StoppedError
from causal2vec.runtime.files import read_record, sha256_file, write_record
from causal2vec.runtime.signals import ends_by_itself
from causal2vec.training import ranks

MARK = "whole.json"
"""Lists a checkpoint's files with their sizes in bytes and SHA-256; written last."""

KEEP = 2
"""Checkpoints to keep (``save_total_limit``): the newest may not be whole yet."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What asks a training to stop: Slurm before the end of time and at preemption, other schedulers by USR1, a user."""

PATIENCE = 5.0
"""Seconds for the step to end by itself. A longer step of a single process is broken off, and the checkpoint is of the
step before: a scheduler waits ten seconds or so before it kills."""


def mark_whole(checkpoint: Path) -> None:
    """Say that a checkpoint is complete, once all of its files are on disk."""
    files = {}
    for path in sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != MARK):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.relative_to(checkpoint).as_posix()] = [path.stat().st_size, sha256_file(path)]
    write_record(checkpoint / MARK, {"files": files})


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint has its mark, and every file that the mark lists, byte by byte."""
    record = read_record(checkpoint / MARK)
    return record is not None and all(
        (checkpoint / name).is_file()
        and (checkpoint / name).stat().st_size == size
        and sha256_file(checkpoint / name) == checksum
        for name, (size, checksum) in record["files"].items()
    )


def last_checkpoint(state: Path) -> str | None:
    """The newest whole checkpoint in a training's state folder; broken ones are removed.

    Returns:
        Its path as transformers' trainer wants it for ``resume_from_checkpoint``; ``None`` where there is none.
    """
    found = [path for path in state.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    for path in sorted(found, key=step_of, reverse=True):
        if is_whole(path):
            return str(path)
        shutil.rmtree(path, ignore_errors=True)
    return None


def step_of(checkpoint: Path | str) -> int:
    """The number of steps that were done when a checkpoint was written."""
    return int(Path(checkpoint).name.rpartition("-")[2])


class _BrokenOffError(BaseException):
    """A step takes too long. No `Exception`, so that nobody between here and `stopping` takes it for his own."""


def train(trainer: Any, checkpoint: str | None) -> None:
    """``trainer.train`` of any transformers trainer, from a checkpoint if there is one, stopped by a signal.

    Raises:
        StoppedError: A signal came; a checkpoint is written, and the same call with it goes on from there.
    """
    if checkpoint and step_of(checkpoint) >= trainer.args.max_steps:
        # Killed between the last step and the end: the trainer would take a step more.
        trainer._load_from_checkpoint(checkpoint)
        trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        return
    watch = SignalCheckpoint()
    trainer.add_callback(watch)
    with watch.stopping(trainer):
        trainer.train(resume_from_checkpoint=checkpoint)


class SignalCheckpoint(TrainerCallback):
    """After a signal: finish the step, write a checkpoint, stop. Also marks every checkpoint as whole.

    With several processes a signal to one is a signal to all: they agree after every step, so that all stop at
    the same one.
    """

    def __init__(self) -> None:
        self._received = 0
        self._armed = False
        self._may_break_off = False
        self._randomness: Any = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From here on a step changes nothing that lasts but the random generators, whose states are kept."""
        if ranks.world_size() == 1:
            self._randomness = _randomness()
            self._may_break_off = True
            if self._received:  # the signal came between two steps, after the last chance to stop
                self._break_off(signal.SIGALRM, None)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Weights are about to change: that is finished."""
        self._may_break_off = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After a signal: a checkpoint, and no further step. The last step has one, too: then comes the saving."""
        self._received = int(ranks.largest(self._received))
        if state.global_step >= state.max_steps:
            control.should_save = True
        elif self._received:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The trainer has written a checkpoint's files: every rank its own, so that all must be done."""
        ranks.largest(0)
        if state.is_world_process_zero:
            mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    @contextlib.contextmanager
    def stopping(self, trainer: Any) -> Iterator[None]:
        """Listen for signals while ``trainer.train`` runs in this block.

        Raises:
            StoppedError: The training was stopped by a signal; its checkpoint is written.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._receive) for number in SIGNALS}
            before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._break_off)
        try:
            yield
        except _BrokenOffError:
            _restore(self._randomness)
            trainer.optimizer.zero_grad()
            self._save_as_it_was(trainer)
        finally:
            if self._armed:
                signal.setitimer(signal.ITIMER_REAL, 0)
            stopped = self._received and trainer.state.global_step < trainer.state.max_steps
            if stopped:  # Snakemake's own signal may follow that of a terminal or a scheduler any moment
                ends_by_itself(self._received)
            for listened, handler in before.items():
                signal.signal(listened, handler)
        if stopped:
            name, step = signal.Signals(self._received).name, trainer.state.global_step
            raise StoppedError(
                f"stopped by {name} at step {step} of {trainer.state.max_steps}; the same command goes on from there",
                self._received,
            )

    def _save_as_it_was(self, trainer: Any) -> None:
        """A checkpoint of the step before, unless there is one, or nothing has been learnt yet."""
        step = trainer.state.global_step
        if step and not (Path(trainer.args.output_dir) / f"checkpoint-{step}").exists():
            trainer._save_checkpoint(trainer.model, trial=None)
            self.on_save(trainer.args, trainer.state, trainer.control)

    def _receive(self, number: int, frame: Any) -> None:
        if not self._received:
            self._received = number
            if ranks.world_size() == 1:
                self._armed = True
                signal.setitimer(signal.ITIMER_REAL, PATIENCE, 0.5)

    def _break_off(self, number: int, frame: Any) -> None:
        """The alarm; it rings again and again until the step may be broken off."""
        if self._may_break_off:
            self._may_break_off = False
            raise _BrokenOffError


def _randomness() -> Any:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _restore(states: Any) -> None:
    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
