"""The list of data sets, and how far the decisions on one are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.store.models import ANSWERS, CurrentVerdict, DataSet, Event, Job, Suggestion, Verdict

# a literal, not a parameter: SQLite uses the partial index for nothing else (200,000 rows: 234 ms without it)
MOST_COUNTED = 10_000
IS_OPEN = Suggestion.state == literal_column("'open'")
RATE_OVER = 30  # latest verdicts of a person that their rate is measured on


@dataclass(frozen=True)
class Progress:
    """Standing verdicts by answer, open suggestions, and this person's verdicts a minute (None: too few)."""

    decided: dict[str, int]
    remaining: int
    per_minute: float | None


def get_data_set(session: Session, data_set_id: int) -> DataSet:
    """Raises NotFound."""
    data_set = session.get(DataSet, data_set_id)
    if data_set is None:
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    return data_set


def list_data_sets(session: Session) -> Sequence[DataSet]:
    """All data sets, the oldest first."""
    return session.scalars(select(DataSet).order_by(DataSet.id)).all()


def latest_job(session: Session, data_set_id: int, kind: str) -> Job | None:
    """The latest job of a kind on a data set."""
    query = select(Job).where(Job.data_set_id == data_set_id, Job.kind == kind)
    return session.scalar(query.order_by(Job.id.desc()).limit(1))


def mined_numbers(session: Session, data_set_id: int) -> dict[str, Any] | None:
    """What the latest mining told before any work: false negatives with interval, collisions, the proposal's quality."""
    query = select(Event.body).join(Job, Job.id == Event.job_id)
    query = query.where(Job.data_set_id == data_set_id, Job.kind == "mine", Event.kind == "mined")
    return session.scalar(query.order_by(Event.id.desc()).limit(1))


def num_open(session: Session, data_set_id: int) -> int:
    """How many suggestions wait for a verdict; MOST_COUNTED + 1 where there are more, since every verdict asks for it."""
    query = (
        select(Suggestion.id).where(Suggestion.data_set_id == data_set_id, IS_OPEN).limit(MOST_COUNTED + 1)
    )
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def num_decided(session: Session, data_set_id: int) -> dict[str, int]:
    """How many candidates stand at each answer; every answer has an entry."""
    query = (
        select(CurrentVerdict.answer, func.count())
        .where(CurrentVerdict.data_set_id == data_set_id)
        .group_by(CurrentVerdict.answer)
    )
    found = {answer: num for answer, num in session.execute(query)}
    return {answer: found.get(answer, 0) for answer in ANSWERS}


def progress(session: Session, data_set_id: int, *, person: str) -> Progress:
    """How far the decisions on a data set are. Raises NotFound."""
    get_data_set(session, data_set_id)
    return Progress(
        decided=num_decided(session, data_set_id),
        remaining=num_open(session, data_set_id),
        per_minute=_per_minute(session, person),
    )


def _per_minute(session: Session, person: str) -> float | None:
    latest = (
        select(Verdict.created_at)
        .where(Verdict.person == person, Verdict.answer.is_not(None))
        .order_by(Verdict.id.desc())
        .limit(RATE_OVER)
    )
    times = session.scalars(latest).all()
    if len(times) < 5:
        return None
    elapsed_s = (times[0] - times[-1]).total_seconds()
    return 60.0 * (len(times) - 1) / elapsed_s if elapsed_s > 0 else None
