"""A job as the page shows it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.jobs.states import OVER
from app.jobs.waiting import why_waiting
from app.store.models import Event, Job


@dataclass(frozen=True)
class JobView:
    """State, progress in `unit`s, `rate` in units per second, and the reason for waiting or for the end."""

    id: int
    kind: str
    state: str
    queue: str
    data_set_id: int | None
    done: int
    total: int
    unit: str
    rate: float | None
    eta_s: float | None
    reason: str
    asked_to: str | None
    attempt: int
    priority: int
    worker: str
    num_rejected: int  # rows that an import refused
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def get_job(session: Session, job_id: int) -> Job:
    """Raises NotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}; reload the page")
    return job


def unfinished_jobs(session: Session) -> list[Job]:
    """At most 200: those that a worker holds, then those that wait by priority and age, then the paused ones."""
    order = case({"queued": 1, "paused": 2}, value=Job.state, else_=0)
    query = select(Job).where(Job.state.not_in(OVER)).order_by(order, Job.priority.desc(), Job.id)
    return list(session.scalars(query.limit(200)))


def view_job(session: Session, job: Job) -> JobView:
    """The view of `job` now."""
    rejected = rejected_rows(session, job)
    return JobView(
        id=job.id,
        kind=job.kind,
        state=job.state,
        queue=job.queue,
        data_set_id=job.data_set_id,
        done=job.done,
        total=job.total,
        unit=job.unit,
        rate=job.rate,
        eta_s=eta_s(job),
        reason=why_waiting(session, job) or job.reason,
        asked_to=job.asked_to,
        attempt=job.attempt,
        priority=job.priority,
        worker=job.worker,
        num_rejected=int(rejected.get("num", 0)),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def eta_s(job: Job) -> float | None:
    """Seconds left at the present rate; None when nothing is known or nothing is left to wait for."""
    if not job.rate or job.state in OVER or job.total <= job.done:
        return None
    return (job.total - job.done) / job.rate


def exported(session: Session, job: Job) -> dict[str, Any]:
    """The body of an export's `exported` event, {} before its end."""
    query = select(Event.body).where(Event.job_id == job.id, Event.kind == "exported")
    return session.scalar(query.order_by(Event.id.desc()).limit(1)) or {}


def rejected_rows(session: Session, job: Job) -> dict[str, Any]:
    """The body of the import's latest `rejected` event, {} where nothing was refused."""
    if job.kind != "import":
        return {}
    query = select(Event.body).where(Event.job_id == job.id, Event.kind == "rejected")
    return session.scalar(query.order_by(Event.id.desc()).limit(1)) or {}
