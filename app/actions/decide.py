"""Save verdicts: append-only, idempotent by UUID, the projection kept in the same transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from app.actions.groups import others_of_group, uuid_in_group
from app.actions.lease_items import release_items
from app.actions.second_votes import decided_by_others, lock_candidates, record_votes, settle
from app.errors import NearmissError, NotFound
from app.store.insert import insert, insert_missing
from app.store.models import (
    ANSWERS,
    Answer,
    Caption,
    CurrentVerdict,
    Image,
    Pair,
    Suggestion,
    Verdict,
)

MAX_DECISIONS = 500  # a request; a browser's outbox sends a few at a time
Candidate = tuple[int, int]  # image id, caption id


@dataclass(frozen=True)
class Decision:
    """One answer to "does this caption describe this image?"; the client makes the UUID."""

    uuid: str
    image_id: int
    caption_id: int
    answer: Answer
    confidence: float = 1.0
    suggestion_id: int | None = None  # what was shown, if it was a suggestion

    def __post_init__(self) -> None:
        check_uuid(self.uuid)
        if self.answer not in ANSWERS:
            raise NearmissError(f"the answer is {self.answer!r}; use one of {', '.join(ANSWERS)}")
        if not 0.0 <= self.confidence <= 1.0:
            raise NearmissError(f"the confidence is {self.confidence}; give a number from 0 to 1")


def check_uuid(uuid: str) -> None:
    """Raises NearmissError for anything that is not a UUID in its usual 36 characters."""
    try:
        usual = str(UUID(uuid)) == uuid.lower()
    except (ValueError, AttributeError, TypeError):
        usual = False
    if not usual:
        raise NearmissError(f"{uuid!r} is no UUID; send one like 6f1c2a34-… for each verdict")


def decide(
    session: Session,
    *,
    decisions: Sequence[Decision],
    person: str,
    source: str = "manual",
    bulk_id: str | None = None,
) -> list[Verdict]:
    """The saved verdicts in the order given; a UUID that is known already answers its row of that time.

    Raises NotFound for an image or caption that is unknown or was erased, NearmissError for a candidate
    across data sets and for `no_match` on a pair. A `broken_pair` given on a candidate is meant for the image's
    own pair, and is saved there; a `no_match` given on a suggestion that asks about a pair is a `broken_pair`.
    An answer on one of a group of near duplicates answers all of the group that are open, but for `source` "blind":
    a sample's answer is about that one only. Verdicts with one `bulk_id` are taken back together. An answer to a
    suggestion that somebody else has decided meanwhile is a second vote: kept, and what stands stays.
    """
    if len(decisions) > MAX_DECISIONS:
        raise NearmissError(f"{len(decisions)} verdicts in one request; send at most {MAX_DECISIONS}")
    known = _by_uuid(session, decisions)
    new = {d.uuid: d for d in _as_asked(session, decisions) if d.uuid not in known}
    if new:
        states = lock_candidates(session, [(d.image_id, d.caption_id) for d in new.values()])
        stood = {} if bulk_id else _others(session, list(new.values()), states, person=person)
        firsts = [d for d in new.values() if d.uuid not in stood]
        # a bulk accept stays within its slice, which near duplicates may leave
        alike = [] if bulk_id or source == "blind" else same_for_group(session, firsts)
        # the named ones last: undo takes back a person's latest
        rows = _rows(session, [*alike, *new.values()], person=person, source=source)
        rows = [row | {"bulk_id": bulk_id, "is_second": row["uuid"] in stood} for row in rows]
        insert_missing(session, Verdict, rows, key=["uuid"])
        project(session, list(_by_uuid(session, [*firsts, *alike]).values()))
        known = _by_uuid(session, decisions)
        if not bulk_id:
            _compare(session, list(new.values()), known, stood)
        release_items(session, suggestion_ids=[d.suggestion_id for d in new.values() if d.suggestion_id])
    return [known[d.uuid] for d in decisions]


def _others(
    session: Session, decisions: Sequence[Decision], states: Mapping[int, tuple[str, str]], *, person: str
) -> dict[str, int]:
    """UUID → the other person's verdict that it comes second to: an answer to what has left the queue meanwhile."""
    about = {d.uuid: states.get(d.suggestion_id or 0, ("", "")) for d in decisions}
    asked = [d for d in decisions if about[d.uuid][0] == "decided"]
    # a broken pair told on a candidate is meant for another one
    asked = [d for d in asked if d.answer != "broken_pair" or about[d.uuid][1] == "broken_pair"]
    standing = decided_by_others(session, [(d.image_id, d.caption_id) for d in asked], person=person)
    found = {d.uuid: standing.get((d.image_id, d.caption_id)) for d in asked}
    return {uuid: verdict_id for uuid, verdict_id in found.items() if verdict_id is not None}


