"""Take a verdict back: a row of its own, which restores the verdict that stood before."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from app.actions.decide import check_uuid, project
from app.actions.groups import uuid_in_group, verdicts_of_group
from app.actions.second_votes import forget_vote
from app.errors import Conflict, NotFound
from app.store.insert import CHUNK, insert_missing
from app.store.models import BulkCheck, CurrentVerdict, Suggestion, Verdict

PART = 2_000  # verdicts of a bulk step a transaction


@dataclass(frozen=True)
class Undone:
    """The verdict that is taken back, and how many of its bulk step still stand (itself among them, the last to go)."""

    verdict: Verdict
    num_left: int


def undo(
    session: Session, *, new_uuid: str, person: str, uuid: str | None = None, data_set_id: int | None = None
) -> Verdict:
    """The verdict that was taken back: the one with `uuid`, or else the person's latest that still stands.
    The verdicts that came with it on near duplicates, and all of one bulk step, go back too.

    `new_uuid` names the undo itself, so that a retry takes back nothing more. Raises NotFound where there
    is nothing to take back, Conflict where it was taken back already.
    """
    done = undo_part(session, new_uuid=new_uuid, person=person, uuid=uuid, data_set_id=data_set_id)
    while done.num_left:
        done = undo_part(session, new_uuid=new_uuid, person=person, uuid=done.verdict.uuid)
    return done.verdict


def undo_part(
    session: Session, *, new_uuid: str, person: str, uuid: str | None = None, data_set_id: int | None = None
) -> Undone:
    """As `undo`, but of a large bulk step only the next `PART` verdicts: go on, with the verdict's uuid, while some are left."""
    check_uuid(new_uuid)
    known = session.scalar(select(Verdict).where(Verdict.uuid == new_uuid))
    if known is not None:
        return Undone(_retracted_by(session, known), 0)
    verdict = _named(session, uuid) if uuid else _latest(session, person, data_set_id)
    if verdict.bulk_id:
        return Undone(verdict, _undo_bulk(session, verdict, new_uuid=new_uuid, person=person))
    _undo_one(session, verdict, new_uuid=new_uuid, person=person)
    return Undone(verdict, 0)


def _undo_one(session: Session, verdict: Verdict, *, new_uuid: str, person: str) -> None:
    _lock(session, verdict)
    row = {
        "uuid": new_uuid,
        "data_set_id": verdict.data_set_id,
        "image_id": verdict.image_id,
        "caption_id": verdict.caption_id,
        "answer": None,
        "person": person,
        "retracts_id": verdict.id,
    }
    if insert_missing(session, Verdict, [row], key=["retracts_id"]) == 0:
        raise Conflict("this verdict was taken back already; nothing is left to undo")
    forget_vote(session, verdict)
    if verdict.is_second:
        return  # it had changed nothing
    _project_again(session, verdict)
    for other in verdicts_of_group(session, verdict):
        _lock(session, other)
        same = {"uuid": uuid_in_group(new_uuid, (other.image_id, other.caption_id)), "retracts_id": other.id}
        same |= {"image_id": other.image_id, "caption_id": other.caption_id}
        if insert_missing(session, Verdict, [row | same], key=["retracts_id"]):
            _project_again(session, other)


def _undo_bulk(session: Session, verdict: Verdict, *, new_uuid: str, person: str) -> int:
    """Take back the next of what was decided in one step with `verdict`, which goes last; how many are left."""
    retraction = aliased(Verdict)
    standing = (
        select(Verdict)
        .where(Verdict.bulk_id == verdict.bulk_id, Verdict.answer.is_not(None))
        .where(~select(retraction.id).where(retraction.retracts_id == Verdict.id).exists())
    )
    bulk = list(session.scalars(standing.order_by(Verdict.id == verdict.id, Verdict.id).limit(PART)))
    rows = [
        {
            "uuid": new_uuid if v.id == verdict.id else uuid_in_group(new_uuid, (v.image_id, v.caption_id)),
            "data_set_id": v.data_set_id,
            "image_id": v.image_id,
            "caption_id": v.caption_id,
            "answer": None,
            "person": person,
            "retracts_id": v.id,
        }
        for v in bulk
    ]
    if insert_missing(session, Verdict, rows, key=["retracts_id"]) == 0:
        raise Conflict("this bulk accept was taken back already; nothing is left to undo")
    ids = [v.id for v in bulk]
    for start in range(0, len(ids), CHUNK):
        _project_many(session, bulk[start : start + CHUNK])
    session.execute(update(BulkCheck).where(BulkCheck.bulk_id == verdict.bulk_id).values(state="undone"))
    return session.scalar(select(func.count()).select_from(standing.subquery())) or 0


