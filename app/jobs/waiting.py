"""Why a queued job has not begun, as a sentence for its row."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.counted import counted
from app.jobs.presence import connected
from app.jobs.states import HELD
from app.store.models import Job


def why_waiting(session: Session, job: Job) -> str | None:
    """The reason, or None when it does not wait: broker, workers, then those before it."""
    if job.state != "queued":
        return None
    if job.sent_at is None:
        return "waiting for the broker, which does not answer; the job is saved and starts by itself"
    workers = [w for w in connected(session) if w.queue == job.queue]
    if not workers:
        return no_worker(job.queue)
    wanted = int(job.request.get("processes") or 1)
    gpus = [int(w.about.get("gpus") or 0) for w in workers]
    if all(0 < num < wanted for num in gpus):
        places = ",".join(str(n) for n in range(wanted))
        return (
            f"no GPU worker with {wanted} GPUs is connected (the largest has {max(gpus)});"
            f" start one with `nearmiss worker gpu --gpus {places}`"
        )
    ahead = _ahead(session, job)
    if not ahead:
        return "starting"
    what = "run" if set(ahead) == {"fine_tune"} else "job"
    return f"behind {counted(len(ahead), what)}"


def no_worker(queue: str) -> str:
    """What to say, and to do, when nobody serves `queue`."""
    name = {"gpu": "GPU", "cpu": "CPU"}.get(queue, queue)
    return f"no {name} worker is connected; start one with `nearmiss worker {queue}`"


def _ahead(session: Session, job: Job) -> list[str]:
    """The kinds of the jobs that are held or come first."""
    earlier = (Job.priority > job.priority) | ((Job.priority == job.priority) & (Job.id < job.id))
    before = Job.state.in_(HELD) | ((Job.state == "queued") & earlier)
    return list(session.scalars(select(Job.kind).where(Job.queue == job.queue, Job.id != job.id, before)))