def _compare(
    session: Session, decisions: Sequence[Decision], known: Mapping[str, Verdict], stood: Mapping[str, int]
) -> None:
    """What the answers say of other people's: those from the queue as votes, the others with both in view."""
    same = [d for d in decisions if d.suggestion_id and known[d.uuid].caption_id == d.caption_id]
    votes = {d.suggestion_id: known[d.uuid] for d in same if d.suggestion_id}
    first = {(known[uuid].image_id, known[uuid].caption_id): id_ for uuid, id_ in stood.items()}
    if votes:
        record_votes(session, votes, first=first)
    settle(session, [known[d.uuid] for d in decisions if not d.suggestion_id])


def _as_asked(session: Session, decisions: Sequence[Decision]) -> list[Decision]:
    """No to "does the pair's own caption describe its image?" means that the pair is broken."""
    ids = [d.suggestion_id for d in decisions if d.suggestion_id is not None and d.answer == "no_match"]
    about_pairs = select(Suggestion.id).where(Suggestion.id.in_(ids), Suggestion.proposed == "broken_pair")
    asked = set(session.scalars(about_pairs)) if ids else set()
    return [replace(d, answer="broken_pair") if d.suggestion_id in asked else d for d in decisions]


def same_for_group(session: Session, decisions: Sequence[Decision]) -> list[Decision]:
    """The same answers for the open near duplicates of what was judged, where nobody judges them just now."""
    said = {(d.image_id, d.caption_id) for d in decisions}
    groups = others_of_group(session, sorted(said), only_open=True)
    found = []
    for d in decisions:
        for image_id, caption_id in groups.get((d.image_id, d.caption_id), []):
            if (image_id, caption_id) not in said and d.answer != "broken_pair":
                said.add((image_id, caption_id))
                name = uuid_in_group(d.uuid, (image_id, caption_id))
                found.append(Decision(name, image_id, caption_id, d.answer, d.confidence))
    return found


def _by_uuid(session: Session, decisions: Sequence[Decision]) -> dict[str, Verdict]:
    found = session.scalars(select(Verdict).where(Verdict.uuid.in_([d.uuid for d in decisions])))
    return {verdict.uuid: verdict for verdict in found}


def _rows(
    session: Session, decisions: Sequence[Decision], *, person: str, source: str
) -> list[dict[str, object]]:
    data_sets = _data_sets(session, decisions)
    meant = _meant(session, decisions)
    shown = {d.suggestion_id for d in decisions if d.suggestion_id is not None}
    suggestions = {s.id: s for s in session.scalars(select(Suggestion).where(Suggestion.id.in_(shown)))}
    rows = []
    for d in decisions:
        suggestion = suggestions.get(d.suggestion_id) if d.suggestion_id is not None else None
        row = {"uuid": d.uuid, "image_id": d.image_id, "caption_id": meant[d.uuid], "answer": d.answer}
        row |= {"confidence": d.confidence, "person": person, "source": source}
        row |= {"data_set_id": data_sets[d.image_id, d.caption_id]}
        row |= {"model_id": suggestion and suggestion.model_id, "score": suggestion and suggestion.score}
        rows.append(row)
        if (
            d.caption_id != meant[d.uuid]
        ):  # the question that was shown stays unanswered but is not asked again
            _set_suggestions(session, [(d.image_id, d.caption_id)], was="open", state="decided")
    return rows


