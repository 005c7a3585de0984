"""Near duplicates: the suggestions of one group are answered together, and taken back together."""

from collections.abc import Sequence
from uuid import UUID, uuid5

from sqlalchemy import literal_column, select, tuple_
from sqlalchemy.orm import Session

from app.store.models import Suggestion, Verdict

MAX_GROUP = 200  # suggestions that one answer may settle
HAS_GROUP = Suggestion.group_key != literal_column("''")  # a literal, so that the partial index serves
Candidate = tuple[int, int]  # image id, caption id


def others_of_group(
    session: Session, candidates: Sequence[Candidate], *, only_open: bool
) -> dict[Candidate, list[Candidate]]:
    """Candidate → the other candidates of its groups; nothing for one that is in no group."""
    columns = (Suggestion.data_set_id, Suggestion.group_key, Suggestion.image_id, Suggestion.caption_id)
    both = tuple_(Suggestion.image_id, Suggestion.caption_id)
    asked = session.execute(
        select(*columns).where(both.in_(candidates), Suggestion.group_key != "").distinct()
    ).all()
    found: dict[Candidate, list[Candidate]] = {}
    for data_set_id, key, image_id, caption_id in asked:
        query = select(Suggestion.image_id, Suggestion.caption_id).where(
            Suggestion.data_set_id == data_set_id, Suggestion.group_key == key, HAS_GROUP
        )
        if only_open:
            query = query.where(Suggestion.state == "open")
        rows = session.execute(query.distinct().order_by(*columns[2:]).limit(MAX_GROUP)).all()
        mine = (image_id, caption_id)
        found.setdefault(mine, []).extend((i, c) for i, c in rows if (i, c) != mine)
    return found


def uuid_in_group(uuid: str, candidate: Candidate) -> str:
    """The name of the verdict that an answer with `uuid` gives another candidate of the group: always the same."""
    return str(uuid5(UUID(uuid), f"{candidate[0]} {candidate[1]}"))


def verdicts_of_group(session: Session, verdict: Verdict) -> list[Verdict]:
    """The verdicts that came with this one, by its group."""
    own = (verdict.image_id, verdict.caption_id)
    names = [
        uuid_in_group(verdict.uuid, other)
        for other in others_of_group(session, [own], only_open=False).get(own, [])
    ]
    return list(session.scalars(select(Verdict).where(Verdict.uuid.in_(names)).order_by(Verdict.id)))