def _project_many(session: Session, verdicts: list[Verdict]) -> None:
    """What stood before verdicts that were taken back; their suggestions are open again where nothing did."""
    both = [(v.image_id, v.caption_id) for v in verdicts]
    current = tuple_(CurrentVerdict.image_id, CurrentVerdict.caption_id).in_(both)
    mine = CurrentVerdict.verdict_id.in_([v.id for v in verdicts])
    session.execute(delete(CurrentVerdict).where(current, mine))
    retraction = aliased(Verdict)
    standing = session.scalars(
        select(Verdict)
        .where(tuple_(Verdict.image_id, Verdict.caption_id).in_(both), Verdict.answer.is_not(None))
        .where(Verdict.is_second.is_(False))
        .where(~select(retraction.id).where(retraction.retracts_id == Verdict.id).exists())
    ).all()
    project(session, standing)
    kept = {(v.image_id, v.caption_id) for v in standing}
    again = [candidate for candidate in both if candidate not in kept]
    newest = (
        select(func.max(Suggestion.id))
        .where(tuple_(Suggestion.image_id, Suggestion.caption_id).in_(again), Suggestion.state == "decided")
        .group_by(Suggestion.image_id, Suggestion.caption_id)
    )
    reopen = update(Suggestion).where(Suggestion.id.in_(newest)).values(state="open")
    session.execute(reopen, execution_options={"synchronize_session": False})


def _retracted_by(session: Session, undo_row: Verdict) -> Verdict:
    if undo_row.retracts_id is None:
        raise Conflict(f"{undo_row.uuid} names a verdict, not an undo; send a new UUID")
    return session.get_one(Verdict, undo_row.retracts_id)


def _named(session: Session, uuid: str) -> Verdict:
    verdict = session.scalar(select(Verdict).where(Verdict.uuid == uuid, Verdict.answer.is_not(None)))
    if verdict is None:
        raise NotFound(f"there is no verdict {uuid}; it may not have reached the server yet")
    return verdict


def _standing() -> object:
    retraction = aliased(Verdict)
    return (
        select(Verdict)
        .where(Verdict.answer.is_not(None))
        .where(~select(retraction.id).where(retraction.retracts_id == Verdict.id).exists())
        .order_by(Verdict.id.desc())
        .limit(1)
    )


def _latest(session: Session, person: str, data_set_id: int | None) -> Verdict:
    query = _standing().where(Verdict.person == person)  # type: ignore[attr-defined]
    if data_set_id is not None:
        query = query.where(Verdict.data_set_id == data_set_id)
    verdict: Verdict | None = session.scalar(query)
    if verdict is None:
        raise NotFound("there is no verdict of yours left to undo")
    return verdict


def _lock(session: Session, verdict: Verdict) -> None:
    """Hold the candidate's current verdict, so that a verdict of the same moment waits for us or we for it."""
    session.execute(_current(verdict, select(CurrentVerdict.verdict_id)).with_for_update())


def _project_again(session: Session, verdict: Verdict) -> None:
    same = [Verdict.image_id == verdict.image_id, Verdict.caption_id == verdict.caption_id]
    session.execute(_current(verdict, delete(CurrentVerdict)))
    same.append(Verdict.is_second.is_(False))
    before: Verdict | None = session.scalar(_standing().where(*same))  # type: ignore[attr-defined]
    if before is not None:
        project(session, [before])
        return
    newest = select(func.max(Suggestion.id)).where(
        Suggestion.image_id == verdict.image_id,
        Suggestion.caption_id == verdict.caption_id,
        Suggestion.state == "decided",
    )
    reopen = update(Suggestion).where(Suggestion.id == newest.scalar_subquery()).values(state="open")
    session.execute(reopen, execution_options={"synchronize_session": False})


def _current(verdict: Verdict, statement):  # type: ignore[no-untyped-def]  # any statement on the projection
    return statement.where(
        CurrentVerdict.image_id == verdict.image_id, CurrentVerdict.caption_id == verdict.caption_id
    )
