"""What a worker does with a job: claim it, keep it, let it go. Every write carries the fencing token.

The token is one more at each claim; a worker that was frozen past its lease finds another number on the
row, gets `Lost`, and must leave without writing anything anywhere.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.jobs.states import HELD, move
from app.store.database import epoch_s, settings_of
from app.store.insert import insert_missing
from app.store.models import Event, Job

Ask = Literal["cancel", "pause"]


class Lost(Exception):
    """The lease is somebody else's, or the job is over: stop at once and write nothing."""


@dataclass(frozen=True)
class NewEvent:
    """One report for the page: kinds and bodies are listed in `app.jobs.events`."""

    kind: str
    body: dict[str, Any] = field(default_factory=dict)
    step: int | None = None
    key: str | None = None  # one of its own in the job: a report whose answer was lost may be sent again


@dataclass(frozen=True)
class Progress:
    """How far a job is, in `unit`s; `rate` in units per second."""

    done: int
    total: int
    unit: str = ""
    rate: float | None = None


def claim(session: Session, job_id: int, *, worker: str) -> int | None:
    """The new token, or None: held by another worker, over, paused, or no such job. Then leave quietly."""
    values = {"worker": worker, "token": Job.token + 1, "attempt": Job.attempt + 1, **_lease(session)}
    job = move(session, "claim", job_id, values=values)
    return None if job is None else job.token


@dataclass(frozen=True)
class Claimed:
    """A job that is this worker's now, and the fencing token that proves it."""

    job_id: int
    token: int


def claim_next(session: Session, *, queue: str, worker: str, num_gpus: int = 0) -> Claimed | None:
    """The best queued job of `queue`: highest priority, then the oldest; None when nothing waits.

    A worker with GPUs leaves runs that ask for more processes than it has; one without (0) takes all of them.
    """
    waiting = select(Job.id).where(Job.queue == queue, Job.state == "queued")
    if num_gpus:
        waiting = waiting.where(func.coalesce(Job.request["processes"].as_integer(), 1) <= num_gpus)
    for job_id in session.scalars(waiting.order_by(Job.priority.desc(), Job.id).limit(20)).all():
        token = claim(session, job_id, worker=worker)
        if token is not None:  # else another worker was quicker
            return Claimed(job_id, token)
    return None


def keep_claim(session: Session, job_id: int, *, token: int) -> bool:
    """Keeps the lease of a job that is claimed and whose process has not begun yet; False once it has, or is lost."""
    held = update(Job).where(Job.id == job_id, Job.token == token, Job.state == "claimed")
    return bool(session.execute(held.values(_lease(session))).rowcount)  # type: ignore[attr-defined]


def start(session: Session, job_id: int, *, token: int) -> None:
    """The work itself begins. Raises Lost."""
    _held(move(session, "start", job_id, token=token, values={"started_at": func.now()}))


def heartbeat(
    session: Session,
    job_id: int,
    *,
    token: int,
    progress: Progress | None = None,
    events: Sequence[NewEvent] = (),
) -> Ask | None:
    """Keep the lease, report, and hear whether a person asked to cancel or to pause. Raises Lost.

    Call it at least every third of the lease; `events` are written in the same transaction, so that a
    worker that lost its lease cannot report either.
    """
    values: dict[str, Any] = _lease(session)
    if progress is not None:
        values |= {
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
            "rate": progress.rate,
        }
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.token == token, Job.state.in_(HELD))
        .values(values)
        .returning(Job.state, Job.asked_to)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        raise Lost(f"job {job_id} is no longer held with token {token}")
    if events:
        rows = [{"job_id": job_id, **asdict(event)} for event in events]
        insert_missing(session, Event, rows, key=["job_id", "key"])
    return cast(Ask | None, "pause" if row.state == "pausing" and row.asked_to is None else row.asked_to)


def saved(session: Session, job_id: int, *, token: int) -> None:
    """A checkpoint is safe: failures before it no longer count against the job. Raises Lost."""
    statement = update(Job).where(Job.id == job_id, Job.token == token, Job.state.in_(HELD)).values(attempt=0)
    if session.execute(statement).rowcount == 0:  # type: ignore[attr-defined]  # an UPDATE has a rowcount
        raise Lost(f"job {job_id} is no longer held with token {token}")


def finish(session: Session, job_id: int, *, token: int, note: str = "") -> None:
    """All is done, but for what the note says; all results are written in this same transaction. Raises Lost."""
    _held(move(session, "finish", job_id, token=token, reason=note))


def fail(session: Session, job_id: int, *, token: int, reason: str) -> None:
    """Over, with the reason as a sentence. Raises Lost."""
    _held(move(session, "fail", job_id, token=token, reason=reason))


def cancelled(session: Session, job_id: int, *, token: int, reason: str = "cancelled by a person") -> None:
    """The worker has stopped as it was asked. Raises Lost."""
    _held(move(session, "cancel_held", job_id, token=token, reason=reason))


def paused(session: Session, job_id: int, *, token: int, reason: str = "paused by a person") -> None:
    """The worker has stopped and saved; also for "needs 1.2 GB, 0.3 GB free". Raises Lost."""
    _held(move(session, "pause_held", job_id, token=token, reason=reason, values={"attempt": 0}))


def release(session: Session, job_id: int, *, token: int, reason: str = "the worker was stopped") -> None:
    """Let go after a checkpoint because the worker shuts down; not counted as an attempt. Raises Lost.

    The job goes back to the queue, unless a person has asked meanwhile to pause or to cancel it.
    """
    values = {"attempt": 0, "sent_at": None}
    not_asked = [Job.asked_to.is_(None)]
    if move(session, "release", job_id, token=token, where=not_asked, reason=reason, values=values):
        return
    if move(session, "cancel_held", job_id, token=token, where=[Job.asked_to == "cancel"], reason=reason):
        return
    paused(session, job_id, token=token)


def _held(job: Job | None) -> None:
    if job is None:
        raise Lost("the job is no longer held with this token")


def _lease(session: Session) -> dict[str, Any]:
    return {"lease_until": epoch_s() + settings_of(session).lease_s}
