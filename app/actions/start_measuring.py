"""Have a worker take the first steps of a run that is not started, so that its memory is known before the click."""

from typing import Any

from sqlalchemy.orm import Session

from app.actions.plan_run import plan_run
from app.actions.take_snapshot import take_snapshot
from app.errors import NearmissError
from app.jobs.enqueue import enqueue
from app.store.models import Job


def start_measuring(
    session: Session, *, data_set_id: int, model_id: int, person: str = "", **wish: Any
) -> Job:
    """The queued job; `plan_run` knows its result afterwards.

    Raises what `plan_run` raises, and NearmissError where it refuses, where no tower learns, or while no worker is there.
    """
    plan = plan_run(session, data_set_id=data_set_id, model_id=model_id, **wish)
    if plan.config.model.train == "adapter":
        raise NearmissError(
            "an adapter sends nothing through the towers while it learns; it needs no measuring"
        )
    if plan.preflight.refusals and not plan.measured.does_not_fit:
        raise NearmissError(plan.preflight.refusals[0])
    if plan.waiting:
        raise NearmissError(plan.waiting)
    snapshot = take_snapshot(session, data_set_id=data_set_id)
    request = {"model_id": model_id, "snapshot_id": snapshot.id, "config_yaml": plan.config.to_yaml()}
    return enqueue(session, kind="measure", data_set_id=data_set_id, request=request, person=person)
