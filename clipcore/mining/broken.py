"""Pairs whose caption is probably another image's, in the manner of confident learning (Northcutt et al. 2021): a pair is
contradicted by what stands nearest in both directions.

Three witnesses, in standard deviations of random pairs: the standing of the pair's own cosine among its rivals; how well the
captions of the image's nearest images agree with its caption; how well the images of the caption's nearest captions agree
with its image. N images, M captions, P pairs, E neighbours' partners (ragged).
"""

import numpy as np
from numpy.typing import NDArray

from clipcore.mining.signals import NEAREST, Items, cosine, largest

Floats = NDArray[np.float64]
HALF_AT = (
    3.0  # robust deviations above the middle pair at which half are broken: 0.1 % of a normal lies there
)
STEEP = 1.5
MOST = 0.05  # of the pairs, and one: so many are expected to be broken at most, however much a weak model contradicts
STRANGER = -3.0  # the agreement where no neighbour has a partner


def broken_probability(items: Items) -> Floats:
    """The probability [P] that a pair's caption does not describe its image.

    Threshold and scale come from the data's own pairs: the middle pair is whole. Where that would call more than `MOST`
    broken, all are called less so, in the same order: a model that cannot read its data contradicts whole pairs too.
    """
    image, caption = items.pair_P2[:, 0], items.pair_P2[:, 1]
    if len(image) == 0:
        return np.zeros(0)
    own = cosine(items.image_ND, items.caption_MD, image, caption)
    evidence = -items.standing("cross", image, caption, own) - _kin(items, 0) - _kin(items, 1)
    middle = np.median(evidence)
    scale = max(1.4826 * float(np.median(np.abs(evidence - middle))), 1e-6)
    z = (evidence - middle) / scale
    log_odds = STEEP * (z - HALF_AT)
    low, high = 0.0, max(0.0, float(log_odds.max())) + 12
    if _chance(log_odds).mean() <= (wanted := MOST + 1 / len(image)):
        return _chance(log_odds)
    for _ in range(60):
        half = (low + high) / 2
        low, high = (half, high) if _chance(log_odds - half).mean() > wanted else (low, half)
    return _chance(log_odds - high)


def _chance(log_odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))


def _kin(items: Items, side: int) -> Floats:
    """The best standing of each pair's caption (side 0) among the captions of its image's nearest images, or the other
    way round (side 1) [P]. A neighbour with the very same partner is no witness: it may be the same mistake."""
    name, vectors = (("caption", items.caption_MD), ("image", items.image_ND))[side]
    near = (items.near.images, items.near.captions)[side].caption_Nk[items.pair_P2[:, side], : NEAREST + 1]
    which = np.repeat(np.arange(len(near)), near.shape[1])
    at, partner = items.own(side, near.ravel())
    at = which[at]
    mine = items.pair_P2[at, 1 - side]
    others = partner != mine
    at, mine, partner = at[others], mine[others], partner[others]
    standing = items.standing(name, mine, partner, cosine(vectors, vectors, mine, partner))
    return largest(len(near), at, standing, STRANGER)
