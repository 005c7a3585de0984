"""Near duplicates are decided and taken back together; written negatives; questions about pairs; disputed verdicts."""

import uuid

import pytest
from sqlalchemy import select, update

from app.actions.add_suggestions import NewSuggestion, add_suggestions
from app.actions.add_written import add_written
from app.actions.decide import Decision, decide
from app.actions.make_labels import make_labels, written_captions
from app.actions.take_snapshot import pair_columns, verdict_columns
from app.actions.undo import undo
from app.errors import NearmissError
from app.store.database import Database
from app.store.models import Caption, CurrentVerdict, Suggestion
from app.store.reads.data_sets import num_open
from app.store.reads.queue import next_items
from clipcore.config import LabelsConfig

ALIKE = [(1, 4), (2, 4), (3, 4)]


def key() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def grouped(seeded: Database) -> Database:
    """Three suggestions that ask the same of near-identical pictures."""
    with seeded.transaction() as session:
        for image_id, caption_id in ALIKE:
            session.execute(
                update(Suggestion)
                .where(Suggestion.image_id == image_id, Suggestion.caption_id == caption_id)
                .values(group_key="same")
            )
    return seeded


def standing(database: Database) -> dict[tuple[int, int], str]:
    with database.reading() as session:
        rows = session.execute(
            select(CurrentVerdict.image_id, CurrentVerdict.caption_id, CurrentVerdict.answer)
        )
        return {(row.image_id, row.caption_id): row.answer for row in rows}


def test_one_answer_settles_its_group_and_one_undo_takes_all_back(grouped: Database) -> None:
    with grouped.reading() as session:
        before = num_open(session, 1)
    with grouped.transaction() as session:
        saved = decide(session, decisions=[Decision(key(), 1, 4, "match")], person="ana")
    assert len(saved) == 1 and standing(grouped) == dict.fromkeys(ALIKE, "match")
    with grouped.reading() as session:
        assert num_open(session, 1) == before - 3
    with grouped.transaction() as session:
        assert undo(session, new_uuid=key(), person="ana").caption_id == 4
    assert standing(grouped) == {}
    with grouped.reading() as session:
        assert num_open(session, 1) == before


def test_a_retry_settles_the_group_once_and_a_person_may_differ_on_one(grouped: Database) -> None:
    again = Decision(key(), 1, 4, "no_match")
    for _ in range(2):
        with grouped.transaction() as session:
            decide(session, decisions=[again], person="ana")
    with grouped.transaction() as session:
        decide(session, decisions=[Decision(key(), 2, 4, "match")], person="ana")
    assert standing(grouped) == {(1, 4): "no_match", (2, 4): "match", (3, 4): "no_match"}


def test_no_to_the_question_about_a_pair_means_that_it_is_broken(seeded: Database) -> None:
    with seeded.transaction() as session:
        asked = NewSuggestion(5, 5, "broken_pair", probability=0.1, score=0.1, impact=99.0)
        add_suggestions(session, data_set_id=1, model_id=1, suggestions=[asked])
    with seeded.reading() as session:
        item = next_items(session, 1, order="impact", limit=1).items[0]
    assert (item.image_id, item.caption_id, item.proposed) == (5, 5, "broken_pair")
    with seeded.transaction() as session:
        decide(
            session,
            decisions=[Decision(key(), 5, 5, "no_match", suggestion_id=item.suggestion_id)],
            person="ana",
        )
    assert standing(seeded) == {(5, 5): "broken_pair"}
    with seeded.transaction() as session, pytest.raises(NearmissError, match="answer broken_pair"):
        decide(session, decisions=[Decision(key(), 6, 6, "no_match")], person="ana")


def test_a_disputed_verdict_is_asked_again_and_stands_until_it_is_answered(seeded: Database) -> None:
    with seeded.transaction() as session:
        decide(session, decisions=[Decision(key(), 1, 2, "no_match")], person="ana")
    disputed = NewSuggestion(1, 2, "match", probability=0.97, score=0.8, impact=99.0, ask_again=True)
    with seeded.transaction() as session:
        add_suggestions(session, data_set_id=1, model_id=1, suggestions=[disputed])
    with seeded.reading() as session:
        item = next_items(session, 1, order="impact", limit=1).items[0]
    assert (item.image_id, item.caption_id) == (1, 2) and standing(seeded)[1, 2] == "no_match"
    with seeded.transaction() as session:
        decide(
            session,
            decisions=[Decision(key(), 1, 2, "match", suggestion_id=item.suggestion_id)],
            person="ben",
        )
    assert standing(seeded)[1, 2] == "match"


def test_a_written_negative_teaches_its_own_image_alone(seeded: Database) -> None:
    wishes = [(1, "thing 1 in red", "written"), (2, "thing 7", "another image's caption")]
    with seeded.transaction() as session:
        add_written(session, data_set_id=1, model_id=1, written=wishes)
        caption = session.scalars(select(Caption).where(Caption.text == "thing 1 in red")).one()
        asked = session.scalars(select(Suggestion).where(Suggestion.caption_id == caption.id)).all()
        assert [(s.image_id, s.proposed) for s in asked] == [(1, "no_match")]
        caption_id = caption.id
    with seeded.transaction() as session:
        decide(session, decisions=[Decision(key(), 1, caption_id, "no_match")], person="ana")
    with seeded.reading() as session:
        pairs, verdicts = pair_columns(session, 1), verdict_columns(session, 1)
    assert written_captions(verdicts) == {str(caption_id): "thing 1 in red"}
    labels = make_labels(pairs, verdicts, config=LabelsConfig())
    assert [x.caption_id for x in labels.hard_captions("1")] == [str(caption_id)]
    assert labels.hard_captions("2") == []
