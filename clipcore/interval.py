"""The interval of a paired difference, by bootstrap over clusters of queries. Numpy only; C clusters."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
AT_ONCE = 100  # resamples drawn together: C · 100 counts in memory


def paired_interval(
    before: NDArray[np.float64], after: NDArray[np.float64], cluster: Sequence[int], *, level: float = 0.95
) -> tuple[float, float, float]:
    """(gain, low, high): the mean difference and its percentile interval; nan bounds where there is one cluster."""
    _, place = np.unique(np.asarray(cluster), return_inverse=True)
    sum_C, size_C = np.bincount(place, weights=after - before), np.bincount(place)
    gain = float(sum_C.sum() / size_C.sum())
    if len(sum_C) < 2:
        return gain, float("nan"), float("nan")
    rng = np.random.default_rng(0)
    share_C = np.full(len(sum_C), 1 / len(sum_C))
    means = []
    for _ in range(RESAMPLES // AT_ONCE):
        drawn = rng.multinomial(len(sum_C), share_C, size=AT_ONCE)
        means.append((drawn @ sum_C) / (drawn @ size_C))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return gain, float(low), float(high)
