"""Writes a job and has a worker woken after the commit."""

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.jobs.send import wake
from app.store.models import Job, JobKind

QUEUES: dict[JobKind, Literal["gpu", "cpu"]] = {
    "import": "cpu",
    "embed": "gpu",
    "mine": "gpu",  # it embeds first where no vectors are kept
    "rank": "cpu",
    "fine_tune": "gpu",
    "export": "cpu",
    "map": "cpu",
    "push": "cpu",
    "measure": "gpu",
}


def enqueue(
    session: Session,
    *,
    kind: JobKind,
    data_set_id: int | None,
    request: dict[str, Any],
    person: str = "",
    request_key: str | None = None,
    priority: int = 0,
) -> Job:
    """The queued job; with a `request_key` that was used before, the job of that time."""
    known = same_request(session, request_key)
    if known is not None:
        return known
    job = Job(
        kind=kind,
        queue=QUEUES[kind],
        data_set_id=data_set_id,
        request=request,
        request_key=request_key,
        created_by=person,
        priority=priority,
    )
    try:
        with session.begin_nested():
            session.add(job)
    except IntegrityError:  # somebody's request with this key was saved since we looked
        known = same_request(session, request_key)
        if known is None:
            raise
        return known
    wake(session, job)
    return job


def same_request(session: Session, request_key: str | None) -> Job | None:
    """The job that an earlier submit with this key made, if any."""
    if request_key is None:
        return None
    return session.scalar(select(Job).where(Job.request_key == request_key))
