"""Explore: cards by filter, their count, and what is done with all that match, in steps that are undone as one."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.decide import check_uuid
from app.actions.decide_many import decide_many
from app.actions.tag_images import tag_images, undo_tagging, untag_images
from app.actions.undo import undo_part
from app.api.access import MAX_ID, Db, Id, Person
from app.errors import Conflict
from app.store.models import Answer, Verdict
from app.store.reads.explore import (
    Card,
    CardPage,
    Choices,
    Count,
    cards_named,
    choices,
    count_cards,
    page_of_cards,
)
from app.store.reads.filters import Filter, Show, Wanted

router = APIRouter(prefix="/api/data-sets/{data_set_id}/explore")
STEP = 500  # cards a transaction
Cosine = Annotated[float | None, Query(ge=-1.0, le=1.0)]
Chars = Annotated[int | None, Query(ge=0, le=100_000)]
RowId = Annotated[int, Field(ge=1, le=MAX_ID)]


def _filter(
    show: Show = "pairs",
    q: Annotated[str, Query(max_length=200)] = "",
    split: Annotated[str, Query(pattern="^(train|held_out)?$")] = "",
    tag: Annotated[str, Query(max_length=100)] = "",
    group: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    answer: Wanted = "",
    person: Annotated[str, Query(max_length=200)] = "",
    min_score: Cosine = None,
    max_score: Cosine = None,
    min_chars: Chars = None,
    max_chars: Chars = None,
    since: date | None = None,
    until: date | None = None,
) -> Filter:
    return Filter(
        show, q.strip(), split, tag, group, answer, person,  # type: ignore[arg-type]  # the pattern holds it
        min_score, max_score, min_chars, max_chars, since, until,
    )  # fmt: skip


Wish = Annotated[Filter, Depends(_filter)]
After = Annotated[str | None, Query(max_length=80)]


class Step(BaseModel):
    """What to do next of one step: `items` (image id, caption id) by name, or null: the next that match the filter.

    `bulk_id` names the whole step, null for its first part; `after` is the `next` of the part before.
    """

    items: Annotated[list[tuple[RowId, RowId]], Field(max_length=STEP)] | None = None
    bulk_id: Annotated[str, Field(max_length=36)] | None = None
    after: Annotated[str, Field(max_length=80)] | None = None


class Tagging(Step):
    """A tag to put on the images, or to take off."""

    tag: Annotated[str, Field(min_length=1, max_length=1000)]
    remove: bool = False


class Deciding(Step):
    """One answer for all."""

    answer: Answer


class UndoStep(BaseModel):
    """The step that is taken back."""

    bulk_id: Annotated[str, Field(max_length=36)]


@dataclass(frozen=True)
class Done:
    """How many this part changed; `next`: send the step again with it, null when all is done."""

    num: int
    bulk_id: str
    next: str | None


@router.get("")
def cards(
    data_set_id: Id,
    database: Db,
    wanted: Wish,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 60,
) -> CardPage:
    """A page; `after`: the `next` of the page before. It may be short, even empty, before the end."""
    with database.reading() as session:
        return page_of_cards(session, data_set_id, wanted, after=after, limit=limit)


@router.get("/count")
def count(data_set_id: Id, database: Db, wanted: Wish) -> Count:
    """How many match, at most 10,000."""
    with database.reading() as session:
        return count_cards(session, data_set_id, wanted)


@router.get("/choices")
def filters(data_set_id: Id, database: Db) -> Choices:
    """What the filters offer."""
    with database.reading() as session:
        return choices(session, data_set_id)


@router.post("/tag")
def tag(data_set_id: Id, body: Tagging, database: Db, person: Person, wanted: Wish) -> Done:
    """Put a tag on (or take it off) the next images of the selection."""
    bulk_id = _bulk_id(body)
    with database.transaction() as session:
        found, place = _next(session, data_set_id, wanted, body)
        ids = {card.image_id for card in found}
        if body.remove:
            num = untag_images(session, data_set_id, image_ids=ids, name=body.tag, bulk_id=bulk_id)
        else:
            num = tag_images(
                session, data_set_id, image_ids=ids, name=body.tag, person=person, bulk_id=bulk_id
            )
    return Done(num, bulk_id, place)


@router.post("/verdicts")
def decide_all(data_set_id: Id, body: Deciding, database: Db, person: Person, wanted: Wish) -> Done:
    """One answer for the next cards of the selection."""
    bulk_id = _bulk_id(body)
    with database.transaction() as session:
        found, place = _next(session, data_set_id, wanted, body)
        num = decide_many(session, cards=found, answer=body.answer, person=person, bulk_id=bulk_id)
    return Done(num, bulk_id, place)


@router.post("/undo")
def take_back(data_set_id: Id, body: UndoStep, database: Db, person: Person) -> Done:
    """Take a whole step back, tags or verdicts. 409 where nothing of it stands."""
    check_uuid(body.bulk_id)
    name, done = str(uuid4()), None
    with database.part_of_long_work() as session:
        num = undo_tagging(session, data_set_id, bulk_id=body.bulk_id, undo_id=str(uuid4()))
        of_step = (Verdict.bulk_id == body.bulk_id, Verdict.data_set_id == data_set_id)
        first = session.scalar(select(Verdict.uuid).where(*of_step).order_by(Verdict.id).limit(1))
        if first is not None:
            done = undo_part(session, new_uuid=name, uuid=first, person=person)
        elif num == 0:
            raise Conflict("nothing of this step stands any more; it was taken back already")
    while done is not None and done.num_left:
        with database.part_of_long_work() as session:
            done = undo_part(session, new_uuid=name, uuid=first, person=person)
    return Done(num, body.bulk_id, None)


def _bulk_id(body: Step) -> str:
    if body.bulk_id is not None:
        check_uuid(body.bulk_id)
    return body.bulk_id or str(uuid4())


def _next(session: Session, data_set_id: int, wanted: Filter, body: Step) -> tuple[list[Card], str | None]:
    if body.items is not None:
        return cards_named(session, data_set_id, wanted, body.items), None
    page = page_of_cards(session, data_set_id, wanted, after=body.after, limit=STEP)
    return page.items, page.next
