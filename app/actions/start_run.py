"""Start a fine-tune: freeze configuration, data and verdicts, and queue the job; one transaction."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.add_probe import pick_probes
from app.actions.collect_garbage import check_quota
from app.actions.plan_run import Plan, plan_run
from app.actions.take_snapshot import take_snapshot
from app.errors import NearmissError
from app.jobs.enqueue import enqueue, same_request
from app.store.database import settings_of
from app.store.models import Job, Run, Snapshot
from app.store.text import clean


def start_run(
    session: Session,
    *,
    data_set_id: int,
    model_id: int,
    preset: str = "adapter",
    overrides: dict[str, Any] | None = None,
    config_yaml: str | None = None,
    snapshot_id: int | None = None,
    processes: int = 1,
    name: str = "",
    request_key: str | None = None,
    person: str = "",
    experiment: str | None = None,
) -> Run:
    """The queued run; runs of one `experiment` are the arms of one comparison. The same `request_key` again answers the first one.

    `snapshot_id` trains on older data and verdicts; `processes` train together as torchrun starts them, one a GPU.
    Raises NotFound, and NearmissError with the first refusal of the preflight.
    """
    known = same_request(session, request_key)
    if known is not None:
        return _run_of(session, known)
    plan = plan_run(
        session,
        data_set_id=data_set_id,
        model_id=model_id,
        preset=preset,
        overrides=overrides,
        config_yaml=config_yaml,
        snapshot_id=snapshot_id,
        processes=processes,
    )
    check_quota(settings_of(session))
    if plan.preflight.refusals:
        raise NearmissError(plan.preflight.refusals[0])
    snapshot = (
        session.get_one(Snapshot, snapshot_id)
        if snapshot_id
        else take_snapshot(session, data_set_id=data_set_id)
    )
    pick_probes(session, data_set_id=data_set_id)
    job = enqueue(
        session,
        kind="fine_tune",
        data_set_id=data_set_id,
        request={},
        person=person,
        request_key=request_key,
    )
    job.total, job.unit = plan.preflight.steps, "step"
    run = _add(session, job, plan, data_set_id, model_id, snapshot.id, preset if config_yaml is None else "")
    run.experiment = experiment
    run.name = clean(name, what="name", limit=200) if name else f"{run.preset or 'custom'} {run.id}"
    job.request = {"run_id": run.id, "processes": processes}
    session.flush()
    return run


def _add(
    session: Session, job: Job, plan: Plan, data_set_id: int, model_id: int, snapshot_id: int, preset: str
) -> Run:
    run = Run(
        job_id=job.id,
        data_set_id=data_set_id,
        snapshot_id=snapshot_id,
        model_id=model_id,
        name="",
        preset=preset,
        config_yaml=plan.config.to_yaml(),
        preflight={
            name: value for name, value in plan.report().items() if name not in ("config_yaml", "code")
        },
    )
    session.add(run)
    session.flush()
    return run


def _run_of(session: Session, job: Job) -> Run:
    run = session.scalar(select(Run).where(Run.job_id == job.id))
    if run is None:
        raise NearmissError(f"the request key of job {job.id} belongs to no run; use a new one")
    return run
