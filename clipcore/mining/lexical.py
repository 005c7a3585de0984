"""Two captions compared by their words: overlap, which words differ, and whether those can be told apart by eye."""

import re
from dataclasses import dataclass

WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*", re.UNICODE)
COLOURS = frozenset(
    [
        "red",
        "orange",
        "yellow",
        "green",
        "blue",
        "purple",
        "brown",
        "black",
        "white",
        "grey",
        "gray",
        "pink",
        "dark",
        "light",
        "medium",
    ]
)
NUMBERS = frozenset(
    [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirty",
    ]
)


@dataclass(frozen=True)
class Difference:
    """`only_first` and `only_second`: words that the other lacks; `overlap`: Jaccard of the word sets, 0 … 1."""

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    overlap: float
    colour_or_number: bool


def words(text: str) -> list[str]:
    """The words of a caption in lower case."""
    return WORD.findall(text.lower())


def compare(first: str, second: str) -> Difference:
    """How two captions differ."""
    a, b = words(first), words(second)
    set_a, set_b = set(a), set(b)
    union = set_a | set_b
    differing = set_a ^ set_b
    telling = any(
        w in COLOURS or w in NUMBERS or w.isdigit() or w.split("-")[0] in COLOURS for w in differing
    )
    return Difference(
        tuple(w for w in a if w not in set_b),
        tuple(w for w in b if w not in set_a),
        len(set_a & set_b) / len(union) if union else 1.0,
        telling,
    )
