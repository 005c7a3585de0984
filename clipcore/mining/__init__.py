"""Mining: which of the N² candidates are worth a person's time, and what they probably are. Pure, usable alone."""

from clipcore.mining.duplicates import fingerprint
from clipcore.mining.languages import lexicon_of
from clipcore.mining.mine import MiningOptions, Suggestions, mine
from clipcore.mining.written import check_written, write_negatives

__all__ = [
    "MiningOptions",
    "Suggestions",
    "check_written",
    "fingerprint",
    "lexicon_of",
    "mine",
    "write_negatives",
]