def _data_sets(session: Session, decisions: Sequence[Decision]) -> dict[Candidate, int]:
    """Candidate → its data set, after checking that both halves are there and belong together."""
    images = _living(session, Image, {d.image_id for d in decisions}, "image")
    captions = _living(session, Caption, {d.caption_id for d in decisions}, "caption")
    for d in decisions:
        if images[d.image_id] != captions[d.caption_id]:
            raise NotFound(
                f"image {d.image_id} and caption {d.caption_id} belong to different data sets; reload the page"
            )
    return {(d.image_id, d.caption_id): images[d.image_id] for d in decisions}


def _living(
    session: Session, table: type[Image] | type[Caption], ids: Collection[int], what: str
) -> dict[int, int]:
    rows = session.execute(
        select(table.id, table.data_set_id, table.erased_at).where(table.id.in_(ids))
    ).all()
    missing = set(ids) - {row.id for row in rows}
    if missing:
        raise NotFound(f"there is no {what} {min(missing)}; reload the page")
    erased = [row.id for row in rows if row.erased_at is not None]
    if erased:
        raise NotFound(f"{what} {min(erased)} was erased and takes no verdicts; go on with the next one")
    return {row.id: row.data_set_id for row in rows}


def _meant(session: Session, decisions: Sequence[Decision]) -> dict[str, int]:
    """UUID → the caption that the answer is about."""
    image_ids = {d.image_id for d in decisions}
    pairs: dict[int, list[int]] = {}
    found = select(Pair.image_id, Pair.caption_id).where(Pair.image_id.in_(image_ids)).order_by(Pair.id)
    for image_id, caption_id in session.execute(found):
        pairs.setdefault(image_id, []).append(caption_id)
    return {d.uuid: _caption_meant(d, pairs.get(d.image_id, [])) for d in decisions}


def _caption_meant(decision: Decision, own_ids: list[int]) -> int:
    where = f"image {decision.image_id} and caption {decision.caption_id}"
    is_pair = decision.caption_id in own_ids
    if decision.answer == "no_match" and is_pair:
        raise NearmissError(f"{where} are a pair of the data set; answer broken_pair when they do not fit")
    if decision.answer != "broken_pair" or is_pair:
        return decision.caption_id
    if len(own_ids) != 1:
        raise NearmissError(
            f"{where} are no pair of the data set, and the image has {len(own_ids)}; name the broken one"
        )
    return own_ids[0]


def project(session: Session, verdicts: Sequence[Verdict]) -> None:
    """Make `verdicts` the current ones where none is newer, and take their candidates out of the queue."""
    latest = {(v.image_id, v.caption_id): v for v in sorted(verdicts, key=lambda v: v.id)}
    if not latest:
        return
    rows = [
        {
            "image_id": v.image_id,
            "caption_id": v.caption_id,
            "data_set_id": v.data_set_id,
            "verdict_id": v.id,
            "answer": v.answer,
        }
        for _, v in sorted(latest.items())  # one order for everybody: no deadlock
    ]
    statement = insert(session, CurrentVerdict).values(rows)
    new = statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["image_id", "caption_id"],
            set_={"verdict_id": new.verdict_id, "answer": new.answer},
            where=CurrentVerdict.verdict_id < new.verdict_id,
        )
    )
    _set_suggestions(session, list(latest), was="open", state="decided")


def _set_suggestions(session: Session, candidates: Sequence[Candidate], *, was: str, state: str) -> None:
    session.execute(
        update(Suggestion)
        .where(tuple_(Suggestion.image_id, Suggestion.caption_id).in_(candidates), Suggestion.state == was)
        .values(state=state),
        execution_options={"synchronize_session": False},
    )
