"""What is a thing is no quality and no relation: written negatives change no noun, and languages are told from captions."""

import pytest

from clipcore.mining import lexicon_of, write_negatives
from clipcore.mining.languages import lexicons_of
from clipcore.mining.lexical import CaptionWords


def edits(language, text):
    return [w.text for w in write_negatives([text], lexicon=lexicon_of(language), num_negatives=12)]


@pytest.mark.parametrize(
    ("language", "text", "wrong"),
    [
        ("en", "an orange on a table", "a red"),
        ("en", "orange on a table", "red"),
        ("en", "a glass of water", "wooden"),
        ("en", "a man with a light", "dark"),
        ("en", "a light on the wall", "dark"),
        ("en", "a white", "red"),
        ("es", "un sobre rojo", "bajo"),
        ("es", "sobre con flecha", "bajo"),
        ("es", "el bajo en la sala", "sobre"),
        ("es", "una rosa roja", "verde roja"),
        ("fr", "rose sur une table", "rouge"),
        ("fr", "des sous sur la table", "des sur"),
        ("de", "eine Orange auf dem Tisch", "rote"),
    ],
)
def test_a_noun_is_not_changed_like_a_quality(language, text, wrong):
    assert not [edit for edit in edits(language, text) if wrong in edit]


@pytest.mark.parametrize(
    ("language", "text", "right"),
    [
        ("en", "an orange car", "a red car"),
        ("en", "the car is orange", "the car is red"),
        ("en", "a red and blue flag", "a green and blue flag"),
        ("en", "a glass table", "a wooden table"),
        ("en", "a small dog, asleep", "a big dog, asleep"),
        ("es", "un sobre sobre la mesa", "un sobre bajo la mesa"),
        ("es", "un coche rojo sobre la hierba", "un coche verde sobre la hierba"),
        ("fr", "une robe rose", "une robe verte"),
        ("fr", "un chat sur une chaise", "un chat sous une chaise"),
        ("de", "das Auto ist rot", "das Auto ist gelb"),
    ],
)
def test_a_quality_or_a_relation_is_changed(language, text, right):
    assert right in edits(language, text)


def test_captions_are_compared_by_the_languages_they_are_in():
    english = ["a red cup", "the rose", "a blue hat", "two men", "a small die"] * 20
    french = [
        "une tasse rouge",
        "un chapeau bleu",
        "deux femmes",
        "le petit chien noir",
        "la voiture verte",
    ] * 3
    assert [x.language for x in lexicons_of(english)] == ["en"]
    assert {x.language for x in lexicons_of(english + french)} == {"en", "fr"}
    assert [x.language for x in lexicons_of([])] == ["en"]
    texts = ["a red cup", "une tasse rouge", "une tasse bleue", "una taza roja"]
    said = CaptionWords(texts, [lexicon_of(code) for code in ("en", "fr", "es")])
    assert said.conflict([0, 0, 0, 1], [1, 2, 3, 2]).tolist() == [0, 1, 0, 1]
