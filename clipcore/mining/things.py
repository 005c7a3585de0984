"""Whether a word of a lexicon is a thing here ("an orange on a table", "un sobre rojo") and not a quality or a relation.

No grammar, only the neighbours: what stands between an article and the end, or a preposition, is the noun; what may be a
noun is one where it begins a caption or has nothing to describe. In doubt no edit is written.
"""

from clipcore.mining.lexical import WORD
from clipcore.mining.lexicon import Lexicon

QUALITIES = frozenset(["colour", "shade", "size", "height", "material", "openness"])


def is_thing(text: str, start: int, word: str, category: str, lexicon: Lexicon) -> bool:
    """Whether `word`, which begins at `start` of `text` and belongs to `category`, is a noun."""
    before, after = text[:start], text[start + len(word) :]
    last = _last(before)
    is_after_article = last in lexicon.articles
    opens = not last or last in lexicon.small  # the text or a phrase
    may_be = word.casefold() in lexicon.also_nouns
    if category not in QUALITIES:
        return may_be and (is_after_article or not last or _ends(after, lexicon))
    if lexicon.agreement and category == "colour":  # follows its noun, so it is one itself
        return is_after_article or (may_be and opens)
    if last in _linking(lexicon):
        return False  # "the car is orange"
    return (is_after_article or (may_be and opens)) and _ends(after, lexicon, category)


def _last(before: str) -> str:
    """The word just before, in lower case; empty at the beginning and after punctuation."""
    found = list(WORD.finditer(before))
    if not found or before[found[-1].end() :].strip():
        return ""
    return found[-1].group().casefold()


def _ends(after: str, lexicon: Lexicon, category: str = "") -> bool:
    """Whether nothing follows that could be described. "A red and blue flag" goes on."""
    found = list(WORD.finditer(after))[:2]
    if not found or after[: found[0].start()].strip():
        return True
    following = [match.group().casefold() for match in found]
    if following[0] not in lexicon.small:
        return False
    goes_on = len(following) > 1 and lexicon.value_of().get(following[1], ("", ""))[0] == category != ""
    return not goes_on


def _linking(lexicon: Lexicon) -> set[str]:
    return {was for was, now in lexicon.negation if was in now.split()}
