"""Runs, models and events as the page shows them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.events import read_events
from app.jobs.states import OVER
from app.jobs.view import eta_s
from app.jobs.waiting import why_waiting
from app.store.models import Job, Model, Run, Snapshot

POLL_MS = 1_000  # while it runs
POLL_WAITING_MS = 2_000
POLL_OVER_MS = 30_000  # a resumed run comes back to life


@dataclass(frozen=True)
class RunView:
    """A run with its job's progress. `counts`: what the verdicts became; metrics are None until measured."""

    id: int
    job_id: int
    name: str
    data_set_id: int
    model_id: int
    model: str
    preset: str
    state: str
    reason: str
    asked_to: str | None
    done: int
    total: int
    unit: str
    rate: float | None
    eta_s: float | None
    config_yaml: str
    snapshot: dict[str, Any]
    counts: dict[str, int]
    preflight: dict[str, Any]
    metrics_before: dict[str, Any] | None
    metrics_after: dict[str, Any] | None
    result_model_id: int | None
    has_checkpoint: bool
    arm: str  # labels.use: given, or a control of a comparison
    experiment: str | None  # shared by the arms of one comparison
    priority: int
    attempt: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class ModelView:
    """A model that a run or mining may start from."""

    id: int
    name: str
    location: str
    pretrained: str
    run_id: int | None
    parent_id: int | None
    licence: str
    created_at: datetime


@dataclass(frozen=True)
class EventView:
    """One report; bodies are listed in `app.jobs.events`."""

    id: int
    kind: str
    step: int | None
    body: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class EventPage:
    """New events beside the job's present state."""

    events: list[EventView]
    state: str
    reason: str
    done: int
    total: int
    rate: float | None
    eta_s: float | None
    next_poll_ms: int


def view_run(session: Session, run: Run, job: Job) -> RunView:
    """The view of `run` now."""
    model, snapshot = session.get_one(Model, run.model_id), session.get_one(Snapshot, run.snapshot_id)
    return RunView(
        id=run.id,
        job_id=job.id,
        name=run.name,
        data_set_id=run.data_set_id,
        model_id=run.model_id,
        model=model.name,
        preset=run.preset,
        state=job.state,
        reason=why_waiting(session, job) or job.reason,
        asked_to=job.asked_to,
        done=job.done,
        total=job.total,
        unit=job.unit,
        rate=job.rate,
        eta_s=eta_s(job),
        config_yaml=run.config_yaml,
        snapshot={"hash": snapshot.hash, "counts": snapshot.counts},
        counts=run.preflight.get("labels", {}),
        preflight=run.preflight,
        metrics_before=run.metrics_before,
        metrics_after=run.metrics_after,
        result_model_id=run.result_model_id,
        has_checkpoint=bool(run.checkpoint_key),
        arm=run.preflight.get("arm", "given"),
        experiment=run.experiment,
        priority=job.priority,
        attempt=job.attempt,
        created_by=job.created_by,
        created_at=run.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def list_models(session: Session) -> list[ModelView]:
    """All models, the newest last."""
    return [
        ModelView(
            id=model.id,
            name=model.name,
            location=model.location,
            pretrained=model.pretrained,
            run_id=model.run_id,
            parent_id=model.parent_id,
            licence=model.licence,
            created_at=model.created_at,
        )
        for model in session.scalars(select(Model).order_by(Model.id))
    ]


def page_of_events(session: Session, job: Job, *, after: int, limit: int) -> EventPage:
    """At most `limit` events after id `after`."""
    found = read_events(session, job.id, after=after, limit=limit)
    poll_ms = POLL_OVER_MS if job.state in OVER else POLL_WAITING_MS if job.state == "queued" else POLL_MS
    return EventPage(
        events=[EventView(e.id, e.kind, e.step, e.body, e.created_at) for e in found],
        state=job.state,
        reason=why_waiting(session, job) or job.reason,
        done=job.done,
        total=job.total,
        rate=job.rate,
        eta_s=eta_s(job),
        next_poll_ms=0 if len(found) == limit else poll_ms,
    )
