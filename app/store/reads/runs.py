"""Runs with their jobs: the list, newest first by key, and one."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.store.models import Job, Run


def get_run(session: Session, run_id: int) -> tuple[Run, Job]:
    """Raises NotFound."""
    row = session.execute(
        select(Run, Job).join(Job, Job.id == Run.job_id).where(Run.id == run_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run_id}; reload the page")
    return row[0], row[1]


def page_of_runs(
    session: Session,
    *,
    data_set_id: int | None = None,
    seen: Collection[int] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[tuple[Run, Job]]:
    """At most `limit` runs with an id below `before`, the newest first; `seen`: only on these data sets."""
    query = select(Run, Job).join(Job, Job.id == Run.job_id).order_by(Run.id.desc())
    if data_set_id is not None:
        query = query.where(Run.data_set_id == data_set_id)
    if seen is not None:
        query = query.where(Run.data_set_id.in_(seen))
    if before is not None:
        query = query.where(Run.id < before)
    rows = session.execute(query.limit(max(1, min(limit, 200)))).all()
    return [(row[0], row[1]) for row in rows]
