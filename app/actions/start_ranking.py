"""After every hundred verdicts the suggestions that are left are ordered anew, by a worker's job."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.actions.bulk_accept import is_sampling
from app.jobs.enqueue import enqueue
from app.jobs.states import OVER
from app.store.models import Job, Verdict

EVERY = 100  # verdicts
GAP_S = 30.0  # after the ranking before: fifty people give a hundred verdicts in six seconds


def is_ranking_due(session: Session, data_set_id: int, *, every: int = EVERY, gap_s: float = GAP_S) -> bool:
    """Whether `every` verdicts were given since the suggestions were last scored, and nothing stands against it.

    Mining stands against it, because it learns from the verdicts itself, and a blind sample, because new scores would
    move suggestions in and out of the band that it speaks for.
    """
    latest = select(Job).where(Job.data_set_id == data_set_id, Job.kind.in_(("rank", "mine")))
    job = session.scalar(latest.order_by(Job.id.desc()).limit(1))
    if job is not None and job.state not in OVER:
        return False
    if job is not None and job.finished_at and datetime.now(UTC) - job.finished_at < timedelta(seconds=gap_s):
        return False
    after = job.request.get("last_verdict_id") if job is not None else None
    since = select(Verdict.id).where(Verdict.data_set_id == data_set_id, Verdict.answer.is_not(None))
    if after is not None:
        since = since.where(Verdict.id > after)
    elif job is not None and job.finished_at is not None:
        since = since.where(Verdict.created_at > job.finished_at)
    ids = session.scalars(since.order_by(Verdict.id.desc()).limit(every)).all()
    return len(ids) >= every and not is_sampling(session, data_set_id)


def start_ranking(session: Session, data_set_id: int, *, person: str = "", every: int = EVERY) -> Job | None:
    """The queued job where one is due, else None."""
    if not is_ranking_due(session, data_set_id, every=every):
        return None
    last = session.scalar(select(func.max(Verdict.id)).where(Verdict.data_set_id == data_set_id))
    return enqueue(
        session,
        kind="rank",
        data_set_id=data_set_id,
        request={"data_set_id": data_set_id, "last_verdict_id": last},
        request_key=f"rank {data_set_id} {last}",
        person=person,
        priority=-1,  # nobody waits for the order; an export that is asked for meanwhile goes first
    )
