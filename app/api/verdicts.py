"""Verdicts: saved a few at a time, each with the client's UUID; taken back one at a time."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.actions.decide import MAX_DECISIONS, Decision, decide
from app.actions.undo import undo
from app.api.access import MAX_ID, Db, Person
from app.store.models import Answer, Caption
from app.store.reads.data_sets import num_open

router = APIRouter(prefix="/api/verdicts")
RowId = Annotated[int, Field(ge=1, le=MAX_ID)]


class NewVerdict(BaseModel):
    """One answer to "does this caption describe this image?"."""

    uuid: str = Field(max_length=36)
    image_id: RowId
    caption_id: RowId
    answer: Answer
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)
    suggestion_id: RowId | None = None


class NewVerdicts(BaseModel):
    """A small batch from the browser's outbox."""

    verdicts: list[NewVerdict] = Field(min_length=1, max_length=MAX_DECISIONS)


class Undo(BaseModel):
    """`uuid` names the undo, `retracts` the verdict; null: my latest that stands (in `data_set_id`, if given)."""

    uuid: str = Field(max_length=36)
    retracts: str | None = Field(default=None, max_length=36)
    data_set_id: RowId | None = None


@dataclass(frozen=True)
class Saved:
    """UUIDs that are safe now, and how many suggestions are left."""

    saved: list[str]
    remaining: int


@dataclass(frozen=True)
class Retracted:
    """The verdict that was taken back."""

    uuid: str
    image_id: int
    caption_id: int
    caption: str
    answer: str | None


@router.post("")
def save(body: NewVerdicts, database: Db, person: Person) -> Saved:
    """Save; sending the same again changes nothing."""
    decisions = [Decision(**verdict.model_dump()) for verdict in body.verdicts]
    with database.transaction() as session:
        saved = decide(session, decisions=decisions, person=person)
        data_set_id, uuids = saved[0].data_set_id, [verdict.uuid for verdict in saved]
    with database.reading() as session:
        return Saved(saved=uuids, remaining=num_open(session, data_set_id))


@router.post("/undo")
def take_back(body: Undo, database: Db, person: Person) -> dict[str, Retracted]:
    """Take a verdict back: {retracted}."""
    with database.transaction() as session:
        verdict = undo(
            session, new_uuid=body.uuid, uuid=body.retracts, person=person, data_set_id=body.data_set_id
        )
        caption = session.get_one(Caption, verdict.caption_id).text
    ids = {"image_id": verdict.image_id, "caption_id": verdict.caption_id}
    return {"retracted": Retracted(uuid=verdict.uuid, caption=caption, answer=verdict.answer, **ids)}
