"""Why a queued job has not begun, as a sentence for its row."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.jobs.presence import num_connected
from app.jobs.states import HELD
from app.store.models import Job


def why_waiting(session: Session, job: Job) -> str | None:
    """The reason, or None when it does not wait: broker, workers, then those before it."""
    if job.state != "queued":
        return None
    if job.sent_at is None:
        return "waiting for the broker, which does not answer; the job is saved and starts by itself"
    if num_connected(session, job.queue) == 0:
        return no_worker(job.queue)
    ahead = _num_ahead(session, job)
    return f"behind {ahead} {'job' if ahead == 1 else 'jobs'}" if ahead else "starting"


def no_worker(queue: str) -> str:
    """What to say, and to do, when nobody serves `queue`."""
    name = {"gpu": "GPU", "cpu": "CPU"}.get(queue, queue)
    return f"no {name} worker is connected; start one with `nearmiss worker {queue}`"


def _num_ahead(session: Session, job: Job) -> int:
    earlier = (Job.priority > job.priority) | ((Job.priority == job.priority) & (Job.id < job.id))
    before = Job.state.in_(HELD) | ((Job.state == "queued") & earlier)
    ahead = select(func.count()).select_from(Job).where(Job.queue == job.queue, Job.id != job.id, before)
    return session.scalar(ahead) or 0
