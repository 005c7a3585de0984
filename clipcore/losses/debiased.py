"""Debiased and hard debiased contrastive losses: the prior τ⁺ of a false negative is taken off the negatives.

g = max((mean_neg − τ⁺ e^{z⁺}) / (1 − τ⁺), e^{−s}), L = −z⁺ + log(e^{z⁺} + N·g), N = Σλ negatives.
Debiased (Chuang et al. 2020, equation 8): mean_neg = e^{ℓ − log N}. Hard debiased, HCL (Robinson et al. 2021,
equation 4): mean_neg = e^{ℓ⁽¹⁺ᵝ⁾ − ℓ⁽ᵝ⁾}. β = 0 makes them equal; τ⁺ = 0 makes the first InfoNCE.
Computed relative to z⁺ in log space: e^z itself overflows at s = 100.
"""

import math

import torch
from torch import Tensor

from clipcore.logits import Logits, mean_of_directions


def debiased(logits: Logits, *, prior: float = 0.01) -> Tensor:
    """The loss, a scalar; `prior` is τ⁺ in [0, 1)."""
    return hard_debiased(logits, prior=prior, beta=0.0)


def hard_debiased(logits: Logits, *, prior: float = 0.01, beta: float = 0.25) -> Tensor:
    """HCL, a scalar; `prior` is τ⁺ in [0, 1), β ≥ 0 the hardness."""
    count_R, count_C = logits.log_num_negatives
    hard_R, hard_C = logits.lse(gamma=1.0 + beta, positives=False)
    base_R, base_C = logits.lse(gamma=beta, positives=False) if beta > 0 else (count_R, count_C)
    positive_R, positive_C = logits.positive
    loss_R = _direction(hard_R, base_R, count_R, positive_R, logits.scale, prior)
    loss_C = _direction(hard_C, base_C, count_C, positive_C, logits.scale, prior)
    return mean_of_directions(loss_R, loss_C, logits)


def _direction(
    hard: Tensor, base: Tensor, count: Tensor, positive: Tensor, scale: Tensor, prior: float
) -> Tensor:
    any_negative = torch.isfinite(hard) & torch.isfinite(base)
    log_mean = torch.where(any_negative, hard, 0.0) - torch.where(any_negative, base, 0.0)
    relative = log_mean - positive  # log(mean_neg / e^{z⁺})
    log_prior = math.log(prior) if prior > 0 else -math.inf
    inside = relative > log_prior
    gap = torch.where(inside, torch.where(inside, log_prior - relative, -1.0), -1.0)
    log_g = relative + torch.log1p(-gap.exp()) - math.log1p(-prior)
    floor = -scale - positive
    log_g = torch.maximum(torch.where(inside, log_g, floor), floor)
    loss = torch.nn.functional.softplus(torch.where(any_negative, count, 0.0) + log_g)
    return torch.where(any_negative, loss, 0.0)
