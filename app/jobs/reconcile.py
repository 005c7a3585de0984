"""Puts right what died: leases that ran out, wake-ups that the broker lost. Harmless to run twice or in
several processes at once, since each change is one conditional UPDATE."""

import logging
import math
import threading
import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from app.jobs.expire import expire_run_out
from app.jobs.presence import num_connected
from app.jobs.send import wake
from app.jobs.states import HELD
from app.store.database import Database, epoch_s
from app.store.models import Job
from app.store.words import index_words

log = logging.getLogger(__name__)
OUTAGE_S = 2.0  # a pass that is later than this had no database before
RESEND_AFTER_S = 5.0  # a wake-up that a free worker has not followed by then is lost


@dataclass(frozen=True)
class Reconciled:
    """Ids of the jobs that were touched."""

    expired: list[int]
    resent: list[int]


def reconcile(session: Session, *, expiring: bool = True) -> Reconciled:
    """One pass: expired leases back to the queue (or failed), lost wake-ups sent again."""
    return Reconciled(expired=expire_run_out(session) if expiring else [], resent=_resend(session))


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
    """Calls `reconcile` every `every_s` seconds until `stop()`; a database that is away is waited for.

    After an outage holders get the time of two heartbeats before a lease may expire: theirs could not be renewed.
    """

    def __init__(self, database: Database, *, every_s: float = 5.0) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._database = database
        self._every_s = every_s
        self._stopped = threading.Event()
        self._last_pass = -math.inf  # by the monotonic clock, as all here
        self._expire_from = 0.0

    def run(self) -> None:
        """The thread's work."""
        while not self._stopped.wait(self._every_s):
            try:
                with self._database.transaction() as session:
                    reconcile(session, expiring=self._may_expire())
                with self._database.transaction() as session:
                    index_words(session)
            except Exception:
                log.exception("reconciling failed; trying again in %s s", self._every_s)
                continue
            self._last_pass = time.monotonic()

    def _may_expire(self) -> bool:
        """Asked with the database at hand."""
        now = time.monotonic()
        if now - self._last_pass > self._every_s + OUTAGE_S:
            self._expire_from = now + self._database.settings.lease_s * 2 / 3
        return now >= self._expire_from

    def stop(self) -> None:
        """End within a moment."""
        self._stopped.set()
