"""Words that tell captions apart, by language: a category's values exclude each other. Pluggable: make a `Lexicon`.

Values are named in English in every language, so that "rot" and "red" agree and "rot" and "blue" do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Lexicon:
    """`words`: category → value → the words for it. `swaps`: words around which subject and object can change places.

    `negation`: (word, its negated form) pairs. `articles` are dropped when captions are compared.
    `agreement`: article → places of the forms that can follow it, where a value's words are forms of one adjective in an
    order that all values share; None: a value's first word stands for it. `compared_only`: categories that no edit changes,
    because articles would have to change with them. `denials`: words after which a caption no longer says what its other
    words say. `small`: prepositions, conjunctions and forms of "be": an adjective before one has nothing to describe.
    `also_nouns`: words of the categories that are things too (an orange, a glass, un sobre).
    """

    language: str
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    swaps: tuple[str, ...] = ()
    negation: tuple[tuple[str, str], ...] = ()
    articles: frozenset[str] = frozenset()
    agreement: Mapping[str, tuple[int, ...]] | None = None
    compared_only: frozenset[str] = frozenset()
    denials: frozenset[str] = frozenset()
    small: frozenset[str] = frozenset()
    also_nouns: frozenset[str] = frozenset()

    def value_of(self) -> dict[str, tuple[str, str]]:
        """word → (category, value)."""
        return {
            word: (category, value)
            for category, values in self.words.items()
            for value, words in values.items()
            for word in words
        }


def _same(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in names}


ENGLISH = Lexicon(
    "en",
    words={
        "colour": {
            **_same("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "pink"),
            "grey": ("grey", "gray"),
        },
        "shade": _same("dark", "medium", "light"),
        "number": {
            **_same(
                "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"
            ),
            "one": ("one",),
            "thirty": ("thirty",),
        },
        "size": {"big": ("big", "large", "huge"), "small": ("small", "little", "tiny")},
        "height": _same("tall", "short"),
        "side": {"left": ("left", "leftwards"), "right": ("right", "rightwards")},
        "direction": {"up": ("up", "upwards"), "down": ("down", "downwards")},
        "level": {"above": ("above", "over"), "below": ("below", "under", "beneath", "underneath")},
        "depth": {"front": ("front",), "behind": ("behind",)},
        "inside": {"in": ("inside",), "out": ("outside",)},
        "material": _same("wooden", "metal", "plastic", "glass", "paper", "leather", "stone"),
        "gender": {
            "female": ("woman", "women", "girl", "female", "mrs"),
            "male": ("man", "men", "boy", "male", "santa"),
        },
        "openness": {"open": ("open", "opened"), "closed": ("closed", "shut")},
    },
    swaps=(
        "on",
        "above",
        "below",
        "under",
        "over",
        "behind",
        "chasing",
        "holding",
        "riding",
        "carrying",
    ),
    negation=(("with", "without"), ("without", "with"), ("is", "is not"), ("are", "are not")),
    articles=frozenset(["a", "an", "the"]),
    denials=frozenset(["no", "not", "never", "without", "non"]),
    small=frozenset(
        [
            "on",
            "in",
            "at",
            "of",
            "off",
            "by",
            "to",
            "from",
            "for",
            "with",
            "without",
            "and",
            "or",
            "but",
            "above",
            "over",
            "below",
            "under",
            "beneath",
            "behind",
            "near",
            "beside",
            "between",
            "inside",
            "outside",
            "into",
            "onto",
            "across",
            "against",
            "around",
            "through",
            "next",
            "is",
            "are",
            "was",
            "were",
            "being",
            "has",
            "that",
            "which",
            "while",
            "as",
        ]
    ),
    also_nouns=frozenset(
        ["orange", "glass", "paper", "plastic", "leather", "metal", "stone", "light", "short"]
    ),
)

GERMAN = Lexicon(
    "de",
    words={
        "colour": {
            "red": ("rot", "rote", "roter", "rotes", "roten"),
            "orange": ("orange", "orange", "orangefarbener"),
            "yellow": ("gelb", "gelbe", "gelber", "gelbes"),
            "green": ("grün", "grüne", "grüner", "grünes"),
            "blue": ("blau", "blaue", "blauer", "blaues"),
            "brown": ("braun", "braune", "brauner", "braunes"),
            "black": ("schwarz", "schwarze", "schwarzer", "schwarzes"),
            "white": ("weiß", "weiße", "weißer", "weißes"),
            "grey": ("grau", "graue", "grauer", "graues"),
        },
        "shade": {
            "dark": ("dunkle", "dunkel", "dunkler", "mitteldunkle"),
            "medium": ("mittlere", "mitteldunkle", "mittelhelle"),
            "light": ("helle", "hell", "heller", "mittelhelle"),
        },
        "number": {
            "two": ("zwei",),
            "three": ("drei",),
            "four": ("vier",),
            "five": ("fünf",),
            "six": ("sechs",),
            "seven": ("sieben",),
            "eight": ("acht",),
            "nine": ("neun",),
            "ten": ("zehn",),
        },
        "size": {
            "big": ("groß", "große", "großer", "großes"),
            "small": ("klein", "kleine", "kleiner", "kleines"),
        },
        "side": {"left": ("links",), "right": ("rechts",)},
        "direction": {"up": ("oben",), "down": ("unten",)},
        "gender": {"female": ("frau", "frauen", "mädchen"), "male": ("mann", "männer", "junge")},
    },
    # no swaps, no "mit"/"ohne": the cases would have to change with them
    negation=(("ist", "ist nicht"), ("sind", "sind nicht")),
    articles=frozenset(["ein", "eine", "einen", "einem", "einer", "der", "die", "das", "den", "dem"]),
    agreement={},
    compared_only=frozenset(["shade", "gender"]),
    denials=frozenset(["kein", "keine", "keinen", "nicht", "nie", "ohne"]),
    small=frozenset(
        [
            "auf",
            "in",
            "im",
            "an",
            "am",
            "aus",
            "bei",
            "mit",
            "ohne",
            "und",
            "oder",
            "aber",
            "über",
            "unter",
            "hinter",
            "vor",
            "neben",
            "zwischen",
            "von",
            "vom",
            "zu",
            "zum",
            "zur",
            "für",
            "ist",
            "sind",
            "war",
            "waren",
        ]
    ),
    also_nouns=frozenset(["orange"]),
)
