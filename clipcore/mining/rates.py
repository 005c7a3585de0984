"""Numbers before work: how many false negatives there probably are, and how often a batch would meet them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipcore.errors import ClipcoreError

DRAWS = 20_000
DOUBT = 0.7  # of ln(share) where only the proposal speaks: 95 % within a factor of four
BATCH_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)


@dataclass(frozen=True)
class Stratum:
    """`size` candidates of one band of the score; of `num_verdicts` drawn at random from it `num_match` were matches.

    `assumed`: the proposal's mean probability there, used while nothing was drawn.
    """

    size: int
    num_verdicts: int = 0
    num_match: int = 0
    assumed: float | None = None


@dataclass(frozen=True)
class Rate:
    """The share of all candidates that are false negatives, with an interval; `count` is that many candidates.

    `assumed_share`: how much of the estimate rests on the proposal instead of verdicts.
    """

    rate: float
    low: float
    high: float
    num_candidates: int
    assumed_share: float

    @property
    def count(self) -> float:
        return self.rate * self.num_candidates


def false_negative_rate(strata: Sequence[Stratum], *, level: float = 0.95, seed: int = 0) -> Rate:
    """The stratified estimate Σ size·share / Σ size: a verdict weighs the inverse of its chance to be drawn
    (Horvitz & Thompson 1952). The interval draws each stratum's share from its Jeffreys posterior.

    A stratum without verdicts counts with its `assumed` probability, doubted by a factor of four either way.
    Raises `ClipcoreError` for a stratum with neither, or with more verdicts than candidates.
    """
    for s in strata:
        if not 0 <= s.num_match <= s.num_verdicts <= s.size or (s.num_verdicts == 0 and s.assumed is None):
            raise ClipcoreError(f"{s} cannot be weighed; give verdicts within its size, or `assumed`")
    total = sum(s.size for s in strata)
    if total == 0:
        return Rate(0.0, 0.0, 0.0, 0, 0.0)
    rng, mean, drawn, assumed = np.random.default_rng(seed), 0.0, np.zeros(DRAWS), 0.0
    for s in strata:
        if s.num_verdicts:
            share = s.num_match / s.num_verdicts
            left = rng.beta(s.num_match + 0.5, s.num_verdicts - s.num_match + 0.5, DRAWS)
            rest = 1 - s.num_verdicts / s.size  # what was judged is known
            drawn += s.num_match + s.size * rest * left
        else:
            share = float(s.assumed or 0.0)
            assumed += s.size * share
            drawn += s.size * np.minimum(share * rng.lognormal(-(DOUBT**2) / 2, DOUBT, DRAWS), 1.0)
        mean += s.size * share
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Rate(mean / total, float(low) / total, float(high) / total, total, assumed / mean if mean else 0.0)


def expected_collisions(
    num_false_negatives: float, *, num_pairs: int, batch_sizes: Sequence[int] = BATCH_SIZES
) -> dict[int, float]:
    """Batch size → how often an epoch brings a false negative's image and caption into one batch.

    Two pairs of n share a random batch of B with probability (B − 1)/(n − 1). Raises `ClipcoreError` below B = 1.
    """
    if any(size < 1 for size in batch_sizes):
        raise ClipcoreError(f"batch sizes {list(batch_sizes)} must be at least 1")
    return {
        size: num_false_negatives * (min(size, num_pairs) - 1) / (num_pairs - 1) if num_pairs > 1 else 0.0
        for size in batch_sizes
    }
