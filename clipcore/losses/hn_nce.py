"""HN-NCE: negatives weighted by their own hardness, weights of mean 1 over each row's (and column's) negatives.

L_r = −z⁺ + log(α e^{z⁺} + Σ_c w_rc e^{z_rc}), w_rc = (N−1) e^{βz_rc} / Σ e^{βz}. With ℓ⁽ᵞ⁾ = log Σ λ e^{γz}:
log Σ w e^z = log Σλ + ℓ⁽¹⁺ᵝ⁾ − ℓ⁽ᵝ⁾, so two log-sum-exps and no N² weights.
Source: DiHT (Radenovic et al. 2023), equations 3 and 4. β = 0 and α = 1 is InfoNCE.
"""

import torch
from torch import Tensor

from clipcore.logits import Logits, logaddexp, mean_of_directions


def hn_nce(logits: Logits, *, alpha: float = 1.0, beta: float = 0.25) -> Tensor:
    """The loss, a scalar. α weighs the positive in the denominator, β ≥ 0 the hardness."""
    hard_R, hard_C = logits.lse(gamma=1.0 + beta, positives=False)
    base_R, base_C = logits.lse(gamma=beta, positives=False) if beta > 0 else logits.log_num_negatives
    count_R, count_C = logits.log_num_negatives
    positive_R, positive_C = logits.positive
    loss_R = _direction(hard_R, base_R, count_R, positive_R, alpha)
    loss_C = _direction(hard_C, base_C, count_C, positive_C, alpha)
    return mean_of_directions(loss_R, loss_C, logits)


def _direction(hard: Tensor, base: Tensor, count: Tensor, positive: Tensor, alpha: float) -> Tensor:
    any_negative = torch.isfinite(hard) & torch.isfinite(base)
    safe_base = torch.where(any_negative, base, 0.0)
    safe_hard = torch.where(any_negative, hard, 0.0)
    safe_count = torch.where(any_negative, count, 0.0)
    negatives = torch.where(any_negative, safe_count + safe_hard - safe_base, -torch.inf)
    own = positive + torch.log(torch.as_tensor(alpha, dtype=positive.dtype, device=positive.device))
    return logaddexp(own, negatives) - positive
