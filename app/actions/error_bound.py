"""How wrong a slice may be when k of n judged at random were wrong: Clopper and Pearson's exact upper bound."""

from math import exp, lgamma, log, log1p

STEPS = 200  # halvings: far beyond a float's 53 bits


def upper_bound(num_errors: int, num_judged: int, *, alpha: float = 0.05) -> float:
    """The error rate p at which at most `num_errors` of `num_judged` has probability `alpha` (one-sided).

    0 of 60 gives 0.0487 at alpha 0.05. Clopper & Pearson 1934. Raises ValueError for counts that cannot be.
    """
    if not 0 <= num_errors <= num_judged or not 0.0 < alpha < 1.0:
        raise ValueError(f"{num_errors} errors of {num_judged} at alpha {alpha} cannot be")
    if num_errors == num_judged:
        return 1.0
    low, high = num_errors / num_judged, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if at_most(num_errors, num_judged, middle) > alpha:
            low = middle
        else:
            high = middle
    return high


def at_most(num_errors: int, num_judged: int, rate: float) -> float:
    """The probability of at most `num_errors` among `num_judged` when each is wrong with probability `rate`."""
    if rate <= 0.0:
        return 1.0
    if rate >= 1.0:
        return float(num_errors >= num_judged)
    return sum(exp(_log_term(k, num_judged, rate)) for k in range(num_errors + 1))


def smallest_sample(target: float, *, num_errors: int = 0, alpha: float = 0.05) -> int:
    """The fewest judgements that can show an error rate of at most `target` with `num_errors` errors among them."""
    size = num_errors + 1
    while at_most(num_errors, size, target) > alpha:
        size += 1
    return size


def _log_term(k: int, n: int, rate: float) -> float:
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return ways + k * log(rate) + (n - k) * log1p(-rate)
