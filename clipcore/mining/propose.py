"""The probability that a candidate truly matches: a small regularised classifier over the mining signals.

The start is a logistic of round weights, by reasoning and by a look at what a fit on the truth of a few development worlds
gives (drawings: seeds 101 to 104 of the quality benchmark). What stands near the caption's
own image among that image's nearest, and near the image's own caption among that caption's nearest, probably shares its
partner: a standard deviation of standing is worth a factor e for images, half that for captions, whose near misses differ in
one word. A picture that is the caption's own but for margins and ground says most (`figure_standing`), and a caption that
says no more than the image's own is true with it (`entailed`). Cosines across the modalities were what candidates were picked
by, so they add little. Words that exclude each other (two colours, two numbers) count against; the same picture or the same
words nearly settle it. The bias comes from the data set itself: the middle of the mined candidates gets `BASE`.

Verdicts refit it (scikit-learn): the start's log-odds is one, hardly penalised, input (so this is Platt's scaling of the
start) beside the signals, which are standardised and penalised. The start itself speaks as `STRENGTH` imaginary verdicts,
spread over the mined candidates: a person answers the top of the queue, and among those alone even the sign of a signal
can come out wrong. F signals, S candidates, V verdicts, A candidates for the start's imaginary verdicts.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipcore.mining.signals import SIGNALS

Floats = NDArray[np.float64]
START = {
    "rarity": 0.0, "margin": 0.3, "rank_margin": 0.3, "standing": 0.2, "mutual": 0.2, "caption_rarity": 0.2,
    "caption_standing": 0.7, "overlap": 0.0, "contained": 0.2, "conflict": -2.0, "same_caption": 5.0,
    "image_rarity": 0.0, "image_standing": 1.0, "hash_similarity": 2.0, "same_image": 4.0, "agreement": 2.0,
    "figure_standing": 2.5, "word_fit": 0.8, "entailed": 1.5, "reordered": -1.0,
}  # fmt: skip
SETTLED = ("same_caption", "same_image", "entailed")
BASE = 0.02  # of the middle candidate: a false negative in fifty suggestions
NEEDED = 5  # verdicts of each kind before a refit
PENALTY = 0.03  # scikit-learn's C of the corrections
STRENGTH, ANCHORS = 60.0, 400  # imaginary verdicts in all, on so many candidates
FREE = 10.0  # the start's log-odds enters this many times larger, so that it is hardly penalised


@dataclass(frozen=True)
class Proposer:
    """A start, and what verdicts made of it; `num_verdicts` says how many it has seen."""

    bias: float = -5.5
    centre_F: tuple[float, ...] = (0.0,) * len(SIGNALS)
    spread_F: tuple[float, ...] = (1.0,) * len(SIGNALS)
    anchor_AF: Any = None  # candidates [A, F] on which the start speaks as imaginary verdicts
    refit: Any = None
    num_verdicts: int = 0

    @classmethod
    def start(cls, mined_SF: Floats) -> "Proposer":
        """The start for a data set, from the signals of its mined candidates (no labels)."""
        if len(mined_SF) == 0:
            return cls()
        open_SF = mined_SF * [
            name not in SETTLED for name in SIGNALS
        ]  # where all is settled, none is the middle
        middle = float(np.median(open_SF @ _weights()))
        return cls(
            float(np.log(BASE / (1 - BASE))) - middle,
            tuple(mined_SF.mean(axis=0)),
            tuple(np.maximum(mined_SF.std(axis=0), 1e-3)),
            mined_SF[np.linspace(0, len(mined_SF) - 1, min(ANCHORS, len(mined_SF))).astype(int)],
        )

    def fit(self, signal_VF: Floats, is_match_V: NDArray[np.bool_]) -> "Proposer":
        """Refitted on verdicts; this start unchanged below `NEEDED` verdicts of a kind."""
        if min(int(is_match_V.sum()), int((~is_match_V).sum())) < NEEDED:
            return replace(self, refit=None, num_verdicts=len(is_match_V))
        from sklearn.linear_model import LogisticRegression

        anchor_AF = signal_VF[:0] if self.anchor_AF is None else self.anchor_AF
        said_A = 1.0 / (1.0 + np.exp(-self._log_odds(anchor_AF)))
        share = STRENGTH / max(1, len(anchor_AF))
        model = LogisticRegression(C=PENALTY, max_iter=1000).fit(
            self._inputs(np.concatenate((signal_VF, anchor_AF, anchor_AF))),
            np.concatenate((is_match_V, np.ones(len(said_A), bool), np.zeros(len(said_A), bool))),
            sample_weight=np.concatenate((np.ones(len(is_match_V)), share * said_A, share * (1 - said_A))),
        )
        return replace(self, refit=model, num_verdicts=len(is_match_V))

    def probability(self, signal_SF: Floats) -> Floats:
        """[S] from signals [S, F]."""
        if len(signal_SF) == 0:
            return np.zeros(0)
        if self.refit is not None:
            return np.asarray(self.refit.predict_proba(self._inputs(signal_SF))[:, 1], dtype=np.float64)
        return 1.0 / (1.0 + np.exp(-self._log_odds(signal_SF)))

    def _log_odds(self, signal_SF: Floats) -> Floats:
        return np.clip(signal_SF @ _weights() + self.bias, -12, 12)

    def _inputs(self, signal_SF: Floats) -> Floats:
        scaled = (signal_SF - np.array(self.centre_F)) / np.array(self.spread_F)
        return np.hstack((FREE * self._log_odds(signal_SF)[:, None], np.clip(scaled, -4, 4)))


def _weights() -> Floats:
    return np.array([START[name] for name in SIGNALS])
