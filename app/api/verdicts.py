"""Verdicts: saved a few at a time, each with the client's UUID; taken back one at a time."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.controls import ControlAnswer, answer_controls, take_back_control
from app.actions.decide import MAX_DECISIONS, Decision, decide
from app.actions.rights import Who, demand
from app.actions.start_ranking import is_ranking_due, start_ranking
from app.actions.undo import undo_part
from app.api.access import ASKS_ITSELF, MAX_ID, Caller, Db, demand_rows
from app.store.models import Answer, Caption, Image
from app.store.reads.agreement import Other, decided_meanwhile
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
    suggestion_id: Annotated[int, Field(ge=-MAX_ID, le=MAX_ID)] | None = None  # as the queue gave it
    blind: bool = False  # an answer of a bulk check's sample


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
    """UUIDs that are safe now, how many suggestions are left, and answers that differ from what somebody else decided
    meanwhile (those are kept as second votes)."""

    saved: list[str]
    remaining: int
    others: list[Other]


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
    controls, given = _parted(body.verdicts)
    with database.transaction() as session:
        _demand(session, caller, body.verdicts)
        uuids = answer_controls(session, controls, person=caller.name)
        for source, decisions in given.items():
            saved = decide(session, decisions=decisions, person=caller.name, source=source)
            for owner in {verdict.data_set_id for verdict in saved}:
                demand(caller, "annotator", owner)  # a known UUID answers its row of that time
            uuids += [verdict.uuid for verdict in saved]
        asked = (body.verdicts[0].image_id, body.verdicts[-1].image_id)
        data_set_id = session.scalars(select(Image.data_set_id).where(Image.id.in_(asked))).first() or 0
    with database.reading() as session:
        answer = Saved(
            saved=uuids, remaining=num_open(session, data_set_id), others=decided_meanwhile(session, uuids)
        )
        due = is_ranking_due(session, data_set_id)
    if due:
        with database.transaction() as session:
            start_ranking(session, data_set_id, person=caller.name)
    return answer


def _parted(verdicts: list[NewVerdict]) -> tuple[list[ControlAnswer], dict[str, list[Decision]]]:
    """Answers to controls, and decisions by source. "Broken pair" on a control is meant for the image's own pair."""
    controls: list[ControlAnswer] = []
    given: dict[str, list[Decision]] = {}
    for v in verdicts:
        if v.suggestion_id is not None and v.suggestion_id <= 0:
            if v.answer != "broken_pair":
                controls.append(ControlAnswer(v.uuid, -v.suggestion_id, v.answer))
                continue
            v.suggestion_id = None
        named = v.model_dump(exclude={"blind"})
        given.setdefault("blind" if v.blind else "manual", []).append(Decision(**named))
    return controls, given


@router.post("/undo", dependencies=[ASKS_ITSELF])
def take_back(body: Undo, database: Db, caller: Caller) -> dict[str, Retracted]:
    """Take a verdict back: {retracted}."""
    with database.part_of_long_work() as session:
        control = take_back_control(session, body.retracts, person=caller.name) if body.retracts else None
        if control is not None:
            caption = session.get_one(Caption, control.caption_id).text
            ids = {"image_id": control.image_id, "caption_id": control.caption_id}
            return {"retracted": Retracted(uuid=body.retracts or "", caption=caption, answer=None, **ids)}
        done = undo_part(
            session, new_uuid=body.uuid, uuid=body.retracts, person=caller.name, data_set_id=body.data_set_id
        )
        verdict = done.verdict
        demand(caller, "annotator", verdict.data_set_id)  # else nothing was taken back
        caption = session.get_one(Caption, verdict.caption_id).text
    while done.num_left:
        with database.part_of_long_work() as session:
            done = undo_part(session, new_uuid=body.uuid, uuid=verdict.uuid, person=caller.name)
    ids = {"image_id": verdict.image_id, "caption_id": verdict.caption_id}
    return {"retracted": Retracted(uuid=verdict.uuid, caption=caption, answer=verdict.answer, **ids)}


def _demand(session: Session, caller: Who, verdicts: list[NewVerdict]) -> None:
    demand_rows(
        session,
        caller,
        "annotator",
        image_id=[v.image_id for v in verdicts],
        caption_id=[v.caption_id for v in verdicts],
        suggestion_id=[
            v.suggestion_id for v in verdicts if v.suggestion_id is not None and v.suggestion_id > 0
        ],
    )
