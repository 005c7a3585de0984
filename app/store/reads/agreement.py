"""Agreement: what pairs of people said of the same candidates, and the disagreements that wait for a decision."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from app.store.models import Caption, Image, SecondVote, Verdict


@dataclass(frozen=True)
class Agreement:
    """Of two people on `num` candidates; `kappa` is None where chance alone would agree always."""

    people: tuple[str, str]
    num: int
    observed: float
    kappa: float | None


@dataclass(frozen=True)
class Vote:
    """One person's answer."""

    uuid: str
    person: str
    answer: str
    created_at: datetime


@dataclass(frozen=True)
class Dispute:
    """A candidate on which two people disagree."""

    id: int
    image_id: int
    caption_id: int
    caption: str
    first: Vote  # stands until somebody decides
    second: Vote


@dataclass(frozen=True)
class Other:
    """What somebody else had decided before an answer came: `uuid` names the answer."""

    uuid: str
    image_id: int
    caption_id: int
    caption: str
    person: str
    answer: str
    yours: str
    seconds_ago: float


def kappa(both: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's κ of two people's answers to the same questions (Cohen 1960): (observed − chance) / (1 − chance)."""
    num = len(both)
    if num == 0:
        return None
    observed = sum(a == b for a, b in both) / num
    first, second = Counter(a for a, _ in both), Counter(b for _, b in both)
    chance = sum(first[answer] * second[answer] for answer in first) / num**2
    return None if chance >= 1.0 else (observed - chance) / (1.0 - chance)


def agreements(session: Session, data_set_id: int) -> list[Agreement]:
    """Every pair of people that judged candidates in common, the one with the most first."""
    first, second = aliased(Verdict), aliased(Verdict)
    query = (
        select(first.person, first.answer, second.person, second.answer)
        .select_from(SecondVote)
        .join(first, first.id == SecondVote.first_verdict_id)
        .join(second, second.id == SecondVote.second_verdict_id)
        .where(SecondVote.data_set_id == data_set_id)
    )
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one, answer, other, given in session.execute(query):
        if one == other:
            continue
        said = (answer or "", given or "")
        key, both = ((one, other), said) if one < other else ((other, one), said[::-1])
        found.setdefault(key, []).append(both)
    rows = [
        Agreement(people, len(both), sum(a == b for a, b in both) / len(both), kappa(both))
        for people, both in found.items()
    ]
    return sorted(rows, key=lambda row: (-row.num, row.people))


def num_in_state(session: Session, data_set_id: int, state: str) -> int:
    """How many candidates wait for a second vote (`waiting`) or for a decision (`disputed`)."""
    where = (SecondVote.data_set_id == data_set_id, SecondVote.state == state)
    return session.scalar(select(func.count()).select_from(SecondVote).where(*where)) or 0


def disputes(
    session: Session, data_set_id: int, *, images: Collection[int] | None = None, limit: int = 50
) -> list[Dispute]:
    """The disagreements that nobody has settled, the oldest first; about all images or about `images`."""
    where = [SecondVote.data_set_id == data_set_id, SecondVote.state == "disputed"]
    where += [Image.erased_at.is_(None), Caption.erased_at.is_(None)]
    where += [] if images is None else [SecondVote.image_id.in_(images)]
    first, second = aliased(Verdict), aliased(Verdict)
    query = (
        select(SecondVote, Caption.text, first, second)
        .join(Caption, Caption.id == SecondVote.caption_id)
        .join(Image, Image.id == SecondVote.image_id)
        .join(first, first.id == SecondVote.first_verdict_id)
        .join(second, second.id == SecondVote.second_verdict_id)
        .where(*where)
        .order_by(SecondVote.id)
        .limit(limit)
    )
    return [
        Dispute(row.id, row.image_id, row.caption_id, text, _vote(a), _vote(b))
        for row, text, a, b in session.execute(query)
    ]


def decided_meanwhile(session: Session, uuids: Sequence[str]) -> list[Other]:
    """Of these answers, those that came after somebody else's and differ; second votes asked on purpose are not told."""
    first, second = aliased(Verdict), aliased(Verdict)
    query = (
        select(SecondVote, Caption.text, first, second)
        .join(Caption, Caption.id == SecondVote.caption_id)
        .join(first, first.id == SecondVote.first_verdict_id)
        .join(second, second.id == SecondVote.second_verdict_id)
        .where(second.uuid.in_(uuids), SecondVote.planned.is_(False), SecondVote.state == "disputed")
    )
    return [
        Other(
            uuid=b.uuid,
            image_id=row.image_id,
            caption_id=row.caption_id,
            caption=text,
            person=a.person,
            answer=a.answer or "",
            yours=b.answer or "",
            seconds_ago=(b.created_at - a.created_at).total_seconds(),
        )
        for row, text, a, b in session.execute(query)
    ]


def _vote(verdict: Verdict) -> Vote:
    return Vote(verdict.uuid, verdict.person, verdict.answer or "", verdict.created_at)
