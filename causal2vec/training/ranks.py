"""The processes of one training: who is who, and what they tell each other.

Without ``torchrun`` there is one process, rank 0 of 1, and nothing here talks to anybody.
"""

from __future__ import annotations

import datetime
import os
from typing import Any, TypeVar

from causal2vec.config import Distributed

Value = TypeVar("Value")

PATIENCE = datetime.timedelta(minutes=60)
"""How long a process waits for the others: rank 0 alone writes checkpoints, which may be slow on a shared disk."""


def world_size() -> int:
    """Number of processes of this training, as ``torchrun`` says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number; rank 0 writes the files."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def launched() -> Distributed | None:
    """How ``torchrun`` has spread this training; ``None`` for a process on its own. The strategy is not its to say."""
    if world_size() == 1:
        return None
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))
    return Distributed(nodes=world_size() // here, processes=here, strategy="ddp")


def join(device: str) -> None:
    """Meet the other processes: by gloo without GPUs, else by nccl, each process with the GPU of its number."""
    import torch

    if world_size() == 1 or _joined():
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)


def leave() -> None:
    """Take leave of the other processes."""
    import torch

    if _joined():
        torch.distributed.destroy_process_group()


def from_first(value: Value) -> Value:
    """Rank 0's value, on every rank."""
    import torch

    if not _joined():
        return value
    box: list[Any] = [value]
    torch.distributed.broadcast_object_list(box, src=0, device=_device())
    return box[0]


def largest(value: float) -> float:
    """The largest of all ranks' values, on every rank; nobody gets it before all have called."""
    import torch

    if not _joined():
        return value
    box = torch.tensor(value, dtype=torch.float64, device=_device())
    torch.distributed.all_reduce(box, op=torch.distributed.ReduceOp.MAX)
    return box.item()


def _joined() -> bool:
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _device() -> Any:
    """Where tensors must lie that this group's backend can send."""
    import torch

    on_gpu = torch.distributed.get_backend() == torch.distributed.Backend.NCCL
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
