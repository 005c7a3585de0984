"""Near duplicates: what mining found is kept as groups, and a group is settled in one decision that can be taken back.

*same*: each image of the group is described by each caption of it (`match`). *different*: by its own only (`no_match`).
*one*: the first pair stays, the others are retired.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, get_args
from uuid import UUID, uuid4, uuid5

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from app.actions.decide import MAX_DECISIONS, Decision, decide
from app.actions.undo import undo
from app.errors import Conflict, NearmissError
from app.store.insert import CHUNK, insert_missing
from app.store.models import Answer, CurrentVerdict, DataSet, Duplicate, DuplicateGroup, Pair, Verdict
from app.store.reads.duplicates import GroupPair, Kind, get_group, pairs_of_group

Settlement = Literal["same", "different", "one"]


def keep_groups(session: Session, data_set_id: int, *, kind: Kind, groups: Sequence[Sequence[int]]) -> int:
    """Replaces the open groups of a kind; a settled one with the same members stays settled. How many are open."""
    wanted = {_members_hash(ids): sorted(set(ids)) for ids in groups if len(set(ids)) > 1}
    known = select(DuplicateGroup.members_hash, DuplicateGroup.id, DuplicateGroup.settled).where(
        DuplicateGroup.data_set_id == data_set_id, DuplicateGroup.kind == kind
    )
    before = {row.members_hash: row for row in session.execute(known)}
    gone = [row.id for name, row in before.items() if name not in wanted and row.settled is None]
    for some in _chunks(gone):
        session.execute(delete(Duplicate).where(Duplicate.group_id.in_(some)))
        session.execute(delete(DuplicateGroup).where(DuplicateGroup.id.in_(some)))
    fresh = [name for name in wanted if name not in before]
    same: dict[str, object] = {"data_set_id": data_set_id, "kind": kind, "retired_pairs": [], "person": ""}
    rows = [same | {"members_hash": name, "size": len(wanted[name])} for name in fresh]
    insert_missing(session, DuplicateGroup, rows, key=["data_set_id", "kind", "members_hash"])
    for some in _chunks(fresh):
        made = session.execute(known.where(DuplicateGroup.members_hash.in_(some))).all()
        members = [{"group_id": row.id, "item_id": i} for row in made for i in wanted[row.members_hash]]
        insert_missing(session, Duplicate, members, key=["group_id", "item_id"])
    num_settled = sum(row.settled is not None for row in before.values())
    return len(fresh) + len(before) - len(gone) - num_settled


def settle(session: Session, group_id: int, *, how: Settlement, person: str) -> int:
    """How many verdicts were given or pairs retired. Raises NotFound, NearmissError, Conflict for a settled group."""
    if how not in get_args(Settlement):
        raise NearmissError(f"a group is settled as same, different or one, not as {how!r}")
    group = get_group(session, group_id)
    bulk_id = str(uuid4())
    taken = update(DuplicateGroup).where(DuplicateGroup.id == group_id, DuplicateGroup.settled.is_(None))
    values = {"settled": how, "bulk_id": bulk_id, "person": person}
    if session.execute(taken.values(values)).rowcount == 0:  # type: ignore[attr-defined]
        raise Conflict(f"{group.person or 'somebody'} settled this group meanwhile; reload the page")
    pairs = [pair for pair in pairs_of_group(session, group) if not pair.is_retired]
    if how == "one":
        ids = [pair.id for pair in pairs[1:]]
        _retire(session, group, ids)
        session.execute(update(DuplicateGroup).where(DuplicateGroup.id == group_id).values(retired_pairs=ids))
        return len(ids)
    answer: Answer = "match" if how == "same" else "no_match"
    decisions = [
        Decision(str(uuid5(UUID(bulk_id), f"{image_id} {caption_id}")), image_id, caption_id, answer)
        for image_id, caption_id in _across(session, pairs)
    ]
    for start in range(0, len(decisions), MAX_DECISIONS):
        some = decisions[start : start + MAX_DECISIONS]
        decide(session, decisions=some, person=person, source="bulk", bulk_id=bulk_id)
    return len(decisions)


def reopen(session: Session, group_id: int, *, person: str) -> None:
    """Take the settlement back: its verdicts go, its pairs come back. Raises NotFound, Conflict for an open group."""
    group = get_group(session, group_id)
    if group.settled is None:
        raise Conflict("this group is open; nothing is left to undo")
    if group.retired_pairs:
        back = update(Pair).where(Pair.id.in_(group.retired_pairs), Pair.retired_at.is_not(None))
        num = session.execute(back.values(retired_at=None)).rowcount  # type: ignore[attr-defined]
        _count_pairs(session, group.data_set_id, num)
    first = session.scalar(
        select(Verdict.uuid).where(Verdict.bulk_id == group.bulk_id).order_by(Verdict.id).limit(1)
    )
    if first is not None:
        undo(session, new_uuid=str(uuid4()), uuid=first, person=person)
    session.execute(
        update(DuplicateGroup)
        .where(DuplicateGroup.id == group_id)
        .values(settled=None, bulk_id=None, person="", retired_pairs=[])
    )


def _across(session: Session, pairs: Sequence[GroupPair]) -> list[tuple[int, int]]:
    """The candidates between the group's images and captions of one split: no pair, and nobody judged them."""
    found = {(one.image_id, other.caption_id) for one in pairs for other in pairs if one.split == other.split}
    for some in _chunks(sorted(found)):
        own = select(Pair.image_id, Pair.caption_id).where(tuple_(Pair.image_id, Pair.caption_id).in_(some))
        said = select(CurrentVerdict.image_id, CurrentVerdict.caption_id).where(
            tuple_(CurrentVerdict.image_id, CurrentVerdict.caption_id).in_(some)
        )
        for query in (own, said):
            found -= {(row.image_id, row.caption_id) for row in session.execute(query)}
    return sorted(found)


def _retire(session: Session, group: DuplicateGroup, ids: list[int]) -> None:
    for some in _chunks(ids):
        gone = update(Pair).where(Pair.id.in_(some), Pair.retired_at.is_(None))
        num = session.execute(gone.values(retired_at=func.now())).rowcount  # type: ignore[attr-defined]
        _count_pairs(session, group.data_set_id, -num)


def _count_pairs(session: Session, data_set_id: int, num: int) -> None:
    session.execute(
        update(DataSet).where(DataSet.id == data_set_id).values(num_pairs=DataSet.num_pairs + num)
    )


def _members_hash(ids: Iterable[int]) -> str:
    return hashlib.sha256(",".join(str(i) for i in sorted(set(ids))).encode()).hexdigest()


def _chunks(items: Sequence) -> list:  # type: ignore[type-arg]  # ids or pairs of ids
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
