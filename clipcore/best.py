"""Which weights are worth keeping: the best by a named metric, early stop, and the mix that forgets little."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from clipcore.config import EvaluationConfig
from clipcore.errors import ClipcoreError
from clipcore.events import Mix
from clipcore.weights import Weights, copy_of

ACCEPTED_LOSS = 0.01  # of retention: one point


class Best:
    """The best weights so far by `config.metric`, and how many evaluations ago that was."""

    def __init__(self, config: EvaluationConfig):
        self.config = config
        self.metric, self.step, self.stale = -math.inf, 0, 0
        self.weights: Weights | None = None

    def value(self, metrics: Mapping[str, float]) -> float:
        """The named metric. Raises ClipcoreError when there is none of that name."""
        return _named(metrics, self.config.metric)

    def offer(self, metric: float, step: int, weights: Mapping[str, Tensor]) -> None:
        """Keeps a copy of the weights when the metric is larger than ever before."""
        if metric > self.metric:
            self.metric, self.step, self.stale = metric, step, 0
            if self.config.keep == "best":
                self.weights = copy_of(weights)
        else:
            self.stale += 1

    @property
    def is_stale(self) -> bool:
        """Whether `patience` evaluations in a row brought nothing better."""
        return 0 < self.config.patience <= self.stale

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights."""
        return {"metric": self.metric, "step": self.step, "stale": self.stale}

    def load(self, state: dict[str, Any], weights: Weights, like: Mapping[str, Tensor]) -> None:
        """Goes on from `state()`; the weights are brought to the devices of `like`."""
        self.metric, self.step, self.stale = state["metric"], state["step"], state["stale"]
        self.weights = {k: v.to(like[k].device) for k, v in weights.items()} or None


def recommend(mixes: Sequence[Mix], metric: str) -> float:
    """The share with the best metric among those that lose at most one point of retention against share 0."""
    base = mixes[0].metrics.get("retention_map_at_r", math.nan)
    kept = [
        m for m in mixes if not m.metrics.get("retention_map_at_r", math.nan) < base - ACCEPTED_LOSS
    ]  # without a retention set all of them
    return max(kept, key=lambda m: _named(m.metrics, metric)).share


def _named(metrics: Mapping[str, float], name: str) -> float:
    if name not in metrics:
        raise ClipcoreError(f"There is no metric {name!r}: use one of {', '.join(sorted(metrics))}.")
    return metrics[name]
