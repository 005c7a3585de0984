"""One gradient over many processes, equal to the single process's: no flags.

Every rank gathers all embeddings (equal counts a rank), computes the same loss, keeps its own rows of ∂L/∂embeddings
and pushes them through its tower; towers' gradients are then *summed* over ranks, scale and bias, whose gradient is
already whole on each rank, are left alone. Measured trap: open_clip's default flags give 1/ranks of this.
"""

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process's number, 0 when there is one process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def start() -> None:
    """Joins the processes that torchrun started (nccl on GPUs, gloo otherwise); nothing to do when there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def gather_rows(own_MD: Tensor) -> Tensor:
    """The rows of all ranks in rank order [M·ranks, D], detached."""
    if world_size() == 1:
        return own_MD
    parts = [torch.empty_like(own_MD) for _ in range(world_size())]
    dist.all_gather(parts, own_MD.contiguous())
    return torch.cat(parts)


def own_rows(gradient: Tensor | None, like: Tensor) -> Tensor:
    """This rank's share of a gathered gradient (zeros where the loss did not depend on it)."""
    whole = torch.zeros_like(like) if gradient is None else gradient
    size = len(whole) // world_size()
    return whole[rank() * size : (rank() + 1) * size]


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Adds up tower gradients over ranks; a parameter that this rank did not touch counts as zero."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad, op=dist.ReduceOp.SUM)
