"""Texts of captions by id."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import Caption


def caption_texts(session: Session, ids: Iterable[int]) -> dict[int, str]:
    """Caption id → text; erased ones and unknown ids are not in it."""
    known = select(Caption.id, Caption.text).where(Caption.id.in_(set(ids)), Caption.erased_at.is_(None))
    return {row[0]: row[1] for row in session.execute(known)}
