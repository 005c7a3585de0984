"""Queue an export: the present state, frozen as a snapshot and written as one archive to download."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.export_snapshot import FORMATS
from app.errors import Conflict, NearmissError
from app.jobs.enqueue import enqueue
from app.jobs.states import OVER
from app.store.models import Job
from app.store.reads.data_sets import get_data_set


def start_export(session: Session, *, data_set_id: int, format: str, person: str = "") -> Job:
    """The queued job. Raises NotFound, NearmissError for an unknown format, Conflict while an export is under way."""
    get_data_set(session, data_set_id)
    if format not in FORMATS:
        raise NearmissError(f"there is no format {format!r}; choose one of {', '.join(FORMATS)}")
    exports = select(Job.state).where(Job.data_set_id == data_set_id, Job.kind == "export")
    if session.scalar(exports.where(Job.state.not_in(OVER)).limit(1)) is not None:
        raise Conflict("an export of this data set is under way; wait for its end or cancel it")
    request = {"format": format}
    return enqueue(session, kind="export", data_set_id=data_set_id, request=request, person=person)
