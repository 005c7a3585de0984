"""Boards: one image with up to nine candidate captions, or one caption with up to nine images, to be read at a glance."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.store.models import Suggestion
from app.store.reads.data_sets import IS_OPEN
from app.store.reads.queue import QueueItem, find_items, next_items
from app.store.reads.slices import about

CANDIDATES = 9  # as many as there are digit keys
MAX_BOARDS = 10


@dataclass(frozen=True)
class Board:
    """Candidates that share their image (`anchor` "image") or their caption; the first one's turn brought the board."""

    anchor: str
    items: list[QueueItem]


@dataclass(frozen=True)
class Boards:
    """The next boards, how many suggestions are open in all, and how many candidates stand decided."""

    boards: list[Board]
    remaining: int
    decided: int
    num_leased: int  # on the desks of others


def next_boards(
    session: Session,
    data_set_id: int,
    *,
    limit: int = 3,
    exclude: Collection[int] = (),
    images: Sequence[int] | None = None,
    person: str | None = None,
) -> Boards:
    """Boards of open suggestions without those in `exclude`, in the queue's mixed order, for a person as there.

    Raises NotFound.
    """
    held, boards = set(exclude), []
    first = next_items(session, data_set_id, limit=30, exclude=held, images=images, person=person)
    for item in first.items:
        if item.suggestion_id in held:
            continue
        board = _board(session, data_set_id, item, held, images, person)
        held |= {found.suggestion_id for found in board.items}
        boards.append(board)
        if len(boards) >= min(limit, MAX_BOARDS):
            break
    return Boards(boards, first.remaining, first.decided, first.num_leased)


def _board(
    session: Session,
    data_set_id: int,
    item: QueueItem,
    held: set[int],
    images: Sequence[int] | None,
    person: str | None,
) -> Board:
    """The item's image or its caption, whichever has more open candidates."""
    by_image = _num_open(session, data_set_id, Suggestion.image_id == item.image_id)
    by_caption = _num_open(session, data_set_id, Suggestion.caption_id == item.caption_id, *about(images))
    anchor = "image" if by_image >= by_caption else "caption"
    place = {"image_id": item.image_id} if anchor == "image" else {"caption_id": item.caption_id}
    found = find_items(
        session,
        data_set_id,
        order="impact",
        limit=CANDIDATES,
        exclude=sorted(held),
        images=images,
        person=person,
        **place,
    )
    others = [i for i in found if i.suggestion_id != item.suggestion_id]
    others = [i for i in others if not i.group_key or i.group_key != item.group_key]
    return Board(anchor, [item, *others][:CANDIDATES])


def _num_open(session: Session, data_set_id: int, *where: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(Suggestion)
    return session.scalar(query.where(Suggestion.data_set_id == data_set_id, IS_OPEN, *where)) or 0
