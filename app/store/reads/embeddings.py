"""Which vectors of a data set count: those of its newest model, for searches, maps and the warm worker alike."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import Embedding, Model

VECTORS_ONLY = "vectors:"  # the location of a model of which only vectors came, with a data set


def newest_embedding(
    session: Session, data_set_id: int | None = None, *, with_towers: bool = False
) -> Embedding | None:
    """The embedding by the newest model that has embedded the data set, or any data set where none is given.

    `with_towers`: only of models that can embed something new, such as the words of a search.
    """
    query = select(Embedding).order_by(Embedding.model_id.desc(), Embedding.id.desc()).limit(1)
    if with_towers:
        query = query.join(Model, Model.id == Embedding.model_id)
        query = query.where(Model.location.not_like(f"{VECTORS_ONLY}%"))
    if data_set_id is not None:
        query = query.where(Embedding.data_set_id == data_set_id)
    return session.scalar(query)
