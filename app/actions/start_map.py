"""Lay the images of a data set out in two dimensions, by their vectors under the newest model that has embedded them."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.jobs.enqueue import enqueue
from app.jobs.states import OVER
from app.store.models import Job
from app.store.reads.data_sets import get_data_set
from app.store.reads.embeddings import newest_embedding


def start_map(session: Session, *, data_set_id: int, person: str = "") -> Job:
    """The queued job, or the one that is at it already. Raises NotFound, NearmissError without embeddings."""
    get_data_set(session, data_set_id)
    embedding = newest_embedding(session, data_set_id)
    if embedding is None:
        raise NearmissError("the data set has no embeddings yet; find suggestions in the Data tab first")
    at_it = select(Job).where(Job.kind == "map", Job.data_set_id == data_set_id, Job.state.not_in(OVER))
    known = session.scalar(at_it.limit(1))
    if known is not None:
        return known
    request = {"data_set_id": data_set_id, "model_id": embedding.model_id}
    return enqueue(session, kind="map", data_set_id=data_set_id, request=request, person=person)
