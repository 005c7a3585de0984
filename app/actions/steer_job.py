"""Cancel, pause, resume a job, or move it in its queue: each is one conditional UPDATE, or a question to its worker."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.jobs.send import wake
from app.jobs.states import HELD, OVER, move
from app.store.models import Job


def cancel_job(session: Session, *, job_id: int, person: str = "") -> Job:
    """Over at once where nobody works on it, else at the worker's next heartbeat. Raises NotFound, Conflict."""
    by = f"cancelled by {person or 'a person'}"
    job = move(session, "cancel", job_id, reason=by)
    if job is not None:
        return job
    asked = update(Job).where(Job.id == job_id, Job.state.in_(HELD)).values(asked_to="cancel").returning(Job)
    job = session.scalars(asked, execution_options={"populate_existing": True}).one_or_none()
    return job or _refuse(session, job_id, "cancelled", already="cancelled")


def pause_job(session: Session, *, job_id: int, person: str = "") -> Job:
    """Paused at once where it waits, else after the worker's next checkpoint. Raises NotFound, Conflict."""
    by = f"paused by {person or 'a person'}"
    job = move(session, "pause", job_id, reason=by) or move(session, "ask_to_pause", job_id, reason=by)
    return job or _refuse(session, job_id, "paused", already="paused", pausing="pausing")


def resume_job(session: Session, *, job_id: int) -> Job:
    """Queued again, from its last checkpoint; for paused, failed and cancelled jobs. Raises NotFound, Conflict."""
    values = {"attempt": 0, "finished_at": None}
    job = move(session, "resume", job_id, values=values)
    if job is None:
        return _refuse(session, job_id, "resumed", already="queued", claimed="claimed", running="running")
    wake(session, job)
    return job


def order_job(session: Session, *, job_id: int, first: bool) -> Job:
    """Before (or behind) all others that wait in its queue. Raises NotFound, Conflict when it does not wait."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}; reload the page")
    others = select(Job.priority).where(Job.queue == job.queue, Job.state == "queued", Job.id != job_id)
    edge, step = (func.max, 1) if first else (func.min, -1)
    others = others.with_only_columns(edge(Job.priority))
    priority = (session.scalar(others) or 0) + step
    moved = update(Job).where(Job.id == job_id, Job.state.in_(("queued", "paused"))).values(priority=priority)
    found = session.scalars(moved.returning(Job), execution_options={"populate_existing": True}).one_or_none()
    return found or _refuse(session, job_id, "moved in the queue")


def _refuse(session: Session, job_id: int, what: str, **fine: str) -> Job:
    """A job that is already where the person wants it is fine; others are told apart."""
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        raise NotFound(f"there is no job {job_id}; reload the page")
    if job.state in fine.values():
        return job
    over = " and stays so" if job.state in OVER else "; try again in a moment"
    raise Conflict(f"job {job_id} cannot be {what}: it is {job.state}{over}")
