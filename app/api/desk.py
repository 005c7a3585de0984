"""The desk of several people: taking items on a lease, the numbers beside it, disagreements, corrected captions."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.actions.desk_panel import Panel, desk_panel
from app.actions.mend_pair import mend_pair, take_back_mend
from app.actions.set_desk import set_desk
from app.actions.take_turn import take_boards, take_queue
from app.api.access import DATA_SET_ADMIN, MAX_ID, VIEWER, Db, Id, Person
from app.api.image_slice import ImageSlice
from app.store.models import Caption, Mend, Pair
from app.store.reads.agreement import Dispute, disputes
from app.store.reads.boards import MAX_BOARDS, Boards, next_boards
from app.store.reads.queue import MAX_EXCLUDED, Order, Queue, next_items

router = APIRouter(prefix="/api")
Taken = TypeVar("Taken", Queue, Boards)
TRIES = 50  # as many people may press at the same moment
# Fifty who look at once all want the same items, and forty-nine wait for nothing; the leases decide all the same.
TURN = threading.Lock()
Held = Annotated[
    list[Annotated[int, Field(ge=-MAX_ID, le=MAX_ID)]], Field(default_factory=list, max_length=MAX_EXCLUDED)
]


class Take(ImageSlice):
    """How many items or boards, the ids that the browser holds already, and the images of a slice."""

    limit: int = Field(default=30, ge=1, le=100)
    exclude: Held
    order: Order = "mixed"


class DeskShares(BaseModel):
    """Shares of 1; null leaves one as it is."""

    overlap: float | None = None
    control_share: float | None = None


class NewCaption(BaseModel):
    """The corrected caption."""

    caption: str = Field(max_length=20_000)


@dataclass(frozen=True)
class MendView:
    """A correction: the new pair that stands, and what it says."""

    id: int
    pair_id: int
    image_id: int
    caption_id: int
    caption: str
    person: str


@router.post("/data-sets/{data_set_id}/queue")
def take_items(data_set_id: Id, body: Take, database: Db, person: Person) -> Queue:
    """The next items, leased to this person for ten minutes; a GET only looks."""

    def take() -> tuple[bool, Queue]:
        with database.reading() as session:
            found = next_items(
                session,
                data_set_id,
                order=body.order,
                limit=body.limit,
                exclude=body.exclude,
                images=body.image_ids,
                person=person,
            )
        if not found.items:
            return (
                True,
                found,
            )  # nothing to lease, so nothing to write: an import may hold the database just then
        with database.transaction() as session:
            taken = take_queue(session, data_set_id, found, person=person)
        return bool(taken.items), taken

    return _tried(take)


@router.post("/data-sets/{data_set_id}/boards")
def take_some_boards(data_set_id: Id, body: Take, database: Db, person: Person) -> Boards:
    """The next boards, leased to this person for ten minutes; a GET only looks."""
    limit = min(body.limit, MAX_BOARDS)

    def take() -> tuple[bool, Boards]:
        with database.reading() as session:
            found = next_boards(
                session, data_set_id, limit=limit, exclude=body.exclude, images=body.image_ids, person=person
            )
        if not found.boards:
            return (
                True,
                found,
            )  # nothing to lease, so nothing to write: an import may hold the database just then
        with database.transaction() as session:
            taken = take_boards(session, data_set_id, found, person=person)
        return bool(taken.boards), taken

    return _tried(take)


def _tried(take: Callable[[], tuple[bool, Taken]]) -> Taken:
    """Looks again where others were quicker with every item: an empty answer means that nothing is left."""
    for _ in range(TRIES - 1):
        with TURN:
            done, taken = take()
        if done:
            return taken
    return take()[1]


@router.get("/data-sets/{data_set_id}/desk")
def panel(data_set_id: Id, database: Db, person: Person) -> Panel:
    """Pace, what is left, false negatives, controls, agreement, ranking."""
    with database.reading() as session:
        return desk_panel(session, data_set_id, person=person)


@router.post("/data-sets/{data_set_id}/desk", dependencies=[DATA_SET_ADMIN])
def change_shares(data_set_id: Id, body: DeskShares, database: Db, person: Person) -> Panel:
    """Set the shares of overlap and controls."""
    with database.transaction() as session:
        set_desk(session, data_set_id, overlap=body.overlap, control_share=body.control_share)
    return panel(data_set_id, database, person)


@router.post("/data-sets/{data_set_id}/disagreements", dependencies=[VIEWER])
def disagreements(data_set_id: Id, body: ImageSlice, database: Db) -> list[Dispute]:
    """Candidates on which two people disagree, the oldest first; a verdict without `suggestion_id` settles one."""
    with database.reading() as session:
        return disputes(session, data_set_id, images=body.image_ids)


@router.post("/pairs/{pair_id}/mend")
def mend(pair_id: Id, body: NewCaption, database: Db, person: Person) -> MendView:
    """Correct a pair's caption: a new revision, the old one stays in the history."""
    with database.transaction() as session:
        done = mend_pair(session, pair_id, caption=body.caption, person=person)
        pair = session.get_one(Pair, done.new_pair_id)
        return _view(done, pair, session.get_one(Caption, pair.caption_id).text)


@router.post("/mends/{mend_id}/undo")
def take_back(mend_id: Id, database: Db) -> MendView:
    """Take a correction back: the old pair stands again."""
    with database.transaction() as session:
        done = take_back_mend(session, mend_id)
        pair = session.get_one(Pair, done.old_pair_id)
        return _view(done, pair, session.get_one(Caption, pair.caption_id).text)


def _view(mend: Mend, pair: Pair, caption: str) -> MendView:
    return MendView(mend.id, pair.id, pair.image_id, pair.caption_id, caption, mend.person)
