"""The processes of one training: who is who, what they tell each other, and how they share an LLM's weights.

Without ``torchrun`` there is one process, rank 0 of 1, and nothing here talks to anybody.

Weights are split (FSDP) by PyTorch's ``fully_shard`` before the trainer sees the module: accelerate's way works on GPUs
only, and casts the adapters to bfloat16 where we keep what learns in float32.
"""

from __future__ import annotations

import datetime
import os
from typing import TYPE_CHECKING, Any, TypeVar

from causal2vec.config import Budget, Distributed
from causal2vec.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    """How ``torchrun`` has spread this training, whatever the strategy; ``None`` for a process on its own."""
    if world_size() == 1:
        return None
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))
    return Distributed(nodes=world_size() // here, processes=here, strategy="ddp")


def check_batch(budget: Budget, processes: int) -> None:
    """Refuse a batch that does not fall into equal shares.

    Raises:
        UserError: It does not.
    """
    if budget.batch_size % processes:
        raise UserError(
            f"budget.batch_size is {budget.batch_size}, which {processes} processes (distributed.nodes times "
            "distributed.processes) cannot share equally; make it a multiple of their number"
        )


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


def shard(module: nn.Module, device: str) -> None:
    """Split a module's weights over all processes: each transformer block for itself, then what is left.

    A block is put together when its turn comes and taken apart after it. On GPUs the parts move there.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (world_size(),))
    blocks = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    for block in [part for part in module.modules() if type(part).__name__ in blocks]:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def whole(value: Any) -> Any:
    """A weight, or a tree of dicts, lists and weights such as an optimizer's state, with nothing split any more.

    Every process must call it, as all have to send their parts. Tensors come back on the CPU.
    """
    import torch
    from torch.distributed.tensor import DTensor

    if isinstance(value, dict):
        return {key: whole(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [whole(entry) for entry in value]
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu().contiguous() if isinstance(value, torch.Tensor) else value


def split_like(value: Tensor, weight: Tensor) -> Tensor:
    """A whole tensor, split over the processes as a weight is; as it is where the weight is whole too."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(weight, DTensor) or value.shape != weight.shape:
        return value
    return distribute_tensor(value.to(weight.to_local().device), weight.device_mesh, weight.placements)
