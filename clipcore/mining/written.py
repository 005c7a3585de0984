"""Written negatives: a caption with one thing changed, so that it is no longer true of its image.

By lexicon and rules: colour, number, size, side and the other categories of the lexicon, negation, and subject against
object. Each is checked against all captions: what another image says is no negative.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clipcore.errors import ClipcoreError
from clipcore.mining.lexical import WORD, plain, words
from clipcore.mining.lexicon import ENGLISH, Lexicon
from clipcore.mining.things import is_thing


@dataclass(frozen=True)
class Written:
    """`text`: the caption at place `caption` with `was` changed to `now`; `kind`: a category, negation or order."""

    caption: int
    text: str
    kind: str
    was: str
    now: str


def write_negatives(
    captions: Sequence[str],
    *,
    lexicon: Lexicon = ENGLISH,
    num_negatives: int = 2,
    only: Sequence[int] | None = None,
) -> list[Written]:
    """Up to `num_negatives` edits of each caption (of the places `only`), of different kinds first.

    None says the same words as any caption. Raises `ClipcoreError` for num_negatives below 1.
    """
    if num_negatives < 1:
        raise ClipcoreError(f"num_negatives is {num_negatives}; ask for at least 1")
    taken, found = _sayings(captions, lexicon), []
    for place in range(len(captions)) if only is None else only:
        fresh = [w for w in _edits(place, captions[place], lexicon) if _saying(w.text, lexicon) not in taken]
        by_kind: dict[str, list[Written]] = {}
        for w in fresh:
            by_kind.setdefault(w.kind, []).append(w)
        turns = max((len(some) for some in by_kind.values()), default=0)
        dealt = [some[turn] for turn in range(turns) for some in by_kind.values() if turn < len(some)]
        for w in dealt[:num_negatives]:
            taken.add(_saying(w.text, lexicon))
            found.append(w)
    return found


def check_written(text: str, captions: Sequence[str], *, lexicon: Lexicon = ENGLISH) -> str:
    """A person's own wording, stripped. Raises `ClipcoreError` when it is empty or some caption says the same."""
    text = " ".join(text.split())
    if not text:
        raise ClipcoreError("the wording is empty; write a caption that is not true of the image")
    if _saying(text, lexicon) in _sayings(captions, lexicon):
        raise ClipcoreError(f"{text!r} is another image's caption already; decide that candidate instead")
    return text


def _saying(text: str, lexicon: Lexicon) -> str:
    return plain(text, (lexicon,))


def _sayings(captions: Sequence[str], lexicon: Lexicon) -> set[str]:
    return {_saying(text, lexicon) for text in captions}


def _edits(place: int, text: str, lexicon: Lexicon) -> Iterator[Written]:
    value_of = lexicon.value_of()
    for match in WORD.finditer(text):
        word = match.group()
        for part_at, part in _parts(word):
            category, value = value_of.get(part.casefold(), ("", ""))
            start = match.start() + part_at
            if category in lexicon.compared_only or is_thing(text, start, part, category, lexicon):
                continue
            for other in lexicon.words.get(category, {}):
                form = _form(text[:start], part.casefold(), category, value, other, lexicon)
                if other != value and form:
                    now = _cased(form, part)
                    before = _article(text[:start], now) if lexicon.language == "en" else text[:start]
                    yield Written(place, before + now + text[start + len(part) :], category, part, now)
    for was, now in lexicon.negation:
        for match in WORD.finditer(text):
            if match.group().casefold() == was:
                yield Written(place, text[: match.start()] + now + text[match.end() :], "negation", was, now)
    for swap in lexicon.swaps:
        for match in re.finditer(rf" ({swap}) ", text):
            left, right = text[: match.start()], text[match.end() :]
            is_noun = is_thing(text, match.start(1), swap, "level", lexicon)
            if left.casefold() != right.casefold() and not is_noun:
                turned = f"{_cased(right, left)} {swap} {left[:1].lower()}{left[1:]}"
                yield Written(place, turned, "order", left, right)
                break


def _form(before: str, part: str, category: str, value: str, other: str, lexicon: Lexicon) -> str | None:
    """The word of `other` in the form that `part` has; None where the text does not settle which form that is.

    A wrong form would tell the negative by its grammar instead of by what it says.
    """
    here, there = lexicon.words[category][value], lexicon.words[category][other]
    if lexicon.agreement is None or len(there) == 1:
        return there[0]
    near = words(before)[-2:]  # an article farther off may belong to another noun
    if category == "colour" and near and near[-1] in lexicon.agreement:
        return None  # "une rose": colours follow their noun, so this is one
    places = [n for n, form in enumerate(here) if form == part]
    articles = [lexicon.agreement[word] for word in near if word in lexicon.agreement]
    fits = [n for n in places if n in articles[-1]] if articles else []
    forms = {there[n] for n in fits or places if n < len(there)}
    return forms.pop() if len(forms) == 1 else None


def _parts(word: str) -> Iterator[tuple[int, str]]:
    at = 0
    for part in word.split("-"):
        yield at, part
        at += len(part) + 1


def _article(before: str, word: str) -> str:
    """English: "a red" becomes "an orange"."""
    vowel = word[:1].lower() in "aeiou"
    return re.sub(r"\b([Aa])n? $", r"\1n " if vowel else r"\1 ", before)


def _cased(word: str, like: str) -> str:
    return word[:1].upper() + word[1:] if like[:1].isupper() else word
