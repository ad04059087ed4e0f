"""Weights split over the processes, so that each holds a part (FSDP): for LLMs that one GPU cannot train.

PyTorch's ``fully_shard`` (FSDP2), applied by ourselves before the trainer sees the module: accelerate's way there
works on GPUs only, and casts the adapters to bfloat16 where we keep what learns in float32. Frozen weights may
have another number format than those that learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causal2vec.training import ranks

if TYPE_CHECKING:
    from torch import Tensor, nn


def shard(module: nn.Module, device: str) -> None:
    """Split a module's weights over all processes: each transformer block for itself, then what is left.

    A block is put together when its turn comes and taken apart after it. On GPUs the parts move there.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (ranks.world_size(),))
    for block in _blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The transformer blocks of all parts, as their architectures name them."""
    names: set[str] = set()
    for part in module.modules():
        names |= set(getattr(part, "_no_split_modules", None) or ())
    return [part for part in module.modules() if type(part).__name__ in names]


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
