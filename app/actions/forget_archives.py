"""Delete the archives of earlier exports: each is large and can be made again, and may hold what was erased since."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.view import exported
from app.media.store import MediaStore
from app.store.database import Database, after_commit, settings_of
from app.store.models import Job


def forget_archives(session: Session, *, data_set_id: int, but_job_id: int | None = None) -> None:
    """Once this transaction is committed, no archive of the data set is kept but that of the job `but_job_id`."""
    exports = select(Job).where(
        Job.data_set_id == data_set_id, Job.kind == "export", Job.id.is_distinct_from(but_job_id)
    )
    keys = [found["key"] for job in session.scalars(exports) if (found := exported(session, job))]

    def delete(database: Database) -> None:
        media = MediaStore(settings_of(session).resolved_media_url)
        for key in keys:
            media.delete(key)

    if keys:
        after_commit(session, delete)
