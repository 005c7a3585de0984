"""Groups of near duplicates: a page of them with their pairs, and whether somebody settled them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.store.models import Caption, Duplicate, DuplicateGroup, Image, Pair
from app.store.reads.data_sets import get_data_set

Kind = Literal["image", "caption"]
MAX_PAIRS = 40  # of a group that are shown and settled: 1,600 candidates at most


@dataclass(frozen=True)
class GroupPair:
    """A pair with a member of the group."""

    id: int
    image_id: int
    caption_id: int
    caption: str
    split: str
    is_retired: bool


@dataclass(frozen=True)
class Group:
    """Near duplicates; `settled`: same, different, one, or None. At most 40 of its pairs."""

    id: int
    kind: str
    size: int
    settled: str | None
    person: str
    pairs: list[GroupPair]


@dataclass(frozen=True)
class GroupPage:
    """`next` goes into the next call's `after`; None at the end."""

    groups: list[Group]
    next: int | None


def page_of_groups(
    session: Session,
    data_set_id: int,
    *,
    kind: Kind = "image",
    settled: bool = False,
    after: int = 0,
    limit: int = 20,
) -> GroupPage:
    """Open (or settled) groups with an id above `after`. Raises NotFound."""
    get_data_set(session, data_set_id)
    query = select(DuplicateGroup).where(
        DuplicateGroup.data_set_id == data_set_id,
        DuplicateGroup.kind == kind,
        DuplicateGroup.id > after,
        DuplicateGroup.settled.is_not(None) if settled else DuplicateGroup.settled.is_(None),
    )
    rows = session.scalars(query.order_by(DuplicateGroup.id).limit(limit + 1)).all()
    return GroupPage(
        [_group(session, row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None
    )


def get_group(session: Session, group_id: int) -> DuplicateGroup:
    """Raises NotFound."""
    group = session.get(DuplicateGroup, group_id)
    if group is None:
        raise NotFound(
            f"there is no group {group_id}; the latest mining may have found others: reload the page"
        )
    return group


def view_group(session: Session, group_id: int) -> Group:
    """One group. Raises NotFound."""
    return _group(session, get_group(session, group_id))


def pairs_of_group(session: Session, group: DuplicateGroup) -> Sequence[GroupPair]:
    """Its pairs in the order of the data set, with the retired ones."""
    members = select(Duplicate.item_id).where(Duplicate.group_id == group.id)
    member = Pair.image_id if group.kind == "image" else Pair.caption_id
    query = (
        select(Pair.id, Pair.image_id, Pair.caption_id, Caption.text, Pair.split, Pair.retired_at)
        .join(Caption, Caption.id == Pair.caption_id)
        .join(Image, Image.id == Pair.image_id)
        .where(member.in_(members), Image.erased_at.is_(None), Caption.erased_at.is_(None))
        .order_by(Pair.id)
        .limit(MAX_PAIRS)
    )
    return [
        GroupPair(id_, image_id, caption_id, text, split, retired is not None)
        for id_, image_id, caption_id, text, split, retired in session.execute(query)
    ]


def _group(session: Session, row: DuplicateGroup) -> Group:
    pairs = list(pairs_of_group(session, row))
    return Group(row.id, row.kind, row.size, row.settled, row.person, pairs)
