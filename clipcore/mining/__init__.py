"""Mining: which of the N² candidates are worth a person's time, and what they probably are. Pure, usable alone."""

from clipcore.mining.mine import MiningOptions, Suggestions, mine

__all__ = ["MiningOptions", "Suggestions", "mine"]
