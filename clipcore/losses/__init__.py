"""The heads: one file each, ordinary autograd over `clipcore.logits.Logits`. The table is in docs/losses.md."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import signature

from torch import Tensor

from clipcore.config import LossConfig
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
        self.last |= {f"{name}_loss": head.last_loss for name, head in self._with_memory()}
        total = values[0][1] * values[0][2]
        for _, weight, value in values[1:]:
            total = total + weight * value
        return total

    def at(self, images: Sequence[int], captions: Sequence[int]) -> None:
        """Tells heads with a memory which items the next batch's rows and columns are."""
        for _, head in self._with_memory():
            head.at(images, captions)

    def state(self) -> dict[str, Tensor]:
        """The memory of all heads, by name."""
        return {f"{name}.{k}": v for name, head in self._with_memory() for k, v in head.state().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Goes on from `state()`."""
        for name, head in self._with_memory():
            head.load_state({k: state[f"{name}.{k}"] for k in head.state()})

    def _with_memory(self) -> list[tuple[str, GlobalContrast]]:
        return [(name, head) for name, _, head in self.parts if isinstance(head, GlobalContrast)]


def make_loss(config: LossConfig, *, num_images: int = 0, num_captions: int = 0) -> WeightedSum:
    """The weighted sum of the heads of a configuration; those of weight 0 are left out.

    `num_images` and `num_captions` are the items of the data set, which global contrast remembers.
    Raises ClipcoreError for a head or an option that does not exist.
    """
    parts: list[tuple[str, float, Head]] = []
    for name, weight in config.heads.items():
        options = config.options.get(name, {})
        if weight and name == "global_contrast":
            parts.append((name, weight, GlobalContrast(num_images, num_captions, **options)))
        elif weight:
            parts.append((name, weight, make_head(name, **options)))
    return WeightedSum(parts)


def make_head(name: str, **options: float) -> Head:
    """The head of that name with its options bound. Raises ClipcoreError for a name or option that does not exist."""
    if name not in HEADS:
        raise ClipcoreError(f"Unknown loss {name!r}: use one of {', '.join([*HEADS, 'global_contrast'])}.")
    head = HEADS[name]
    known = [p for p in signature(head).parameters if p != "logits"]
    for option in options:
        if option not in known:
            raise ClipcoreError(
                f"The loss {name} has no option {option!r}: it has {', '.join(known) or 'none'}."
            )
    return lambda logits: head(logits, **options)


__all__ = ["HEADS", "GlobalContrast", "Head", "WeightedSum", "make_head", "make_loss"]
