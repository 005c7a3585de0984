"""Decoupled contrastive loss: the positive leaves the denominator.

L = ½ mean_r(ℓ⁻_r − Σ p z) + ½ mean_c(…), ℓ⁻ over negatives only. Source: Yeh et al. 2022, equation 6.
Relations: InfoNCE without its coupling factor; gains most at small batch. Needs at least one negative a row.
"""

import torch
from torch import Tensor

from clipcore.logits import Logits, mean_of_directions


def decoupled(logits: Logits) -> Tensor:
    """The loss, a scalar; rows without a negative contribute nothing."""
    row_R, col_C = logits.lse(positives=False)
    positive_R, positive_C = logits.positive
    loss_R = torch.where(torch.isfinite(row_R), row_R - positive_R, 0.0)
    loss_C = torch.where(torch.isfinite(col_C), col_C - positive_C, 0.0)
    return mean_of_directions(loss_R, loss_C, logits)
