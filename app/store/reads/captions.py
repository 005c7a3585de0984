"""Texts of captions by id."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import Caption, Event


def captions_of_looks(session: Session, job_id: int) -> dict[int, str]:
    """Caption id → text, of the batches that a run looked into; erased ones are not in it."""
    looks = select(Event.body).where(Event.job_id == job_id, Event.kind == "batch")
    ids = {int(id_) for body in session.scalars(looks) for id_ in body["caption_ids"]}
    known = select(Caption.id, Caption.text).where(Caption.id.in_(ids), Caption.erased_at.is_(None))
    return {row[0]: row[1] for row in session.execute(known)}
