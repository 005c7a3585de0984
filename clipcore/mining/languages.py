"""Which lexicon writes negatives: by the language's code, or by the captions themselves."""

from collections.abc import Sequence
from typing import Literal

from clipcore.errors import ClipcoreError
from clipcore.mining.lexical import words
from clipcore.mining.lexicon import ENGLISH, GERMAN, Lexicon
from clipcore.mining.romance import FRENCH, SPANISH

Language = Literal["auto", "en", "de", "fr", "es"]
LEXICONS = {lexicon.language: lexicon for lexicon in (ENGLISH, GERMAN, FRENCH, SPANISH)}
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


def _num_known(said: Sequence[str], lexicon: Lexicon) -> int:
    small = {word for was, _ in lexicon.negation for word in was.split()}
    known = lexicon.articles | small | lexicon.value_of().keys()
    return sum(word in known for word in said)
