"""In which order suggestions are asked: impact, uncertainty, random, the three mixed, or anchor by anchor.

S suggestions. Every function returns the places of all of them, [S], the first to ask first.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PATTERN = "iiuiriuiui"  # of ten: six by impact, three by uncertainty, one at random


def by_impact(impact_S: Floats) -> Ints:
    """Largest impact first, equal ones as they stand."""
    return np.argsort(-impact_S, kind="stable")


def by_uncertainty(probability_S: Floats) -> Ints:
    """Nearest to one half first."""
    return np.argsort(np.abs(probability_S - 0.5), kind="stable")


def at_random(num: int, *, seed: int = 0) -> Ints:
    """A shuffle that the seed fixes."""
    return np.random.default_rng(seed).permutation(num)


def mixed(impact_S: Floats, probability_S: Floats, *, seed: int = 0) -> Ints:
    """60 % impact, 30 % uncertainty, 10 % random, dealt in turn, each suggestion once."""
    decks = {
        "i": by_impact(impact_S),
        "u": by_uncertainty(probability_S),
        "r": at_random(len(impact_S), seed=seed),
    }
    at = dict.fromkeys(decks, 0)
    taken, out = np.zeros(len(impact_S), dtype=bool), []
    for turn in range(len(impact_S)):
        name = PATTERN[turn % len(PATTERN)]
        while taken[decks[name][at[name]]]:
            at[name] += 1
        out.append(decks[name][at[name]])
        taken[out[-1]] = True
    return np.array(out, dtype=np.int64)


def by_anchor(anchor_S: Ints, order_S: Ints) -> Ints:
    """An order with each anchor's suggestions together, anchors in the order of their first one."""
    first: dict[int, int] = {}
    for place, s in enumerate(order_S):
        first.setdefault(int(anchor_S[s]), place)
    rank = np.array([first[int(anchor_S[s])] for s in order_S], dtype=np.int64)
    return order_S[np.argsort(rank, kind="stable")]
