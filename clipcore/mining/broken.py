"""Pairs whose own caption ranks far below others, in the manner of confident learning (Northcutt et al. 2021).

A pair is compared in both directions with its strongest rivals: own cosine minus the mean of the anchor's ten best others,
in standard deviations of random pairs. N images, M captions, P pairs.
"""

import numpy as np
from numpy.typing import NDArray

from clipcore.mining.signals import Items, cosine
from clipcore.mining.topk import TopK

Floats = NDArray[np.float64]
RIVALS = 10
HALF_AT, STEEP = (
    3.0,
    1.5,
)  # robust deviations above the middle pair at which half are broken: 0.1 % of a normal lies there


def broken_probability(items: Items, top: TopK) -> Floats:
    """The probability [P] that a pair's caption does not describe its image.

    A caption that tells nearly what the captions of the image's rivals tell is not called broken: rivals are softened
    by their overlap with it. Threshold and scale come from the data's own pairs: the middle pair is whole.
    """
    image, caption = items.pair_P2[:, 0], items.pair_P2[:, 1]
    if len(image) == 0:
        return np.zeros(0)
    spread = max(float(items.tail("cross").std()), 1e-9)
    own = cosine(items.image_ND, items.caption_MD, image, caption)
    rivals = top.caption_score_Nk[image, :RIVALS].mean(axis=1) + top.image_score_Mk[caption, :RIVALS].mean(
        axis=1
    )
    gap = (rivals / 2 - own) / spread  # large: others fit far better
    nearest = top.caption_Nk[image, :RIVALS]
    alike = np.max(
        [items.words.overlap(nearest[:, k], caption) for k in range(nearest.shape[1])], axis=0, initial=0.0
    )
    evidence = gap - 1.5 * alike - 0.5 * items.rarity("cross", own)
    middle = np.median(evidence)
    scale = max(1.4826 * float(np.median(np.abs(evidence - middle))), 1e-6)
    z = (evidence - middle) / scale
    return 1 / (1 + np.exp(-np.clip(STEEP * (z - HALF_AT), -12, 12)))
