"""The heads: one file each, ordinary autograd over `clipcore.logits.Logits`. The table is in docs/losses.md."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from clipcore.errors import ClipcoreError
from clipcore.logits import Logits
from clipcore.losses.debiased import debiased, hard_debiased
from clipcore.losses.decoupled import decoupled
from clipcore.losses.global_contrast import GlobalContrast
from clipcore.losses.hinge import hinge
from clipcore.losses.hn_nce import hn_nce
from clipcore.losses.info_nce import info_nce
from clipcore.losses.sigmoid import sigmoid

Head = Callable[[Logits], Tensor]
HEADS: dict[str, Callable[..., Tensor]] = {
    "info_nce": info_nce,
    "decoupled": decoupled,
    "hn_nce": hn_nce,
    "debiased": debiased,
    "hard_debiased": hard_debiased,
    "sigmoid": sigmoid,
    "hinge": hinge,
}


@dataclass
class WeightedSum:
    """A sum of heads: `parts` is (name, weight, head) for each; the last call's parts are kept in `last`."""

    parts: list[tuple[str, float, Head]]
    last: dict[str, float] = field(default_factory=dict)

    def __call__(self, logits: Logits) -> Tensor:
        """The weighted sum, a scalar."""
        values = [(name, weight, head(logits)) for name, weight, head in self.parts]
        self.last = {name: float(value.detach()) for name, _, value in values}
        total = values[0][1] * values[0][2]
        for _, weight, value in values[1:]:
            total = total + weight * value
        return total


def make_head(name: str, **options: float) -> Head:
    """The head of that name with its options bound. Raises ClipcoreError for a name that does not exist."""
    if name not in HEADS:
        raise ClipcoreError(f"Unknown loss {name!r}: use one of {', '.join(HEADS)}.")
    head = HEADS[name]
    return lambda logits: head(logits, **options)


__all__ = ["HEADS", "GlobalContrast", "Head", "WeightedSum", "make_head"]
