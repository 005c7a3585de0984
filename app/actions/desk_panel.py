"""The numbers beside the desk: pace, what is left, the rate of false negatives, each person's care, agreement, ranking."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.actions.error_bound import upper_bound
from app.store.models import Control, Event, Job, Verdict
from app.store.reads.agreement import Agreement, agreements, num_in_state
from app.store.reads.data_sets import get_data_set, num_decided, num_open
from app.store.reads.random_share import random_share

RECENT = 400  # latest verdicts that pace and streak are read from
STREAK = 50  # so many in a row without a false negative are worth a question


@dataclass(frozen=True)
class Share:
    """`num` of `out_of`, as a rate with its exact 95 % interval (Clopper and Pearson); rate None of nothing."""

    num: int
    out_of: int
    rate: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Care:
    """A person's verdicts here, and how many of their controls were answered right ("can't tell" is not right)."""

    person: str
    num_verdicts: int
    controls: Share


@dataclass(frozen=True)
class Panel:
    """What the desk tells a person about the work on a data set."""

    person: str  # who asks
    overlap: float
    control_share: float
    remaining: int
    decided: dict[str, int]
    per_minute: float | None  # this person's median over the minutes in which they worked
    false_negatives: Share  # of the suggestions, by the random sample
    streak: int  # this person's latest verdicts without a match among them
    stop_bound: float | None  # 95 % bound of the matches among the like, once the streak is long
    people: list[Care]
    agreement: list[Agreement]
    num_waiting: int  # for a second vote
    num_disputed: int
    ranking: dict[str, Any] | None  # what the live ranking last learned, and how sure it is


def desk_panel(session: Session, data_set_id: int, *, person: str) -> Panel:
    """All numbers for one person. Raises NotFound."""
    data_set = get_data_set(session, data_set_id)
    recent = _recent(session, data_set_id, person)
    streak = _streak([answer for answer, _, source in recent if source == "manual"])
    drawn = random_share(session, data_set_id)
    return Panel(
        person=person,
        overlap=data_set.overlap,
        control_share=data_set.control_share,
        remaining=num_open(session, data_set_id),
        decided=num_decided(session, data_set_id),
        per_minute=_per_minute([at for _, at, source in recent if source != "bulk"]),
        false_negatives=share(drawn.num_match, drawn.num_judged),
        streak=streak,
        stop_bound=upper_bound(0, streak) if streak >= STREAK else None,
        people=_care(session, data_set_id),
        agreement=agreements(session, data_set_id),
        num_waiting=num_in_state(session, data_set_id, "waiting"),
        num_disputed=num_in_state(session, data_set_id, "disputed"),
        ranking=_ranking(session, data_set_id),
    )


def share(num: int, out_of: int) -> Share:
    """With the exact two-sided 95 % interval."""
    if out_of == 0:
        return Share(0, 0, None, 0.0, 1.0)
    low = 1.0 - upper_bound(out_of - num, out_of, alpha=0.025)
    return Share(num, out_of, num / out_of, max(0.0, low), upper_bound(num, out_of, alpha=0.025))


def _recent(session: Session, data_set_id: int, person: str) -> list[tuple[str, datetime, str]]:
    """(answer, when, source) of the person's latest verdicts here, the newest first."""
    query = (
        select(Verdict.answer, Verdict.created_at, Verdict.source)
        .where(Verdict.person == person, Verdict.data_set_id == data_set_id, Verdict.answer.is_not(None))
        .order_by(Verdict.id.desc())
        .limit(RECENT)
    )
    return [(answer or "", at, source) for answer, at, source in session.execute(query)]


def _streak(answers: Sequence[str]) -> int:
    return next((place for place, answer in enumerate(answers) if answer == "match"), len(answers))


def _per_minute(times: Sequence[datetime]) -> float | None:
    """The median count over the minutes that had any; None before three such minutes."""
    minutes = Counter(at.replace(second=0, microsecond=0) for at in times)
    return float(median(minutes.values())) if len(minutes) >= 3 else None


def _care(session: Session, data_set_id: int) -> list[Care]:
    said = select(Verdict.person, func.count()).where(
        Verdict.data_set_id == data_set_id,
        Verdict.answer.is_not(None),
        Verdict.source.in_(("manual", "blind")),
    )
    verdicts = {name: num for name, num in session.execute(said.group_by(Verdict.person))}
    right = func.sum(case((Control.answer == Control.expected, 1), else_=0))
    asked = select(Control.person, func.count(), right).where(
        Control.data_set_id == data_set_id, Control.answer.is_not(None)
    )
    controls = {name: (num, int(ok)) for name, num, ok in session.execute(asked.group_by(Control.person))}
    rows = [
        Care(name, verdicts.get(name, 0), share(controls.get(name, (0, 0))[1], controls.get(name, (0, 0))[0]))
        for name in {*verdicts, *controls}
    ]
    return sorted(rows, key=lambda row: (-row.num_verdicts, row.person))


def _ranking(session: Session, data_set_id: int) -> dict[str, Any] | None:
    query = select(Event.body).join(Job, Job.id == Event.job_id)
    query = query.where(Job.data_set_id == data_set_id, Job.kind == "rank", Event.kind == "ranked")
    return session.scalar(query.order_by(Event.id.desc()).limit(1))
