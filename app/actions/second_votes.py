"""Second votes: what two people said of one candidate, asked on purpose or because both were at it at once.

The first verdict stands until somebody decides with both in view: the second person ("keep or replace?"), or whoever
works through the disagreements. A share of the images, `DataSet.overlap`, is asked twice on purpose; by image, because
an anchor's candidates are judged together.
"""

import hashlib
from collections.abc import Mapping, Sequence

from sqlalchemy import or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from app.store.models import CurrentVerdict, DataSet, SecondVote, Suggestion, Verdict

Candidate = tuple[int, int]  # image id, caption id
BY_HAND = ("manual", "blind", "api")  # a bulk accept or an import is nobody's look at this very candidate


def is_asked_twice(image_id: int, share: float) -> bool:
    """Whether the image belongs to the share that two people judge: always the same answer for an image."""
    digest = hashlib.blake2b(f"twice {image_id}".encode(), digest_size=7).digest()
    return int.from_bytes(digest) / 256**7 < share


def lock_candidates(session: Session, candidates: Sequence[Candidate]) -> dict[int, tuple[str, str]]:
    """Suggestion id → (state, proposed) of the candidates' suggestions, held until the transaction ends (Postgres)."""
    both = tuple_(Suggestion.image_id, Suggestion.caption_id).in_(candidates)
    query = select(Suggestion.id, Suggestion.state, Suggestion.proposed).where(both)
    rows = session.execute(query.order_by(Suggestion.id).with_for_update())
    return {row.id: (row.state, row.proposed) for row in rows}


def decided_by_others(
    session: Session, candidates: Sequence[Candidate], *, person: str
) -> dict[Candidate, int]:
    """Candidate → the standing verdict (id) that somebody else gave by hand."""
    both = tuple_(CurrentVerdict.image_id, CurrentVerdict.caption_id).in_(candidates)
    query = (
        select(CurrentVerdict.image_id, CurrentVerdict.caption_id, CurrentVerdict.verdict_id)
        .join(Verdict, Verdict.id == CurrentVerdict.verdict_id)
        .where(both, Verdict.person != person, Verdict.source.in_(BY_HAND))
    )
    return {(i, c): verdict_id for i, c, verdict_id in session.execute(query)}


def record_votes(session: Session, votes: Mapping[int, Verdict], *, first: Mapping[Candidate, int]) -> None:
    """Keep what the new verdicts say of other people's: `votes` are by suggestion, `first` is what stood before.

    A second vote answers the question that waits for one, or makes a row of its own. A further first verdict renews
    the rows of its person, or settles the disagreement of others. Only the images of the share wait for a second.
    """
    rows = _rows_of(session, [(v.image_id, v.caption_id) for v in votes.values()])
    shares: dict[int, float] = {}
    for suggestion_id, verdict in votes.items():
        candidate = (verdict.image_id, verdict.caption_id)
        own = rows.get(candidate, [])
        if verdict.is_second:
            _second(session, verdict, suggestion_id, own, first[candidate])
            continue
        for row in own:
            _renew(session, row, verdict)
        share = _share(session, verdict.data_set_id, shares)
        if not own and verdict.source in BY_HAND and is_asked_twice(verdict.image_id, share):
            session.add(_row(verdict, suggestion_id, first_id=verdict.id, planned=True))
    session.flush()


def settle(session: Session, verdicts: Sequence[Verdict]) -> None:
    """A verdict given outside the queue, with the others in view, ends the disagreement on its candidate."""
    for verdict in verdicts:
        session.execute(
            update(SecondVote)
            .where(SecondVote.image_id == verdict.image_id, SecondVote.caption_id == verdict.caption_id)
            .where(SecondVote.state == "disputed")
            .values(state="settled", settled_verdict_id=verdict.id),
            execution_options={"synchronize_session": False},
        )


def forget_vote(session: Session, verdict: Verdict) -> None:
    """After `verdict` was taken back: what it settled is open again, what it answered waits again."""
    touched = or_(
        SecondVote.first_verdict_id == verdict.id,
        SecondVote.second_verdict_id == verdict.id,
        SecondVote.settled_verdict_id == verdict.id,
    )
    for row in session.scalars(select(SecondVote).where(touched)):
        if row.settled_verdict_id == verdict.id:
            row.settled_verdict_id, row.state = None, "disputed"
        elif row.second_verdict_id == verdict.id and row.planned:
            row.second_verdict_id, row.settled_verdict_id, row.state = None, None, "waiting"
        else:
            session.delete(row)
    session.flush()


def _second(
    session: Session, verdict: Verdict, suggestion_id: int, rows: list[SecondVote], first_id: int
) -> None:
    given = aliased(Verdict)
    mine = select(SecondVote.id).join(given, given.id == SecondVote.second_verdict_id)
    again = set(
        session.scalars(mine.where(SecondVote.id.in_([r.id for r in rows]), given.person == verdict.person))
    )
    row = next((r for r in rows if r.id in again or r.state == "waiting"), None)
    if row is None:
        row = _row(verdict, suggestion_id, first_id=first_id, planned=False)
        session.add(row)
    row.second_verdict_id, row.settled_verdict_id = verdict.id, None
    row.state = _verdict_on(session, row)


def _renew(session: Session, row: SecondVote, verdict: Verdict) -> None:
    first = session.get_one(Verdict, row.first_verdict_id)
    if first.person == verdict.person:
        row.first_verdict_id = verdict.id
        row.state = _verdict_on(session, row)
    elif row.state == "disputed":
        row.settled_verdict_id, row.state = verdict.id, "settled"


def _verdict_on(session: Session, row: SecondVote) -> str:
    if row.second_verdict_id is None:
        return "waiting"
    first, second = (session.get_one(Verdict, i) for i in (row.first_verdict_id, row.second_verdict_id))
    return "agreed" if first.answer == second.answer else "disputed"


def _row(verdict: Verdict, suggestion_id: int, *, first_id: int, planned: bool) -> SecondVote:
    return SecondVote(
        data_set_id=verdict.data_set_id,
        image_id=verdict.image_id,
        caption_id=verdict.caption_id,
        suggestion_id=suggestion_id,
        planned=planned,
        first_verdict_id=first_id,
        state="waiting",
    )


def _rows_of(session: Session, candidates: Sequence[Candidate]) -> dict[Candidate, list[SecondVote]]:
    both = tuple_(SecondVote.image_id, SecondVote.caption_id).in_(candidates)
    found: dict[Candidate, list[SecondVote]] = {}
    for row in session.scalars(select(SecondVote).where(both).order_by(SecondVote.id)):
        found.setdefault((row.image_id, row.caption_id), []).append(row)
    return found


def _share(session: Session, data_set_id: int, known: dict[int, float]) -> float:
    if data_set_id not in known:
        known[data_set_id] = session.get_one(DataSet, data_set_id).overlap
    return known[data_set_id]
