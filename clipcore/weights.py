"""Sets of weights by name: copied, put on, taken off, and mixed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

Weights = dict[str, Tensor]


@torch.no_grad()
def copy_of(parameters: Mapping[str, Tensor]) -> Weights:
    """The values of the parameters as they are."""
    return {name: p.detach().clone() for name, p in parameters.items()}


@torch.no_grad()
def put_on(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Writes the values into the parameters."""
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])


@contextmanager
def wearing(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """The parameters hold `weights` inside the block (None: their own) and their own values after it."""
    if weights is None:
        yield
        return
    own = copy_of(parameters)
    put_on(parameters, weights)
    try:
        yield
    finally:
        put_on(parameters, own)


def mixed(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> Weights:
    """start + share·(end − start). Of a low-rank update B·A (it starts at B = 0) only B is scaled: the same mix."""
    return {
        name: value.clone() if _is_lora_a(name) else torch.lerp(start[name].to(value), value, share)
        for name, value in end.items()
    }


def _is_lora_a(name: str) -> bool:
    return ".parametrizations." in name and name.endswith(".a")
