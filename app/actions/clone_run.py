"""Same again with…: a new run from the frozen configuration of another, with some values changed."""

from typing import Any

from sqlalchemy.orm import Session

from app.actions.start_run import start_run
from app.errors import NearmissError
from app.store.models import Job, Run
from app.store.reads.runs import get_run
from clipcore.config import FineTuneConfig
from clipcore.errors import ClipcoreError


def clone_run(
    session: Session,
    *,
    run_id: int,
    overrides: dict[str, Any] | None = None,
    same_data: bool = False,
    name: str = "",
    request_key: str | None = None,
    person: str = "",
) -> Run:
    """The queued run, on the present verdicts, or with `same_data` on the snapshot of the other.

    `overrides` are nested as in the YAML. Raises NotFound, and NearmissError for a value that does not fit.
    """
    run, job = get_run(session, run_id)
    try:
        config = FineTuneConfig.from_yaml(run.config_yaml).with_values(overrides or {})
    except ClipcoreError as error:
        raise NearmissError(str(error)) from None
    return start_run(
        session,
        data_set_id=run.data_set_id,
        model_id=run.model_id,
        config_yaml=config.to_yaml(),
        snapshot_id=run.snapshot_id if same_data else None,
        processes=processes_of(job),
        name=name or f"{run.name} again",
        request_key=request_key,
        person=person,
    )


def processes_of(job: Job) -> int:
    """How many processes train together."""
    return int(job.request.get("processes") or 1)
