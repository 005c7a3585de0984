"""Puts right what died: leases that ran out, wake-ups that the broker lost. Harmless to run twice or in
several processes at once, since each change is one conditional UPDATE."""

import logging
import threading
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from app.jobs.presence import num_connected
from app.jobs.send import wake
from app.jobs.states import HELD, move
from app.store.database import Database, epoch_s, settings_of
from app.store.models import Job

log = logging.getLogger(__name__)
STOPPED_ANSWERING = "stopped answering"  # in the reason of every lease that ran out; metrics count it
RESEND_AFTER_S = 5.0  # a wake-up that a free worker has not followed by then is lost


@dataclass(frozen=True)
class Reconciled:
    """Ids of the jobs that were touched."""

    expired: list[int]
    resent: list[int]


def reconcile(session: Session) -> Reconciled:
    """One pass: expired leases back to the queue (or failed), lost wake-ups sent again."""
    return Reconciled(expired=_expire(session), resent=_resend(session))


def _expire(session: Session) -> list[int]:
    run_out = Job.lease_until < epoch_s()
    held = select(Job).where(Job.state.in_(HELD), run_out).order_by(Job.id)
    return [job.id for job in session.scalars(held).all() if _expire_one(session, job)]


def _expire_one(session: Session, job: Job) -> bool:
    same_lease = [Job.lease_until < epoch_s(), Job.token == job.token]
    max_attempts = settings_of(session).max_attempts
    lost = f"the worker {job.worker} {STOPPED_ANSWERING} at {job.unit or 'step'} {job.done}"
    failed = (
        f"failed {job.attempt}× at {job.unit or 'step'} {job.done}: each time the worker {STOPPED_ANSWERING}"
    )
    for name, condition, reason in (
        ("expire_to_cancelled", Job.asked_to == "cancel", "cancelled by a person"),
        ("expire_to_paused", Job.state == "pausing", "paused by a person"),
        ("expire_to_failed", Job.attempt >= max_attempts, failed),
        ("expire_to_queue", Job.attempt < max_attempts, lost),
    ):
        moved = move(session, name, job.id, where=[*same_lease, condition], reason=reason)
        if moved is not None:
            if moved.state == "queued":
                wake(session, moved)
            return True
    return False


def _resend(session: Session) -> list[int]:
    return [job_id for queue in ("gpu", "cpu") for job_id in _resend_queue(session, queue)]


def _resend_queue(session: Session, queue: str) -> list[int]:
    """A wake-up counts as lost when a worker is free and does not follow it: else it simply waits."""
    lost: ColumnElement[bool] = Job.sent_at.is_(None)
    held = select(func.count()).select_from(Job).where(Job.queue == queue, Job.state.in_(HELD))
    num_free = num_connected(session, queue) - (session.scalar(held) or 0)
    if num_free > 0:
        lost = or_(lost, Job.sent_at < epoch_s() - RESEND_AFTER_S)
    waiting = (
        select(Job)
        .where(Job.queue == queue, Job.state == "queued", lost)
        .order_by(Job.priority.desc(), Job.id)
        .limit(max(num_free, 1))
        .with_for_update(skip_locked=True)
    )
    jobs = session.scalars(waiting).all()
    for job in jobs:
        wake(session, job)
    return [job.id for job in jobs]


class Reconciler(threading.Thread):
    """Calls `reconcile` every `every_s` seconds until `stop()`; a database that is away is waited for."""

    def __init__(self, database: Database, *, every_s: float = 5.0) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._database = database
        self._every_s = every_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """The thread's work."""
        while not self._stopped.wait(self._every_s):
            try:
                with self._database.transaction() as session:
                    reconcile(session)
            except Exception:
                log.exception("reconciling failed; trying again in %s s", self._every_s)

    def stop(self) -> None:
        """End within a moment."""
        self._stopped.set()
