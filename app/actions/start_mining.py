"""Look for candidates: embed the data set with a model where that is missing, then mine."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NearmissError, NotFound
from app.jobs.enqueue import enqueue
from app.jobs.states import OVER
from app.store.models import DataSet, Job, Model
from app.store.reads.models import model_for
from clipcore.errors import ClipcoreError
from clipcore.mining.languages import Language, lexicon_of


def start_mining(
    session: Session,
    *,
    data_set_id: int,
    model_id: int | None = None,
    language: Language = "auto",
    person: str = "",
    sees: Callable[[int], bool] = lambda data_set_id: True,
) -> Job:
    """The queued job, or the one that is at it already; `language` is that in which negatives are written.

    Without a model that of `model_for`, among those that the person `sees`. Raises NotFound, NearmissError on an empty
    data set and for a language without lexicon.
    """
    data_set = session.get(DataSet, data_set_id)
    if data_set is None:
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    if model_id is None:
        model, remedy = model_for(session, data_set_id, sees=sees), "add one in the Data tab"
    else:
        model, remedy = session.get(Model, model_id), "choose one of the list"
    if model is None:
        raise NotFound(f"there is no model{f' {model_id}' if model_id else ' yet'}; {remedy}")
    if data_set.num_pairs == 0:
        raise NearmissError(f"data set {data_set.name!r} has no pairs yet; wait for its import")
    try:
        lexicon_of(language)
    except ClipcoreError as error:
        raise NearmissError(str(error)) from None
    request: dict[str, object] = {"data_set_id": data_set_id, "model_id": model.id}
    request |= {} if language == "auto" else {"language": language}
    at_it = select(Job).where(Job.kind == "mine", Job.data_set_id == data_set_id, Job.state.not_in(OVER))
    for job in session.scalars(at_it):
        if job.request == request:
            return job
    return enqueue(session, kind="mine", data_set_id=data_set_id, request=request, person=person)
