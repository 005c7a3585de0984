"""How good the proposal is: average precision, calibration curve, calibration error, Brier skill; cross-validated.

V verdicts, F signals. Bins are adaptive: equally many verdicts in each.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bin:
    """Mean probability said, share that was true, how many verdicts."""

    said: float
    true: float
    num: int


@dataclass(frozen=True)
class Quality:
    """Of a proposal on verdicts. Figures are None where one kind of verdict is missing."""

    num_verdicts: int
    num_match: int
    average_precision: float | None
    calibration_error: float | None
    brier_skill: float | None
    curve: tuple[Bin, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def calibration_curve(probability_V: Floats, is_match_V: Bools, *, num_bins: int = 10) -> tuple[Bin, ...]:
    """The reliability diagram in bins of equally many verdicts, from the smallest probability up."""
    order = np.argsort(probability_V, kind="stable")
    parts = [part for part in np.array_split(order, max(1, min(num_bins, len(order)))) if len(part)]
    return tuple(Bin(float(probability_V[p].mean()), float(is_match_V[p].mean()), len(p)) for p in parts)


def calibration_error(probability_V: Floats, is_match_V: Bools, *, num_bins: int = 10) -> float:
    """Expected calibration error: |said − true| averaged over the bins by their size (Naeini et al. 2015)."""
    curve = calibration_curve(probability_V, is_match_V, num_bins=num_bins)
    return sum(b.num * abs(b.said - b.true) for b in curve) / max(1, sum(b.num for b in curve))


def brier_skill(probability_V: Floats, is_match_V: Bools) -> float | None:
    """1 − Brier score / that of always saying the share of matches; None where all verdicts are alike."""
    share = float(is_match_V.mean()) if len(is_match_V) else 0.0
    if share in (0.0, 1.0):
        return None
    return 1.0 - float(((probability_V - is_match_V) ** 2).mean()) / (share * (1 - share))


def average_precision(score_V: Floats, is_match_V: Bools) -> float | None:
    """Area under precision over recall (scikit-learn's); None without a match."""
    from sklearn.metrics import average_precision_score

    if not is_match_V.any():
        return None
    return float(average_precision_score(is_match_V, score_V))


def components(first_V: Sequence[int] | Ints, second_V: Sequence[int] | Ints) -> Ints:
    """The connected component of each verdict [V]: verdicts on one image or one caption stay together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, second = np.asarray(first_V, np.int64), np.asarray(second_V, np.int64)
    if len(first) == 0:
        return np.zeros(0, np.int64)
    _, a = np.unique(first, return_inverse=True)
    _, b = np.unique(second, return_inverse=True)
    size = int(a.max() + b.max() + 2)
    graph = coo_matrix((np.ones(len(a)), (a, b + a.max() + 1)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][a], dtype=np.int64)


def cross_validated(
    fit: Callable[[Floats, Bools], Callable[[Floats], Floats]],
    signals_VF: Floats,
    is_match_V: Bools,
    component_V: Ints,
    *,
    num_folds: int = 5,
) -> Floats:
    """Each verdict's probability from a proposal that saw none of its component [V]."""
    from sklearn.model_selection import GroupKFold

    folds = min(num_folds, len(np.unique(component_V)))
    if folds < 2:
        return fit(signals_VF[:0], is_match_V[:0])(signals_VF)
    found = np.zeros(len(is_match_V))
    for train, test in GroupKFold(folds).split(signals_VF, is_match_V, component_V):
        found[test] = fit(signals_VF[train], is_match_V[train])(signals_VF[test])
    return found


def quality(probability_V: Floats, is_match_V: Bools) -> Quality:
    """The figures of probabilities against verdicts."""
    return Quality(
        num_verdicts=len(is_match_V),
        num_match=int(is_match_V.sum()),
        average_precision=average_precision(probability_V, is_match_V),
        calibration_error=calibration_error(probability_V, is_match_V) if len(is_match_V) else None,
        brier_skill=brier_skill(probability_V, is_match_V),
        curve=calibration_curve(probability_V, is_match_V) if len(is_match_V) else (),
    )
