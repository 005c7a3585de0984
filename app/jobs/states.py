"""The states of a job and the only ways between them: each is one conditional UPDATE ... RETURNING.

    queued → claimed → running → (pausing → paused → queued) → finished | failed | cancelled

A transition that finds the row elsewhere changes nothing and answers None: of two that race, one wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, update
from sqlalchemy.orm import Session

from app.redact import redact
from app.store.database import Database, after_commit
from app.store.models import Event, Job, JobState

HELD: tuple[JobState, ...] = ("claimed", "running", "pausing")  # a worker holds a lease
OVER: tuple[JobState, ...] = ("finished", "failed", "cancelled")


@dataclass(frozen=True)
class Transition:
    """From any of `sources` to `target`; `held`: only by the worker whose token is on the row."""

    sources: tuple[JobState, ...]
    target: JobState
    held: bool = False


TRANSITIONS: dict[str, Transition] = {
    # by a worker that takes the job
    "claim": Transition(("queued",), "claimed"),
    # by the worker that holds it
    "start": Transition(("claimed",), "running", held=True),
    "finish": Transition(HELD, "finished", held=True),
    "fail": Transition(HELD, "failed", held=True),
    "cancel_held": Transition(HELD, "cancelled", held=True),
    "pause_held": Transition(HELD, "paused", held=True),
    "release": Transition(("claimed", "running"), "queued", held=True),
    # by a person
    "cancel": Transition(("queued", "paused"), "cancelled"),
    "pause": Transition(("queued",), "paused"),
    "ask_to_pause": Transition(("claimed", "running"), "pausing"),
    "resume": Transition(("paused", "failed", "cancelled"), "queued"),
    # by the reconciler, when a lease has run out
    "expire_to_queue": Transition(("claimed", "running"), "queued"),
    "expire_to_failed": Transition(("claimed", "running"), "failed"),
    "expire_to_paused": Transition(("pausing",), "paused"),
    "expire_to_cancelled": Transition(HELD, "cancelled"),
}


def move(
    session: Session,
    name: str,
    job_id: int,
    *,
    token: int | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    reason: str = "",
    values: Mapping[str, Any] | None = None,
) -> Job | None:
    """Take a job through transition `name`: the changed row, or None when it was not there.

    `where` narrows the condition further; `values` are written in the same statement.
    """
    transition, reason = TRANSITIONS[name], redact(reason)
    assert transition.held == (token is not None), f"{name}: token given {token}"
    condition = [Job.id == job_id, Job.state.in_(transition.sources), *where]
    if token is not None:
        condition.append(Job.token == token)
    written = _written(transition.target, reason) | dict(values or {})
    statement = update(Job).where(*condition).values(written).returning(Job)
    job = session.scalars(statement, execution_options={"populate_existing": True}).one_or_none()
    if job is not None:
        body = {"to": transition.target, "reason": reason}
        session.add(Event(job_id=job_id, kind="state", step=job.done, body=body))
        if transition.target in OVER and job.kind == "fine_tune":
            after_commit(session, lambda database: _tell(database, job_id))
    return job


def _tell(database: Database, job_id: int) -> None:
    from app.jobs.webhooks import run_is_over  # httpx is needed by nothing else here

    run_is_over(database, job_id)


def _written(target: JobState, reason: str) -> dict[str, Any]:
    values: dict[str, Any] = {"state": target, "reason": reason}
    if target not in HELD:
        values |= {"lease_until": None, "worker": ""}
    if target != "pausing":
        values |= {"asked_to": None}
    if target in OVER:
        values |= {"finished_at": func.now()}
    return values
