"""Verdicts: saved a few at a time, each with the client's UUID; taken back one at a time."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.actions.decide import MAX_DECISIONS, Decision, decide
from app.actions.rights import Who, demand
from app.actions.undo import undo
from app.api.access import ASKS_ITSELF, MAX_ID, Caller, Db, demand_rows
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


@router.post("", dependencies=[ASKS_ITSELF])
def save(body: NewVerdicts, database: Db, caller: Caller) -> Saved:
    """Save; sending the same again changes nothing."""
    decisions = [Decision(**verdict.model_dump()) for verdict in body.verdicts]
    with database.transaction() as session:
        _demand(session, caller, decisions)
        saved = decide(session, decisions=decisions, person=caller.name)
        for owner in {verdict.data_set_id for verdict in saved}:
            demand(caller, "annotator", owner)  # a known UUID answers its row of that time
        data_set_id, uuids = saved[0].data_set_id, [verdict.uuid for verdict in saved]
    with database.reading() as session:
        return Saved(saved=uuids, remaining=num_open(session, data_set_id))


@router.post("/undo", dependencies=[ASKS_ITSELF])
def take_back(body: Undo, database: Db, caller: Caller) -> dict[str, Retracted]:
    """Take a verdict back: {retracted}."""
    with database.transaction() as session:
        verdict = undo(
            session, new_uuid=body.uuid, uuid=body.retracts, person=caller.name, data_set_id=body.data_set_id
        )
        demand(caller, "annotator", verdict.data_set_id)  # else nothing was taken back
        caption = session.get_one(Caption, verdict.caption_id).text
    ids = {"image_id": verdict.image_id, "caption_id": verdict.caption_id}
    return {"retracted": Retracted(uuid=verdict.uuid, caption=caption, answer=verdict.answer, **ids)}


def _demand(session: Session, caller: Who, decisions: list[Decision]) -> None:
    demand_rows(
        session,
        caller,
        "annotator",
        image_id=[d.image_id for d in decisions],
        caption_id=[d.caption_id for d in decisions],
        suggestion_id=[d.suggestion_id for d in decisions if d.suggestion_id is not None],
    )
