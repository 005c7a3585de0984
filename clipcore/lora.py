"""LoRA on every attention and MLP matrix, open_clip's fused `in_proj_weight` included, as a parametrisation.

W + (α / r)·B·A with B = 0 at the start. Source: Hu et al. 2021, equation 3. Merging is exact: the
parametrised weight is what the forward pass used all along.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

NAMES = ("in_proj_weight", "weight")


class _LowRank(nn.Module):
    def __init__(self, weight: Tensor, rank: int, alpha: float):
        super().__init__()
        out_features, in_features = weight.shape
        self.a = nn.Parameter(torch.randn(rank, in_features, dtype=weight.dtype, device=weight.device) / rank)
        self.b = nn.Parameter(torch.zeros(out_features, rank, dtype=weight.dtype, device=weight.device))
        self.factor = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.factor * (self.b @ self.a)


def add_lora(model: nn.Module, *, rank: int, alpha: float) -> list[nn.Parameter]:
    """Freezes the model, puts a low-rank update on its attention and MLP matrices, returns what learns."""
    model.requires_grad_(False)
    learned: list[nn.Parameter] = []
    for module in [m for m in model.modules() if isinstance(m, nn.MultiheadAttention | nn.Linear)]:
        name = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        weight = getattr(module, name)
        if weight is None or parametrize.is_parametrized(module, name):
            continue
        low_rank = _LowRank(weight, rank, alpha)
        parametrize.register_parametrization(module, name, low_rank)
        learned += [low_rank.a, low_rank.b]
    return learned


def merge_lora(model: nn.Module) -> None:
    """Writes every update into its matrix; the model is a plain open_clip model again."""
    for module in model.modules():
        for name in NAMES:
            if parametrize.is_parametrized(module, name):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
