"""Which runs' weights stay, and why: the policy that `nearmiss gc` follows.

Off by default: every result stays. With `NEARMISS_KEEP_RESULTS_DAYS`, weights of runs that finished longer ago go, except
those of the best runs of each data set (mAP@R; `NEARMISS_KEEP_BEST_RESULTS`), those that a person keeps, that were pushed
to a hub, and those that something stands on: a later run, mining, a search, verdicts that saw its scores. The run itself
stays with its configuration, metrics, curves and report.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.errors import NearmissError
from app.jobs.states import OVER
from app.store.database import settings_of
from app.store.models import Embedding, EmbeddingMap, Event, Job, Model, Run, Suggestion, Verdict
from app.store.reads.runs import get_run


@dataclass(frozen=True)
class OldResult:
    """Weights that the policy lets go."""

    run_id: int
    name: str
    checkpoint_key: str
    reason: str


def keep_result(session: Session, *, run_id: int, kept: bool, person: str) -> None:
    """Keep a run's weights whatever the policy says, or no longer. Raises NotFound, and NearmissError without weights."""
    run, job = get_run(session, run_id)
    if kept and not run.checkpoint_key:
        raise NearmissError(f"run {run_id} has no weights to keep: it is {job.state}")
    said = "weights are kept" if kept else "weights are no longer kept"
    session.add(Event(job_id=job.id, kind="kept", body={"kept": kept, "by": person}))
    session.add(Event(job_id=job.id, kind="log", body={"text": f"{said} (by {person or 'a person'})"}))


def is_kept(session: Session, run: Run) -> bool:
    """Whether a person keeps its weights."""
    told = (
        select(Event.body).where(Event.job_id == run.job_id, Event.kind == "kept").order_by(Event.id.desc())
    )
    last = session.scalar(told.limit(1))
    return bool(last and last["kept"])


def why_kept(session: Session, run: Run) -> str | None:
    """What holds a run's weights, as a sentence's end; None where only its age counts."""
    if is_kept(session, run):
        return "a person keeps them"
    if run.id in _pushed(session):
        return "they were pushed to a hub"
    num = settings_of(session).keep_best_results
    if run.id in _best(session, run.data_set_id, num):
        return f"the run is among the {num} best of its data set"
    return _stands_on(session, run)


def old_results(session: Session) -> Iterator[OldResult]:
    """What the policy lets go now, the oldest first; nothing while it is off."""
    days = settings_of(session).keep_results_days
    if not days:
        return
    before = datetime.now(UTC) - timedelta(days=days)
    finished = (
        select(Run)
        .join(Job, Job.id == Run.job_id)
        .where(Job.state == "finished", Job.finished_at < before, Run.checkpoint_key != "")
        .order_by(Run.id)
    )
    for run in session.scalars(finished):
        if why_kept(session, run) is None:
            why = f"weights of run {run.id} ({run.name}), which finished more than {days:g} days ago and is not kept"
            yield OldResult(run.id, run.name, run.checkpoint_key, why)


def forget_result(session: Session, run_id: int) -> None:
    """The rows let go of a run's weights: its model is no longer offered. The bytes are the caller's matter."""
    run, job = get_run(session, run_id)
    model = session.get(Model, run.result_model_id) if run.result_model_id else None
    run.checkpoint_key, run.result_model_id = "", None
    if model is not None:
        session.delete(model)
    text = "the weights went by the policy of NEARMISS_KEEP_RESULTS_DAYS; metrics and report stay"
    session.add(Event(job_id=job.id, kind="log", body={"text": text}))


def _best(session: Session, data_set_id: int, num: int) -> set[int]:
    """The runs of a data set with the highest mAP@R; the older one where two are equal."""
    rows = select(Run.id, Run.metrics_after).where(
        Run.data_set_id == data_set_id, Run.checkpoint_key != "", Run.metrics_after.is_not(None)
    )
    scores = [(-_map_at_r(metrics), id_) for id_, metrics in session.execute(rows)]
    return {id_ for _, id_ in sorted(scores)[:num]}


def _map_at_r(metrics: dict[str, Any] | None) -> float:
    value = (metrics or {}).get("map_at_r")
    return float(value) if value is not None else float("-inf")


def _pushed(session: Session) -> set[int]:
    """Runs that were pushed, or are being pushed."""
    asked = select(Job.request).where(Job.kind == "push", Job.state.not_in(("failed", "cancelled")))
    return {int(request["run_id"]) for request in session.scalars(asked)}


def _stands_on(session: Session, run: Run) -> str | None:
    model_id = run.result_model_id
    if model_id is None:
        return None
    users: tuple[tuple[InstrumentedAttribute[Any], str], ...] = (
        (Run.model_id, "a later run started from them"),
        (Model.parent_id, "a later model comes from them"),
        (Embedding.model_id, "the data set was mined or searched with them"),
        (Suggestion.model_id, "suggestions were found with them"),
        (EmbeddingMap.model_id, "a map was made with them"),
        (Verdict.model_id, "verdicts were given on their scores"),
    )
    for column, words in users:
        if session.scalar(select(column).where(column == model_id).limit(1)) is not None:
            return words
    waiting = select(Job.request).where(Job.state.not_in(OVER))
    if any(request.get("model_id") == model_id for request in session.scalars(waiting)):
        return "a job that waits or works uses them"
    return None
