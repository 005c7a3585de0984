"""SigLIP's pairwise sigmoid loss.

L = (1/N) [Σ_unlisted softplus(z) + Σ_listed (p·softplus(−z) + λ(1 − p)·softplus(z + s·margin))], p the raw target, N rows with a positive.
Source: Zhai et al. 2023, algorithm 1. Scale starts at 10, bias at −10; see `initial_bias`.
Relations: no normalisation over the batch, so extra positives add up; a mask simply leaves the sum.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from clipcore.logits import Further, Logits


def sigmoid(logits: Logits) -> Tensor:
    """The loss, a scalar, divided by the number of rows that have a positive (in the paper all rows have one)."""
    unlisted = logits.unlisted_softplus()
    z_L, p_L = logits.z_L, logits.target_L
    pushed = z_L + logits.scale * logits.margin_L
    lambda_L = ((logits.log_lambda_i2t_L.exp() + logits.log_lambda_t2i_L.exp()) / 2) * (
        1 - p_L.clamp(max=1.0)
    )
    total = unlisted + (p_L * softplus(-z_L) + lambda_L * softplus(pushed)).sum()
    for further, owners in ((logits.further_captions, logits.x_RD), (logits.further_images, logits.y_CD)):
        if further is not None:
            total = total + _further(logits, further, owners)
    return total / logits.has_positive[0].sum().clamp_min(1)


def _further(logits: Logits, further: Further, owners: Tensor) -> Tensor:
    z_K = logits.further_z(further, owners) + logits.scale * further.margin_K
    return (further.log_lambda_K.exp() * softplus(z_K)).sum()


def initial_bias(batch_size: int, *, scale: float, mean_negative_cosine: float) -> float:
    """The bias at which the expected number of positives equals the one per row that there is.

    Solves σ(s·cos + b) = 1/N for the mean negative: b = −log(N − 1) − s·cos. With SigLIP's start (s = 10, cos ≈ 0,
    N = 32 k) it gives −10.4 where the paper took −10.
    """
    return -math.log(max(batch_size - 1, 1)) - scale * mean_negative_cosine


def calibrated_bias(x_ND: Tensor, y_ND: Tensor, scale: float, *, batch_size: int | None = None) -> float:
    """`initial_bias` from N pairs as they are: their mean negative cosine, and `batch_size` (N when not given)."""
    with torch.no_grad():
        n = len(x_ND)
        off_diagonal = (x_ND.sum(0) @ y_ND.sum(0) - (x_ND * y_ND).sum()) / max(n * (n - 1), 1)
    return initial_bias(batch_size or n, scale=scale, mean_negative_cosine=float(off_diagonal))
