"""Which model looks for suggestions where nobody chose one."""

from collections.abc import Callable

from sqlalchemy import and_, case, or_, select
from sqlalchemy.orm import Session

from app.store.models import Embedding, Model, Run
from app.store.reads.embeddings import VECTORS_ONLY


def model_for(
    session: Session, data_set_id: int, *, sees: Callable[[int], bool] = lambda data_set_id: True
) -> Model | None:
    """The newest model that has embedded the data set or was fine-tuned on it, else the newest base model.

    Vectors that came with the data set count after models with towers; `sees`: whether the person who asks may use the
    models that were fine-tuned on a data set.
    """
    has_towers = Model.location.not_like(f"{VECTORS_ONLY}%")
    knows_it = or_(Embedding.id.is_not(None), Run.data_set_id == data_set_id)
    first = [case((condition, 0), else_=1) for condition in (knows_it, has_towers)]  # null is not true
    query = select(Model, Run.data_set_id).outerjoin(Run, Run.id == Model.run_id)
    query = query.outerjoin(
        Embedding, and_(Embedding.model_id == Model.id, Embedding.data_set_id == data_set_id)
    )
    query = query.where(or_(knows_it, and_(Model.run_id.is_(None), has_towers)))
    for model, made_on in session.execute(query.order_by(*first, Model.id.desc())):
        if made_on is None or sees(made_on):
            return model
    return None
