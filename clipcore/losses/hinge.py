"""Hinge (triplet) on curated negatives: max(0, m + cos⁻ − cos⁺), sparse only.

The positive is the mean over the row's targets, the negatives are the listed entries with target 0 and λ > 0 and
the appended ones; both directions for listed entries. Source: triplet loss (Schroff et al. 2015), CE-CLIP (Zhang
et al. 2024). In cosine, so it does not change with the temperature. Relations: a contrastive head needs only
pairs; a triplet needs an anchor, a positive and a negative, so without curated negatives this head is 0.
"""

import torch
from torch import Tensor

from clipcore.logits import Logits


def hinge(logits: Logits, *, margin: float = 0.1) -> Tensor:
    """The loss, a scalar: the weighted mean over all curated negatives and directions; `margin` in cosine."""
    scale = logits.scale
    positive_R, positive_C = logits.positive
    wide = margin + logits.margin_L
    curated = (logits.target_L == 0) & (logits.log_lambda_i2t_L > -torch.inf)
    has_R, has_C = logits.has_positive
    terms = [
        _terms(
            logits.z_L,
            positive_R[logits.row_L],
            wide,
            logits.log_lambda_i2t_L,
            curated & has_R[logits.row_L],
            scale,
        ),
        _terms(
            logits.z_L,
            positive_C[logits.col_L],
            wide,
            logits.log_lambda_t2i_L,
            curated & has_C[logits.col_L],
            scale,
        ),
    ]
    for further, owners, positive in (
        (logits.further_captions, logits.x_RD, positive_R),
        (logits.further_images, logits.y_CD, positive_C),
    ):
        if further is not None:
            z_K, keep = logits.further_z(further, owners), torch.ones_like(further.owner_K, dtype=torch.bool)
            own = positive[further.owner_K]
            terms.append(_terms(z_K, own, margin + further.margin_K, further.log_lambda_K, keep, scale))
    total = torch.stack([value for value, _ in terms]).sum()
    weight = torch.stack([weight for _, weight in terms]).sum()
    return total / weight.clamp_min(1e-12)


def _terms(
    z: Tensor, positive: Tensor, margin: Tensor, log_lambda: Tensor, keep: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    weight = torch.where(keep, log_lambda.exp(), 0.0)
    gap = (margin + (z - positive) / scale).clamp_min(0.0)
    return (weight * gap).sum(), weight.sum()
