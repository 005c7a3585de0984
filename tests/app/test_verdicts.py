"""Verdicts: append-only, idempotent, nothing lost under concurrency, undone by rows."""

import random
import threading
import uuid
from itertools import pairwise

import pytest
from sqlalchemy import func, select, update

from app.actions.decide import Decision, decide
from app.actions.undo import undo
from app.errors import Conflict, NearmissError, NotFound
from app.store.database import Database
from app.store.models import Answer, CurrentVerdict, Image, Suggestion, Verdict
from app.store.reads.data_sets import num_open
from app.store.reads.queue import next_items


def key() -> str:
    return str(uuid.uuid4())


def say(database: Database, image_id: int, caption_id: int, answer: Answer, name: str = "") -> str:
    name = name or key()
    with database.transaction() as session:
        decide(session, decisions=[Decision(name, image_id, caption_id, answer)], person="ana")
    return name


def standing(database: Database, image_id: int, caption_id: int) -> str | None:
    with database.reading() as session:
        row = session.get(CurrentVerdict, (image_id, caption_id))
        return row.answer if row else None


def test_a_retry_saves_nothing_twice(seeded: Database) -> None:
    name = say(seeded, 1, 2, "match")
    say(seeded, 1, 2, "no_match")
    say(seeded, 1, 2, "match", name)
    with seeded.reading() as session:
        assert session.scalar(select(func.count()).select_from(Verdict)) == 2
    assert standing(seeded, 1, 2) == "no_match"


def test_undo_restores_the_verdict_before_and_then_the_question(seeded: Database) -> None:
    with seeded.reading() as session:
        all_open = num_open(session, 1)
    first, second = say(seeded, 1, 2, "match"), say(seeded, 1, 2, "no_match")
    with seeded.transaction() as session:
        assert undo(session, new_uuid=key(), person="ana").uuid == second
    assert standing(seeded, 1, 2) == "match"
    with seeded.transaction() as session:
        assert num_open(session, 1) == all_open - 1
        assert undo(session, new_uuid=key(), person="ana").uuid == first
        assert num_open(session, 1) == all_open
    assert standing(seeded, 1, 2) is None
    with seeded.transaction() as session, pytest.raises(NotFound, match="left to undo"):
        undo(session, new_uuid=key(), person="ana")


def test_an_undo_that_is_sent_again_takes_back_nothing_more(seeded: Database) -> None:
    say(seeded, 1, 2, "match")
    second, name = say(seeded, 1, 3, "match"), key()
    for _ in range(2):
        with seeded.transaction() as session:
            assert undo(session, new_uuid=name, person="ana").uuid == second
    assert standing(seeded, 1, 2) == "match"
    with seeded.transaction() as session, pytest.raises(Conflict, match="already"):
        undo(session, new_uuid=key(), uuid=second, person="ana")


def test_a_batch_keeps_its_order_for_undo(seeded: Database) -> None:
    names = [key() for _ in range(20)]
    with seeded.transaction() as session:
        decisions = [Decision(name, 1 + i % 3, 5 + i % 4, "match") for i, name in enumerate(names)]
        decide(session, decisions=decisions, person="ana")
    with seeded.transaction() as session:
        assert undo(session, new_uuid=key(), person="ana").uuid == names[-1]


def test_eight_annotators_lose_no_verdict(seeded: Database) -> None:
    names: list[list[str]] = [[key() for _ in range(100)] for _ in range(8)]
    errors: list[BaseException] = []

    def annotate(mine: list[str], seed: int) -> None:
        choose = random.Random(seed)
        try:
            for start in range(0, 100, 5):
                batch = []
                for name in mine[start : start + 5]:
                    image_id, caption_id = choose.sample(range(1, 13), 2)
                    batch.append(Decision(name, image_id, caption_id, choose.choice(["match", "unsure"])))
                with seeded.transaction() as session:
                    decide(session, decisions=batch, person=f"person {seed}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=annotate, args=(mine, i)) for i, mine in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with seeded.reading() as session:
        assert set(session.scalars(select(Verdict.uuid))) == {name for mine in names for name in mine}
        newest = select(func.max(Verdict.id)).group_by(Verdict.image_id, Verdict.caption_id)
        assert set(session.scalars(select(CurrentVerdict.verdict_id))) == set(session.scalars(newest))


def test_a_broken_pair_said_of_a_candidate_is_saved_on_the_images_own_pair(seeded: Database) -> None:
    say(seeded, 1, 2, "broken_pair")
    assert standing(seeded, 1, 1) == "broken_pair"
    assert standing(seeded, 1, 2) is None


def test_what_cannot_be_judged_is_refused_with_a_sentence(seeded: Database) -> None:
    with pytest.raises(NearmissError, match="answer broken_pair"):
        say(seeded, 1, 1, "no_match")
    with pytest.raises(NotFound, match="no image 99"):
        say(seeded, 99, 1, "match")
    with pytest.raises(NearmissError, match="is no UUID"):
        say(seeded, 1, 2, "match", "me")
    with seeded.transaction() as session:
        session.execute(update(Image).where(Image.id == 1).values(erased_at=func.now()))
    with pytest.raises(NotFound, match="was erased"):
        say(seeded, 1, 2, "match")


def test_the_queue_leaves_out_what_is_decided_and_what_the_browser_holds(seeded: Database) -> None:
    with seeded.reading() as session:
        first = next_items(session, 1, limit=10)
    held = [item.suggestion_id for item in first.items]
    say(seeded, first.items[0].image_id, first.items[0].caption_id, "match")
    with seeded.reading() as session:
        rest = next_items(session, 1, limit=100, exclude=held[1:])
    assert len(first.items) == len(set(held)) == 10
    assert not set(held) & {item.suggestion_id for item in rest.items}
    assert rest.remaining == first.remaining - 1


def test_one_images_candidates_come_together_and_impact_comes_first(seeded: Database) -> None:
    with seeded.reading() as session:
        mixed = [item.image_id for item in next_items(session, 1, limit=30).items]
        by_impact = next_items(session, 1, limit=30, order="impact").items
        impacts = [session.get_one(Suggestion, item.suggestion_id).impact for item in by_impact]
    changes = sum(a != b for a, b in pairwise(mixed))
    assert changes == len(set(mixed)) - 1
    assert impacts == sorted(impacts, reverse=True)
