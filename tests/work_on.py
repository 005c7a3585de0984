"""A queued job, done in this process as a worker does it."""

from app.jobs import lease
from app.settings import Settings
from app.store.database import Database
from app.store.models import Job
from worker.context import JobContext
from worker.job import run


def work_on(settings: Settings, database: Database, job_id: int) -> Job:
    """Claims it and works on it to an end; the job as it stands then."""
    with database.transaction() as session:
        token = lease.claim(session, job_id, worker="w")
    assert token is not None
    context = JobContext(settings, job_id, token)
    context.start()
    run(context)
    context.database.close()
    with database.reading() as session:
        return session.get_one(Job, job_id)
