"""One gradient over many processes, equal to the single process's: no flags.

A step's micro-batches are dealt to the ranks in order, so the rows of all ranks stand as on one process and every
micro-batch keeps its own dropout. Embeddings are gathered; the N² part of the loss is shared by rows (see lse.py),
all else is computed whole on every rank; each rank pushes its own rows of ∂L/∂embeddings through its towers, whose
gradients are then *summed*. Scale and bias, whose gradient is already whole on each rank, are left alone. Measured
trap: open_clip's default flags give 1/ranks of this.
"""

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

BUCKET = 1 << 24  # numbers a reduction: few calls, at most 64 MB of float32 beside the gradients


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


def share(size: int, of_rank: int | None = None) -> range:
    """The places of `size` things in order that a rank (this one by default) takes; they differ by at most one."""
    r, ranks = rank() if of_rank is None else of_rank, world_size()
    return range(r * size // ranks, (r + 1) * size // ranks)


def gather_rows(own_MD: Tensor, counts: list[int]) -> Tensor:
    """The rows of all ranks in rank order [Σ counts, D], detached; `counts` are the rows of each rank."""
    if world_size() == 1:
        return own_MD
    padded = own_MD.new_zeros(max(counts), own_MD.shape[1])
    padded[: len(own_MD)] = own_MD
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of every rank's tensor, in place."""
    if world_size() > 1:
        dist.all_reduce(value, op=dist.ReduceOp.SUM)
    return value


def logsumexp_over_ranks(value: Tensor) -> Tensor:
    """log Σ e^value over the ranks, entry by entry; −inf where every rank has −inf."""
    if world_size() == 1:
        return value
    top = value.clone()
    dist.all_reduce(top, op=dist.ReduceOp.MAX)
    shift = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    return sum_over_ranks((value - shift).exp()).log_().add_(shift)


def agreed(asked: str | None, device: torch.device) -> str | None:
    """`asked` if this rank asks, "another process asked" if only another does, None if none does: one end for all."""
    if world_size() == 1:
        return asked
    flag = torch.tensor([0.0 if asked is None else 1.0], device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return (asked or "another process asked") if float(flag) else None


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Adds up tower gradients over ranks; a parameter that this rank did not touch counts as zero."""
    if world_size() == 1:
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if bucket and (sum(g.numel() for g in bucket) > BUCKET or parameter.grad.dtype != bucket[0].dtype):
            _sum_together(bucket)
            bucket = []
        bucket.append(parameter.grad)
    if bucket:
        _sum_together(bucket)


def _sum_together(gradients: list[Tensor]) -> None:
    whole = sum_over_ranks(torch.cat([g.reshape(-1) for g in gradients]))
    for gradient, part in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def from_first_rank(value: float, device: torch.device) -> float:
    """Rank 0's number on every rank."""
    if world_size() == 1:
        return value
    number = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(number, src=0)
    return float(number)
