"""Guidelines of a data set: what the annotators agreed on, versioned."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select

from app.actions.write_guidelines import MAX_CHARACTERS, write_guidelines
from app.api.access import MAX_ID, Db, Id, Person
from app.store.models import Guidelines
from app.store.reads.data_sets import get_data_set

router = APIRouter(prefix="/api/data-sets/{data_set_id}/guidelines")


@dataclass(frozen=True)
class Version:
    """One version: who wrote it and when."""

    id: int
    text: str
    person: str
    created_at: datetime


class NewVersion(BaseModel):
    """The whole text, and the id of the version that it was made from (0: none)."""

    text: Annotated[str, Field(max_length=MAX_CHARACTERS)]
    after: Annotated[int, Field(ge=0, le=MAX_ID)]


@router.get("")
def versions(data_set_id: Id, database: Db) -> list[Version]:
    """The last versions, the newest first."""
    with database.reading() as session:
        get_data_set(session, data_set_id)
        query = select(Guidelines).where(Guidelines.data_set_id == data_set_id)
        rows = session.scalars(query.order_by(Guidelines.id.desc()).limit(50))
        return [Version(g.id, g.text, g.person, g.created_at) for g in rows]


@router.post("")
def write(data_set_id: Id, body: NewVersion, database: Db, person: Person) -> list[Version]:
    """Write a new version; answers as the list does."""
    with database.transaction() as session:
        write_guidelines(session, data_set_id, text=body.text, after=body.after, person=person)
    return versions(data_set_id, database)
