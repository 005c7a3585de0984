"""What becomes of a job whose worker is gone: back to the queue, or to the end that a person asked for, or failed after
too many attempts without a new checkpoint."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.jobs.send import wake
from app.jobs.states import HELD, move
from app.store.database import epoch_s, settings_of
from app.store.models import Job

SILENT = "the worker stopped answering"


def expire_run_out(session: Session) -> list[int]:
    """The ids of the jobs whose lease had run out; each is moved."""
    held = select(Job).where(Job.state.in_(HELD), Job.lease_until < epoch_s()).order_by(Job.id)
    return [job.id for job in session.scalars(held).all() if _expire(session, job, SILENT)]


def crashed(session: Session, job_id: int, *, token: int, what: str) -> bool:
    """Ends the lease at once for its holder, whose process died of `what`; False where the lease is somebody else's."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.token == token, Job.state.in_(HELD))
        .values(lease_until=0.0)
        .returning(Job)
    )
    job = session.scalars(statement, execution_options={"populate_existing": True}).one_or_none()
    return job is not None and _expire(session, job, what)


def _expire(session: Session, job: Job, what: str) -> bool:
    same_lease = [Job.lease_until < epoch_s(), Job.token == job.token]
    max_attempts = settings_of(session).max_attempts
    place = f"{job.unit or 'step'} {job.done}"
    for name, condition, reason in (
        ("expire_to_cancelled", Job.asked_to == "cancel", "cancelled by a person"),
        ("expire_to_paused", Job.state == "pausing", "paused by a person"),
        (
            "expire_to_failed",
            Job.attempt >= max_attempts,
            f"failed {job.attempt}× at {place}: each time without a new checkpoint; at last {what}",
        ),
        ("expire_to_queue", Job.attempt < max_attempts, f"{what} at {place}; it goes on by itself"),
    ):
        moved = move(session, name, job.id, where=[*same_lease, condition], reason=reason)
        if moved is not None:
            if moved.state == "queued":
                wake(session, moved)
            return True
    return False
