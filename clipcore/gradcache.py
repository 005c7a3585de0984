"""Gradient caching: the gradient of one big batch at the memory of a small one. No loss knows of it.

Pass 1 embeds every micro-batch without a graph; the loss gives ∂L/∂embeddings and ∂L/∂(scale, bias) once; pass 2
replays each micro-batch under its own seed and pushes its slice of the gradient through the tower. The last
`num_resident` micro-batches keep their graph from pass 1 and skip the second forward; with all of them resident it
is the plain step. Source: Gao et al. 2021 (GradCache); dropout is replayed by seeding, so a reference can too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipcore.distributed import gather_rows, share, world_size


@dataclass(frozen=True)
class Pass:
    """One tower's work in a step: `encode` maps a micro-batch to embeddings [m, D] with a graph.

    `micro_batches` are those of the whole step, on every rank; each rank encodes its share of them.
    """

    encode: Callable[[Any], Tensor]
    micro_batches: Sequence[Any]
    first_seed: int  # the seed of its first micro-batch; each further one takes the next


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Runs a micro-batch under its own random numbers and leaves the outer generators as they were."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


def cached_backward(
    passes: Sequence[Pass],
    loss: Callable[..., Tensor],
    *,
    num_resident: int = 0,
    device: torch.device | None = None,
) -> Tensor:
    """Accumulates the gradient of loss(*embeddings) into every leaf; returns the loss, detached.

    `loss` gets one [N, D] tensor a pass (over all ranks, when distributed). Scalars that the loss uses (scale,
    bias) receive their gradient exactly once. `num_resident` counts this rank's micro-batches.
    """
    device = device or torch.device("cpu")
    graphs: list[dict[int, Tensor]] = []
    leaves: list[Tensor] = []
    resident = _resident_places(passes, num_resident)
    for p, tower in enumerate(passes):
        kept, values = {}, []
        for k in share(len(tower.micro_batches)):
            keep = (p, k) in resident
            with seeded(tower.first_seed + k, device), torch.set_grad_enabled(keep):
                embedding = tower.encode(tower.micro_batches[k])
            if keep:
                kept[k] = embedding
            values.append(embedding.detach())
        graphs.append(kept)
        leaves.append(_gathered(tower, values).requires_grad_())
    value = loss(*leaves)
    value.backward()  # type: ignore[no-untyped-call]
    for tower, kept, leaf in zip(passes, graphs, leaves, strict=True):
        _replay(tower, kept, torch.zeros_like(leaf) if leaf.grad is None else leaf.grad, device)
    return value.detach()


def _gathered(tower: Pass, values: list[Tensor]) -> Tensor:
    """All ranks' embeddings; a rank that got no micro-batch learns the width from one that is not its own."""
    if not values:
        with torch.no_grad():
            values = [tower.encode(tower.micro_batches[0])[:0]]
    counts = [_rows(tower, share(len(tower.micro_batches), r)) for r in range(world_size())]
    return gather_rows(torch.cat(values), counts)


def _rows(tower: Pass, places: range) -> int:
    return sum(len(tower.micro_batches[k]) for k in places)


def saved_bytes(encode: Callable[[Any], Tensor], micro_batch: Any, parameters: Iterable[Tensor] = ()) -> int:
    """Bytes that the graph of one micro-batch keeps for its backward, `parameters` not counted: measured, by running it."""
    weights = {p.untyped_storage().data_ptr() for p in parameters}
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), torch.enable_grad():
        encode(micro_batch)
    return sum(storages.values())


def _resident_places(passes: Sequence[Pass], num_resident: int) -> set[tuple[int, int]]:
    """This rank's last micro-batches: they are the next to be replayed, so they keep their graph."""
    places = [(p, k) for p, tower in enumerate(passes) for k in share(len(tower.micro_batches))]
    return set(places[max(len(places) - num_resident, 0) :]) if num_resident > 0 else set()


def _replay(tower: Pass, kept: dict[int, Tensor], gradient: Tensor, device: torch.device) -> None:
    own = share(len(tower.micro_batches))
    start = _rows(tower, range(own.start))
    for k in own:
        embedding = kept.pop(k, None)
        if embedding is None:
            with seeded(tower.first_seed + k, device), torch.enable_grad():
                embedding = tower.encode(tower.micro_batches[k])
        stop = start + len(embedding)
        if embedding.requires_grad:
            embedding.backward(gradient[start:stop].to(embedding.dtype))
        start = stop
