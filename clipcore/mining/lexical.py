"""Captions compared by their words: overlap, which words differ, and whether what they name excludes each other.

M captions, S pairs of captions, C categories of the lexicons, V words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcore.mining.lexicon import ENGLISH, GERMAN, Lexicon

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*", re.UNICODE)
LEXICONS = (ENGLISH, GERMAN)
BITS = 62  # values of one category; digits beyond share a bit


@dataclass(frozen=True)
class Difference:
    """`only_first` and `only_second`: words that the other lacks, in their order."""

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def words(text: str) -> list[str]:
    """The words of a caption in lower case."""
    return WORD.findall(text.casefold())


def compare(first: str, second: str) -> Difference:
    """Which words differ."""
    a, b = words(first), words(second)
    return Difference(tuple(w for w in a if w not in set(b)), tuple(w for w in b if w not in set(a)))


def plain(text: str, lexicons: Sequence[Lexicon] = LEXICONS) -> str:
    """The caption without case, punctuation, articles and spaces: equal for captions that say the same words."""
    articles = frozenset().union(*(lexicon.articles for lexicon in lexicons)) if lexicons else frozenset()
    found = words(text)
    return " ".join([w for w in found if w not in articles] or found) or " ".join(text.split())


class CaptionWords:
    """All captions' words, ready for many comparisons at once. A rare word counts more (inverse document frequency)."""

    def __init__(self, captions: Sequence[str], lexicons: Sequence[Lexicon] = LEXICONS) -> None:
        from scipy.sparse import csr_matrix

        number: dict[str, int] = {}
        rows = [sorted({number.setdefault(w, len(number)) for w in words(text)}) for text in captions]
        at = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        column = np.array([w for row in rows for w in row], dtype=np.int64)
        seen_V = np.bincount(column, minlength=len(number)) if number else np.zeros(0)
        weight_V = np.log1p(len(captions) / np.maximum(seen_V, 1))
        self.word_MV = csr_matrix(
            (np.sqrt(weight_V[column]), column, at), shape=(len(captions), max(1, len(number)))
        )
        self.mass_M = np.asarray(self.word_MV.power(2).sum(axis=1)).ravel()
        self.value_MC, self.order_MC = _values(captions, lexicons)
        denials = {word for lexicon in lexicons for word in lexicon.denials}
        self.denies_M = np.array([not denials.isdisjoint(words(text)) for text in captions], dtype=bool)

    def shared(self, first_S: Ints, second_S: Ints) -> Floats:
        """The weight of the words that both captions have [S]."""
        both = self.word_MV[first_S].multiply(self.word_MV[second_S])
        return np.asarray(both.sum(axis=1), dtype=np.float64).ravel()

    def overlap(self, first_S: Ints, second_S: Ints) -> Floats:
        """Weighted Jaccard index [S], 0 … 1."""
        shared = self.shared(first_S, second_S)
        return shared / np.maximum(self.mass_M[first_S] + self.mass_M[second_S] - shared, 1e-12)

    def contained(self, own_S: Ints, other_S: Ints) -> Floats:
        """How much of `other`'s words `own` has [S]: at 1 the other caption says no more than the own one."""
        return self.shared(own_S, other_S) / np.maximum(self.mass_M[other_S], 1e-12)

    def entailed(self, own_S: Ints, other_S: Ints) -> Floats:
        """1 where the other caption has words, all of them the own caption's, in no other order, and denied or not alike [S]."""
        all_there = (self.contained(own_S, other_S) > 1 - 1e-9) & (self.mass_M[other_S] > 0)
        alike = (self.denies_M[own_S] == self.denies_M[other_S]) & (self.reordered(own_S, other_S) == 0)
        return (all_there & alike).astype(np.float64)

    def reordered(self, first_S: Ints, second_S: Ints) -> Floats:
        """1 where both captions name the same values of some category in another order ("a red cup, a blue box") [S]."""
        same = (self.value_MC[first_S] == self.value_MC[second_S]).all(axis=1)
        other = (self.order_MC[first_S] != self.order_MC[second_S]).any(axis=1)
        return (same & other).astype(np.float64)

    def conflict(self, first_S: Ints, second_S: Ints) -> Floats:
        """In how many categories (colour, number, …) both captions name something and not the same [S]."""
        a, b = self.value_MC[first_S], self.value_MC[second_S]
        return ((a != 0) & (b != 0) & (a != b)).sum(axis=1).astype(np.float64)


def _values(captions: Sequence[str], lexicons: Sequence[Lexicon]) -> tuple[Ints, Ints]:
    """A bit for each value that a caption names, by category [M, C], the last category is digits; and a number for the
    order in which it names them."""
    names = sorted({category for lexicon in lexicons for category in lexicon.words})
    place_of: dict[str, set[tuple[int, int]]] = {}
    values: dict[str, dict[str, int]] = {name: {} for name in names}
    for lexicon in lexicons:
        for category, by_value in lexicon.words.items():
            for value, some in by_value.items():
                place = values[category].setdefault(value, len(values[category])) % BITS
                for word in some:
                    place_of.setdefault(word, set()).add((names.index(category), place))
    found = np.zeros((len(captions), len(names) + 1), dtype=np.int64)
    order = np.zeros_like(found)
    for m, text in enumerate(captions):
        for whole in words(text):
            for word in dict.fromkeys((whole, *whole.split("-"))):
                at = [*place_of.get(word, ()), *([(len(names), int(word) % BITS)] if word.isdigit() else [])]
                for column, place in at:
                    found[m, column] |= 1 << place
                    order[m, column] = (int(order[m, column]) * 64 + place + 1) % 1_000_000_007
    return found, order
