"""Near duplicates: groups, settled in one decision."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.actions.duplicates import Settlement, reopen, settle
from app.api.access import MAX_ID, Db, Id, Person
from app.store.reads.duplicates import Group, GroupPage, Kind, page_of_groups, view_group

router = APIRouter(prefix="/api")


class Settling(BaseModel):
    """How the group is settled."""

    how: Settlement


@dataclass(frozen=True)
class Settled:
    """The group, and how many verdicts were given or pairs retired."""

    group: Group
    num: int


@router.get("/data-sets/{data_set_id}/duplicates")
def groups(
    data_set_id: Id,
    database: Db,
    kind: Kind = "image",
    settled: bool = False,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> GroupPage:
    """A page of groups, open or settled."""
    with database.reading() as session:
        return page_of_groups(session, data_set_id, kind=kind, settled=settled, after=after, limit=limit)


@router.post("/duplicates/{group_id}/settle")
def settle_one(group_id: Id, body: Settling, database: Db, person: Person) -> Settled:
    """same: match across; different: no match across; one: the first pair stays, the others are retired."""
    with database.transaction() as session:
        num = settle(session, group_id, how=body.how, person=person)
    with database.reading() as session:
        return Settled(view_group(session, group_id), num)


@router.post("/duplicates/{group_id}/reopen")
def reopen_one(group_id: Id, database: Db, person: Person) -> Settled:
    """Take the settlement back."""
    with database.transaction() as session:
        reopen(session, group_id, person=person)
    with database.reading() as session:
        return Settled(view_group(session, group_id), 0)
