"""InfoNCE with many positives, masks, weights and appended negatives.

L = ½ mean_r(ℓ_r − Σ_c p_rc z_rc) + ½ mean_c(ℓ^c − Σ_r p_rc z_rc).
Source: CLIP (Radford et al. 2021); many positives as in SupCon (Khosla et al. 2020, L_out) and UniCL (Yang et al. 2022).
Scale: s = exp(log-scale), CLIP starts at 1/0.07 and ends near 100.
Relations: without labels equal to CLIP's loss; a mask is FNC/GISTEmbed; appended negatives seen by all are NegCLIP.
"""

from torch import Tensor

from clipcore.logits import Logits, mean_of_directions


def info_nce(logits: Logits) -> Tensor:
    """The loss, a scalar."""
    row_R, col_C = logits.lse()
    positive_R, positive_C = logits.positive
    return mean_of_directions(row_R - positive_R, col_C - positive_C, logits)
