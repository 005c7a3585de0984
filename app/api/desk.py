"""The desk: the queue and the verdicts."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.actions.decide import Decision, decide
from app.actions.undo import undo
from app.api.session import Deployment, Reading, Writing
from app.store.models import Answer, Caption
from app.store.reads.data_sets import num_open, progress
from app.store.reads.queue import Order, next_items

routes = APIRouter(prefix="/api")


class VerdictBody(BaseModel):
    """One answer; the client makes the UUID."""

    uuid: str
    image_id: int
    caption_id: int
    answer: Answer
    confidence: float = 1.0
    suggestion_id: int | None = None


class VerdictsBody(BaseModel):
    """A few answers."""

    verdicts: list[VerdictBody] = Field(min_length=1, max_length=500)


class UndoBody(BaseModel):
    """`uuid` names the undo itself; without `retracts` the latest standing verdict is taken back."""

    uuid: str
    retracts: str | None = None


@routes.get("/data-sets/{data_set_id}/queue")
def queue(
    data_set_id: int,
    session: Reading,
    limit: int = 30,
    exclude: str = "",
    order: Order = "mixed",
    image_id: int | None = None,
) -> dict[str, Any]:
    """The next items without those that the browser holds."""
    held = [int(part) for part in exclude.split(",") if part.isdigit()]
    return asdict(next_items(session, data_set_id, order=order, limit=limit, exclude=held, image_id=image_id))


@routes.post("/verdicts")
def save_verdicts(body: VerdictsBody, session: Writing, settings: Deployment) -> dict[str, Any]:
    """Appends verdicts; a UUID that is known changes nothing."""
    decisions = [Decision(**verdict.model_dump()) for verdict in body.verdicts]
    saved = decide(session, decisions=decisions, person=settings.person)
    return {"saved": [row.uuid for row in saved], "remaining": num_open(session, saved[-1].data_set_id)}


@routes.post("/verdicts/undo")
def undo_verdict(body: UndoBody, session: Writing, settings: Deployment) -> dict[str, Any]:
    """Takes a verdict back by another row."""
    row = undo(session, new_uuid=body.uuid, uuid=body.retracts, person=settings.person)
    text = session.scalar(select(Caption.text).where(Caption.id == row.caption_id))
    names = ("uuid", "image_id", "caption_id", "answer")
    return {"retracted": {name: getattr(row, name) for name in names} | {"caption": text}}


@routes.get("/data-sets/{data_set_id}/progress")
def get_progress(data_set_id: int, session: Reading, settings: Deployment) -> dict[str, Any]:
    """Decided by answer, what is left, and this person's rate."""
    return asdict(progress(session, data_set_id, person=settings.person))
