"""Sweeps: slices of the queue, checks by a blind sample, and the guarded bulk accept."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.bulk_accept import (
    MAX_SAMPLE,
    Plan,
    Slice,
    apply_batch,
    close_sample,
    get_check,
    plan_check,
    result_of,
    start_check,
    unjudged,
)
from app.api.access import VIEWER, Db, Id, Person
from app.api.image_slice import ImageSlice
from app.store.models import Answer, BulkCheck
from app.store.reads.slices import Band, BlindItem, blind_items, open_bands

router = APIRouter(prefix="/api")
Part = Annotated[float, Field(ge=0.0, le=1.0)]


class NewCheck(ImageSlice):
    """The slice, the error rate to show, and the size of the sample (null: the smallest that can show it)."""

    proposed: Answer
    min_probability: Part = 0.0
    max_probability: Part = 1.0
    target_error: Annotated[float, Field(ge=0.001, le=0.5)] = 0.05
    sample_size: Annotated[int, Field(ge=1, le=MAX_SAMPLE)] | None = None

    def wanted(self) -> Slice:
        """Raises NearmissError for an empty band."""
        images = None if self.image_ids is None else frozenset(self.image_ids)
        return Slice(self.proposed, self.min_probability, self.max_probability, images)


@dataclass(frozen=True)
class CheckView:
    """A check: its frozen rule, how far the sample is, and, when it is judged, what it shows."""

    id: int
    data_set_id: int
    proposed: str
    min_probability: float
    max_probability: float
    num_images: int | None  # of a lasso on the map; null: all
    target_error: float
    level: float  # 1 - alpha of this try
    attempt: int
    seed: int
    person: str
    slice_size: int
    sample_size: int
    state: str
    num_judged: int
    num_errors: int | None
    bound: float | None
    num_remaining: int
    may_apply: bool
    created_at: datetime
    items: list[BlindItem]


@router.post("/data-sets/{data_set_id}/slices", dependencies=[VIEWER])
def slices(data_set_id: Id, body: ImageSlice, database: Db) -> list[Band]:
    """Open suggestions by proposed verdict and tenth of probability."""
    with database.reading() as session:
        return open_bands(session, data_set_id, images=body.image_ids)


@router.get("/data-sets/{data_set_id}/bulk-checks")
def checks(data_set_id: Id, database: Db) -> list[CheckView]:
    """The latest checks, the newest first."""
    with database.reading() as session:
        query = select(BulkCheck).where(BulkCheck.data_set_id == data_set_id)
        return [_view(session, c) for c in session.scalars(query.order_by(BulkCheck.id.desc()).limit(20))]


@router.post("/data-sets/{data_set_id}/bulk-checks/plan", dependencies=[VIEWER])
def plan(data_set_id: Id, body: NewCheck, database: Db) -> Plan:
    """What a check of this slice would take, before it is drawn."""
    with database.reading() as session:
        return plan_check(session, data_set_id, wanted=body.wanted(), target_error=body.target_error)


@router.post("/data-sets/{data_set_id}/bulk-checks")
def start(data_set_id: Id, body: NewCheck, database: Db, person: Person) -> CheckView:
    """Draw the sample of a new check."""
    with database.transaction() as session:
        check = start_check(
            session,
            data_set_id,
            wanted=body.wanted(),
            person=person,
            target_error=body.target_error,
            sample_size=body.sample_size,
        )
        check_id = check.id
    return one(check_id, database)


@router.get("/bulk-checks/{check_id}")
def one(check_id: Id, database: Db) -> CheckView:
    """How a check stands, with the items of its sample that are left; a complete sample is closed here."""
    with database.transaction() as session:
        close_sample(session, check_id)
    with database.reading() as session:
        return _view(session, get_check(session, check_id), items=True)


@router.post("/bulk-checks/{check_id}/apply")
def apply(check_id: Id, database: Db, person: Person) -> CheckView:
    """Accept the proposal for the rest of the slice, in transactions of a few thousand; again goes on where it stopped."""
    left = 1
    while left:
        with database.part_of_long_work() as session:
            left = apply_batch(session, check_id, person=person)
    return one(check_id, database)


def _view(session: Session, check: BulkCheck, *, items: bool = False) -> CheckView:
    result = result_of(session, check)
    ahead = unjudged(session, check) if items else []  # all: a key is never lost to a reload
    return CheckView(
        id=check.id,
        data_set_id=check.data_set_id,
        proposed=check.proposed,
        min_probability=check.min_probability,
        max_probability=check.max_probability,
        num_images=None if check.image_ids is None else len(check.image_ids),
        target_error=check.target_error,
        level=1.0 - check.alpha,
        attempt=check.attempt,
        seed=check.seed,
        person=check.person,
        slice_size=check.slice_size,
        sample_size=len(check.sample_ids),
        state=check.state,
        num_judged=result.num_judged,
        num_errors=result.num_errors,
        bound=result.bound,
        num_remaining=result.num_remaining,
        may_apply=result.may_apply,
        created_at=check.created_at,
        items=blind_items(session, ahead),
    )
