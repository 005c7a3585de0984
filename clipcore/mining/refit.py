"""Live ranking: the proposal learns from the verdicts so far and orders the suggestions that are left.

Only signals are needed, no vectors: seconds for 200,000 suggestions. F signals, S suggestions, V verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcore.mining.calibrate import Quality, components, cross_validated, quality
from clipcore.mining.propose import Proposer
from clipcore.mining.signals import SIGNALS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """New columns [S] of the suggestions, and the quality of the proposal, cross-validated on the verdicts."""

    probability: Floats
    impact: Floats
    proposed: list[str]
    quality: Quality
    is_refit: bool  # False while one kind of verdict is still too rare to learn from


def refit(
    signal_SF: Floats,
    *,
    verdict_VF: Floats,
    is_match_V: NDArray[np.bool_],
    image_V: Sequence[int],
    caption_V: Sequence[int],
) -> Ranking:
    """The ranking of suggestions with these signals (columns in the order of `SIGNALS`) after these verdicts.

    `image_V`, `caption_V` keep verdicts on one image or caption in one fold of the cross-validation.
    """
    start = Proposer.start(np.concatenate((signal_SF, verdict_VF)))
    proposer = start.fit(verdict_VF, is_match_V)
    probability = proposer.probability(signal_SF)
    seen_V = cross_validated(
        lambda x, y: start.fit(x, y).probability, verdict_VF, is_match_V, components(image_V, caption_V)
    )
    return Ranking(
        probability=probability,
        impact=impact(signal_SF, probability),
        proposed=["match" if p >= 0.5 else "no_match" for p in probability],
        quality=quality(seen_V, is_match_V),
        is_refit=proposer.refit is not None,
    )


def impact(signal_SF: Floats, probability_S: Floats) -> Floats:
    """How much an answer would change: how far above the own partner the model ranks it, twice more for a likely match."""
    own, rank = (signal_SF[:, SIGNALS.index(name)] for name in ("margin", "rank_margin"))
    hard = 1 / (1 + np.exp(-np.maximum(own, rank)))
    return np.asarray(hard * (1 + 2 * probability_S), dtype=np.float64)
