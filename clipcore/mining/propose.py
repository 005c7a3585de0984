"""The probability that a candidate truly matches: a small regularised classifier over the mining signals.

It starts from priors (a logistic with hand-set weights, in the order of `mine.SIGNALS`) and refits once there are
verdicts of both kinds, shrinking towards those priors. No tuning on any test data went into them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#            margin rank  overlap caption image same_image mutual telling
PRIOR = (4.0, 4.0, 1.5, 2.0, 3.0, 6.0, 0.3, -2.0)
PRIOR_BIAS = -5.5
STRENGTH = 10.0  # verdicts that the priors are worth
NEEDED = 10  # verdicts of each kind before a refit


@dataclass(frozen=True)
class Proposer:
    """A fitted or prior logistic; `num_verdicts` says how many verdicts it has seen."""

    weight: tuple[float, ...] = PRIOR
    bias: float = PRIOR_BIAS
    num_verdicts: int = 0

    def probability(self, signals_SF: Floats) -> Floats:
        """[S] from signals [S, F]."""
        z = np.asarray(signals_SF, np.float64) @ np.array(self.weight) + self.bias
        return 1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))

    @classmethod
    def fit(cls, signals_SF: Floats, is_match: NDArray[np.bool_]) -> "Proposer":
        """Refits on verdicts: logistic regression on the offset of the priors; the priors alone below `NEEDED` of a kind."""
        if min(int(is_match.sum()), int((~is_match).sum())) < NEEDED:
            return cls(num_verdicts=len(is_match))
        from scipy.optimize import minimize

        x = np.hstack((np.asarray(signals_SF, np.float64), np.ones((len(signals_SF), 1))))
        start = np.array((*PRIOR, PRIOR_BIAS))
        sign = np.where(is_match, 1.0, -1.0)

        def loss(w: Floats) -> tuple[float, Floats]:
            z = sign * (x @ w)
            error = -sign / (1 + np.exp(np.clip(z, -30, 30)))
            pull = (w - start) / STRENGTH
            return float(
                np.logaddexp(0, -z).sum() + 0.5 * ((w - start) ** 2).sum() / STRENGTH
            ), x.T @ error + pull

        best = minimize(loss, start, jac=True, method="L-BFGS-B").x
        return cls(tuple(best[:-1]), float(best[-1]), len(is_match))
