"""AdamW with decay on matrices only, layer-wise rates, the schedule, and the running mean of the weights (EMA)."""

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clipcore.config import OptimiserConfig

BLOCK = re.compile(r"^(visual\.|text\.)?.*?(?:resblocks|blocks|layers?)\.(\d+)\.")
STEM = re.compile(
    r"conv1|class_embedding|positional_embedding|token_embedding|ln_pre|patch_embed|pos_embed|cls_token"
)
TOP = -2


def make_optimiser(parameters: Mapping[str, Tensor], config: OptimiserConfig) -> torch.optim.Optimizer:
    """AdamW over groups of equal weight decay and layer factor; the factor stands in each group as `lr_factor`."""
    factors = layer_factors(list(parameters), config.layer_decay)
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, p in parameters.items():
        groups.setdefault((config.weight_decay if p.ndim >= 2 else 0.0, factors[name]), []).append(p)
    options = [
        {"params": found, "weight_decay": decay, "lr_factor": factor}
        for (decay, factor), found in groups.items()
    ]
    return torch.optim.AdamW(options, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)


def learning_rate(config: OptimiserConfig, step: int, *, total_steps: int, warmup_steps: int) -> float:
    """The rate of step 1 … `total_steps`: linear warm-up, then cosine to 0 or constant."""
    if step <= warmup_steps:
        return config.lr * step / warmup_steps
    if config.schedule == "constant":
        return config.lr
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def layer_factors(names: Sequence[str], decay: float) -> dict[str, float]:
    """The share of the learning rate for each parameter: decay^(blocks between it and its tower's output).

    What comes before the first block (patches, tokens, positions) counts as one block further down; what has no
    place in a tower (projections, last norms, scalars, adapters) learns at the full rate.
    """
    depth = {name: _depth(name) for name in names}
    last = {
        tower: max(d for t, d in depth.values() if t == tower) for tower in {t for t, _ in depth.values()}
    }
    return {name: decay ** (last[tower] - at) if at >= -1 else 1.0 for name, (tower, at) in depth.items()}


def _depth(name: str) -> tuple[str, int]:
    """The tower, and the number of the block; −1 before the first, TOP after the last."""
    tower = "visual" if name.startswith("visual.") else "text"
    block = BLOCK.match(name)
    return tower, int(block[2]) if block else -1 if STEM.search(name) else TOP


class MovingAverage:
    """The exponential mean of the weights over steps; the decay starts low, so that early steps are soon forgotten."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float):
        self.decay = decay
        self.mean = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], step: int) -> None:
        """Takes the weights after `step` in: mean ← d·mean + (1 − d)·weights, d = min(decay, (1 + step)/(10 + step))."""
        d = min(self.decay, (1 + step) / (10 + step))
        for name, mean in self.mean.items():
            mean.lerp_(parameters[name].detach().to(mean.dtype), 1 - d)
