"""The stages, each in a process of its own that is killed at its limit: a fault of one takes no other with it."""

from __future__ import annotations

import importlib
import os
import time
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from causal2vec.bench.gpu.report import Report
from causal2vec.bench.gpu.shapes import FULL, Size
from causal2vec.bench.gpu.stage import Note, Record, Stage
from causal2vec.errors import UserError, hint, one_line
from causal2vec.runtime.machine import process_context

MINUTES = 8.0

PRELOADED = ["causal2vec.bench.gpu.preload"]


class Plan(NamedTuple):
    """A stage: the function that it is, and its part of the time."""

    name: str
    function: str
    part: float


STAGES = (
    Plan("vectors", "causal2vec.bench.gpu.checks.vectors", 60),
    Plan("learning", "causal2vec.bench.gpu.learning.steps", 30),
    Plan("encode", "causal2vec.bench.gpu.encoding.encode_drawn", 27),
    Plan("long", "causal2vec.bench.gpu.encoding.encode_long", 18),
    Plan("shared", "causal2vec.bench.gpu.encoding.encode_shared", 24),
    Plan("training", "causal2vec.bench.gpu.training.step", 90),
    Plan("efficiency", "causal2vec.bench.gpu.efficiency.study", 40),
)
"""The most telling first. What one does not need of its time is shared by those behind it, in proportion."""


def measure(
    output: Path,
    only: str | None = None,
    minutes: float = MINUTES,
    *,
    size: Size = FULL,
    stages: Iterable[Plan] = STAGES,
) -> Report:
    """Run stages one after the other; each result is written as soon as it is there.

    Args:
        output: The folder to write to.
        only: Names of stages, separated by commas; None: all.
        minutes: For all of them together.
        size: What is measured.
        stages: Those that there are.

    Raises:
        UserError: There is no such stage, or no GPU.
    """
    chosen = _chosen(only, list(stages))
    _check_gpu(size)
    report = Report(output, size)
    end = time.monotonic() + 60 * minutes
    _context(size.cuda)
    for number, plan in enumerate(chosen):
        left = sum(later.part for later in chosen[number:])
        seconds = plan.part / left * (end - time.monotonic())
        start = time.monotonic()
        report.say(f"{plan.name}: {seconds:.0f} s at most")
        fault = in_process(plan, size, seconds, report.take)
        if fault:
            report.take(Note(plan.name, fault))
        report.say(f"{plan.name}: {'ended early' if fault else 'done'} after {time.monotonic() - start:.0f} s")
    report.write()
    return report


def in_process(plan: Plan, size: Size, seconds: float, take: Callable[[Record], None]) -> str | None:
    """Run a stage; its records are taken as they come.

    Returns:
        Why it ended before it was done, in one sentence; None if it did not.
    """
    context = _context(size.cuda)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(plan.function, size, seconds, theirs))
    process.start()
    theirs.close()
    end = time.monotonic() + seconds
    try:
        while True:
            if not ours.poll(max(0.0, end - time.monotonic())):
                return f"The stage was stopped at its limit of {seconds:.0f} s; what it had found by then is kept."
            message = ours.recv()
            if message is None or isinstance(message, str):
                return message
            take(message)
    except (EOFError, ConnectionResetError):
        process.join(timeout=5)
        return f"The stage's process died (exit status {process.exitcode}), most likely for lack of memory."
    finally:
        process.kill()
        process.join()
        ours.close()


@cache
def _context(cuda: bool) -> Any:
    """Stages start from a server that has imported the libraries once, unless one of these has spoken to the GPU there:
    then its children cannot, and every stage imports for itself."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # else a question for a GPU speaks to it
    context = process_context(PRELOADED)
    trial = context.Process(target=_try, args=(cuda,))
    trial.start()
    trial.join(timeout=90)
    if trial.exitcode != 0:
        trial.kill()
        return process_context([], "cuda")
    return context


def _try(cuda: bool) -> None:
    import torch

    torch.zeros(1, device="cuda" if cuda else "cpu")


def _work(function: str, size: Size, seconds: float, pipe: Any) -> None:
    """The child: the function's records, then None, or a sentence if it failed."""
    try:
        _prepare(size)
        module, _, name = function.rpartition(".")
        getattr(importlib.import_module(module), name)(Stage(size, pipe.send, seconds))
        pipe.send(None)
    except Exception as error:
        traceback.print_exc()
        pipe.send(_sentence(error))


def _sentence(error: Exception) -> str:
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return f"The stage ran out of memory ({one_line(error)[:160]})."
    return f"The stage failed: {type(error).__name__}: {one_line(error)[:300]}"


def _prepare(size: Size) -> None:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if not size.cuda:
        torch.set_num_threads(1)


def _chosen(only: str | None, stages: list[Plan]) -> list[Plan]:
    names = [plan.name for plan in stages]
    asked = names if only is None else [name.strip() for name in only.split(",")]
    for name in asked:
        if name not in names:
            raise UserError(
                f"--only has '{name}', which is no stage{hint(name, names)}; name some of {', '.join(names)}"
            )
    return [plan for plan in stages if plan.name in asked]


def _check_gpu(size: Size) -> None:
    from causal2vec.runtime.gpus import local_gpus

    if size.cuda and not local_gpus():
        raise UserError("--gpu finds no NVIDIA GPU on this machine; add --tiny for a trial on the processor")
