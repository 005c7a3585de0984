"""Boards: candidates of one anchor, each open suggestion on at most one board, nothing decided and nothing held."""

import uuid

import pytest
from sqlalchemy import update

from app.actions.decide import Decision, decide
from app.errors import NotFound
from app.store.database import Database
from app.store.models import Suggestion
from app.store.reads.boards import CANDIDATES, next_boards
from app.store.reads.queue import next_items


def test_a_board_has_one_anchor_and_no_suggestion_stands_on_two(seeded: Database) -> None:
    with seeded.reading() as session:
        found = next_boards(session, 1, limit=10)
    held = [item.suggestion_id for board in found.boards for item in board.items]
    assert len(held) == len(set(held)) > 1
    for board in found.boards:
        assert 1 <= len(board.items) <= CANDIDATES
        anchors = {i.image_id if board.anchor == "image" else i.caption_id for i in board.items}
        assert len(anchors) == 1
    with seeded.reading() as session:
        rest = next_boards(session, 1, limit=10, exclude=held)
    assert not {i.suggestion_id for b in rest.boards for i in b.items} & set(held)


def test_the_anchor_is_the_side_with_more_open_candidates(seeded: Database) -> None:
    with seeded.transaction() as session:
        session.execute(update(Suggestion).where(Suggestion.caption_id != 2).values(state="retired"))
    with seeded.reading() as session:
        boards = next_boards(session, 1, limit=10).boards
    assert [(board.anchor, len(board.items)) for board in boards] == [("caption", 9), ("caption", 2)]
    assert {item.caption_id for board in boards for item in board.items} == {2}


def test_decided_candidates_leave_the_boards(seeded: Database) -> None:
    with seeded.reading() as session:
        first = next_boards(session, 1, limit=1).boards[0]
    said = [Decision(str(uuid.uuid4()), i.image_id, i.caption_id, "no_match") for i in first.items]
    with seeded.transaction() as session:
        decide(session, decisions=said, person="ana")
    with seeded.reading() as session:
        after = next_boards(session, 1, limit=10)
    left = {i.suggestion_id for board in after.boards for i in board.items}
    assert not left & {i.suggestion_id for i in first.items} and after.decided == len(said)


def test_a_data_set_that_is_not_there_is_not_found(seeded: Database) -> None:
    with seeded.reading() as session, pytest.raises(NotFound):
        next_boards(session, 99)


def test_a_slice_of_images_is_all_that_boards_and_queue_ask_about_and_what_they_count(
    seeded: Database,
) -> None:
    with seeded.reading() as session:
        all_images = {item.image_id for item in next_items(session, 1, limit=100).items}
        slice_ = sorted(all_images)[:2]
        boards = next_boards(session, 1, limit=10, images=slice_)
        queue = next_items(session, 1, limit=100, images=slice_)
        nothing = next_items(session, 1, images=[])
    assert {item.image_id for board in boards.boards for item in board.items} == set(slice_)
    assert {item.image_id for item in queue.items} == set(slice_) < all_images
    assert boards.remaining == queue.remaining == len(queue.items)
    assert (nothing.items, nothing.remaining) == ([], 0)
