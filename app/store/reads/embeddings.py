"""Which vectors of a data set count: those of its newest model, for searches, maps and the warm worker alike."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import Embedding


def newest_embedding(session: Session, data_set_id: int | None = None) -> Embedding | None:
    """The embedding by the newest model that has embedded the data set, or any data set where none is given."""
    query = select(Embedding).order_by(Embedding.model_id.desc(), Embedding.id.desc()).limit(1)
    if data_set_id is not None:
        query = query.where(Embedding.data_set_id == data_set_id)
    return session.scalar(query)
