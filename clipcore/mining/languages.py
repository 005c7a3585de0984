"""Which lexicon writes negatives: by the language's code, or by the captions themselves."""

from collections.abc import Sequence
from typing import Literal

from clipcore.errors import ClipcoreError
from clipcore.mining.lexical import words
from clipcore.mining.lexicon import ENGLISH, GERMAN, Lexicon
from clipcore.mining.romance import FRENCH, SPANISH

Language = Literal["auto", "en", "de", "fr", "es"]
LEXICONS = {lexicon.language: lexicon for lexicon in (ENGLISH, GERMAN, FRENCH, SPANISH)}
TELLING = 5  # words of a language, or it is not taken to be spoken
LOOKED_AT = 2_000  # captions that tell the language


def lexicon_of(language: str, captions: Sequence[str] = ()) -> Lexicon:
    """The lexicon of a code; for "auto" the one that knows most words of the captions, English where none knows more.

    Raises `ClipcoreError` for a language without lexicon.
    """
    if language == "auto":
        step = max(1, len(captions) // LOOKED_AT)
        said = [word for text in captions[::step] for word in words(text)]
        return max(LEXICONS.values(), key=lambda lexicon: _num_known(said, lexicon))
    if language not in LEXICONS:
        raise ClipcoreError(
            f"there is no lexicon for {language!r}; choose auto, {', '.join(LEXICONS)}, or pass a Lexicon of your own"
        )
    return LEXICONS[language]


def lexicons_of(captions: Sequence[str]) -> tuple[Lexicon, ...]:
    """The lexicons by which captions are compared: that of the language that knows most of their words, and each other one
    of which a hundredth of the captions have a word that no other lexicon knows, `TELLING` different ones in all."""
    step = max(1, len(captions) // LOOKED_AT)
    said = [set(words(text)) for text in captions[::step]]
    first = lexicon_of("auto", captions)
    found = [first]
    for lexicon in LEXICONS.values():
        others = set().union(*(_known(x) for x in LEXICONS.values() if x is not lexicon))
        own = _known(lexicon) - others
        num = sum(not own.isdisjoint(some) for some in said)
        if lexicon is not first and num * 100 >= len(said) and len(own & set().union(*said)) >= TELLING:
            found.append(lexicon)
    return tuple(found)


def _num_known(said: Sequence[str], lexicon: Lexicon) -> int:
    known = _known(lexicon)
    return sum(word in known for word in said)


def _known(lexicon: Lexicon) -> frozenset[str]:
    small = {word for was, _ in lexicon.negation for word in was.split()}
    return lexicon.articles | small | lexicon.value_of().keys()
