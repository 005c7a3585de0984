"""What to decide next: by default 60 % impact, 30 % uncertainty, 10 % random; an anchor's candidates together.

What lies on somebody else's desk is left out, and what somebody else decided and two should judge is dealt in between,
looking like the rest. The random share goes by `shuffle`, a fixed random number a candidate: the suggestions below the
first one that is still open are a simple random sample of all, whoever decided them and why (`reads/random_share.py`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from app.store.database import epoch_s
from app.store.models import Caption, Image, ItemLease, Pair, SecondVote, Suggestion, Verdict
from app.store.reads.data_sets import IS_OPEN, get_data_set, num_decided, num_open
from app.store.reads.slices import about

Order = Literal["mixed", "impact", "uncertainty", "random"]
MAX_ITEMS = 100
MAX_EXCLUDED = 1000
PATTERN: tuple[Order, ...] = (
    *("impact", "impact", "uncertainty", "impact", "random"),
    *("impact", "uncertainty", "impact", "uncertainty", "impact"),
)
SECOND_EVERY = 6  # turns of which one goes to what a second person should judge, while there is such
COLUMNS: dict[Order, ColumnElement[float]] = {
    "impact": Suggestion.impact.desc(),
    "uncertainty": Suggestion.uncertainty.desc(),
    "random": Suggestion.shuffle.expression,
}


@dataclass(frozen=True)
class OwnPair:
    """A pair that the data set gives the image."""

    id: int
    caption_id: int
    caption: str


@dataclass(frozen=True)
class QueueItem:
    """A suggestion with what the person may look at beside it; a control where `suggestion_id` is negative."""

    suggestion_id: int
    image_id: int
    caption_id: int
    caption: str
    own_captions: list[str]  # the image's
    own_pairs: list[OwnPair]
    own_images: list[int]  # ids of the caption's
    proposed: str
    probability: float
    score: float
    reasons: list[str]
    group_key: str
    num_alike: int  # other open suggestions that an answer settles too


@dataclass(frozen=True)
class Queue:
    """The next items, how many are open in all, how many candidates stand decided, and what lies on others' desks."""

    items: list[QueueItem]
    remaining: int
    decided: int
    num_leased: int  # open suggestions on the desks of others


def next_items(
    session: Session,
    data_set_id: int,
    *,
    order: Order = "mixed",
    limit: int = 30,
    exclude: Collection[int] = (),
    image_id: int | None = None,
    caption_id: int | None = None,
    images: Sequence[int] | None = None,
    person: str | None = None,
) -> Queue:
    """Open suggestions without those in `exclude` (what the browser holds); of one image or caption where given, or of
    the slice `images` (then `remaining` counts the slice).

    For a `person`: without what others hold, and in mixed order with what others decided and wants a second vote.
    Raises NotFound.
    """
    get_data_set(session, data_set_id)
    place = {"image_id": image_id, "caption_id": caption_id}
    items = find_items(
        session, data_set_id, order=order, limit=limit, exclude=exclude, images=images, person=person, **place
    )
    return Queue(
        items=items,
        remaining=num_open(session, data_set_id) if images is None else _num_in(session, data_set_id, images),
        decided=sum(num_decided(session, data_set_id).values()),
        num_leased=_num_leased(session, data_set_id, person) if person is not None and not items else 0,
    )


def find_items(
    session: Session,
    data_set_id: int,
    *,
    order: Order,
    limit: int,
    exclude: Collection[int] = (),
    image_id: int | None = None,
    caption_id: int | None = None,
    images: Sequence[int] | None = None,
    person: str | None = None,
) -> list[QueueItem]:
    """The items of `next_items` alone, one of each group of near duplicates."""
    limit, without = max(1, min(limit, MAX_ITEMS)), [i for i in exclude if i > 0][-MAX_EXCLUDED:]
    where: list[ColumnElement[bool]] = [Suggestion.data_set_id == data_set_id]
    if image_id is not None:
        where.append(Suggestion.image_id == image_id)
    if caption_id is not None:
        where.append(Suggestion.caption_id == caption_id)
    where += about(images)
    if without:
        where.append(Suggestion.id.not_in(without))
    if person is not None:
        where.append(~_held_by_others(person))
    twice = _for_second_vote(session, where, limit, person) if person is not None else []
    where.append(IS_OPEN)
    if order == "mixed":
        picked = _mixed(session, where, limit, twice)
    else:
        picked = [*twice[: limit // 3], *_by(session, order, where, limit)][:limit]
    return items_of(session, _together(_one_a_group(picked)))


def _one_a_group(picked: Sequence[Suggestion]) -> list[Suggestion]:
    """The first of each group of near duplicates: its answer settles the others."""
    seen: set[str] = set()
    kept = []
    for suggestion in picked:
        if suggestion.group_key not in seen:
            kept.append(suggestion)
        if suggestion.group_key:
            seen.add(suggestion.group_key)
    return kept


def _held_by_others(person: str) -> ColumnElement[bool]:
    held = select(ItemLease.suggestion_id).where(
        ItemLease.suggestion_id == Suggestion.id, ItemLease.person != person, ItemLease.until > epoch_s()
    )
    return held.exists()


def _num_in(session: Session, data_set_id: int, images: Sequence[int]) -> int:
    where = (Suggestion.data_set_id == data_set_id, IS_OPEN, *about(images))
    return session.scalar(select(func.count()).select_from(Suggestion).where(*where)) or 0


def _num_leased(session: Session, data_set_id: int, person: str) -> int:
    where = (Suggestion.data_set_id == data_set_id, IS_OPEN, _held_by_others(person))
    return session.scalar(select(func.count()).select_from(Suggestion).where(*where)) or 0


def _for_second_vote(
    session: Session, where: Sequence[ColumnElement[bool]], limit: int, person: str
) -> list[Suggestion]:
    """What somebody else has decided and a second person should judge."""
    first = aliased(Verdict)
    query = (
        select(Suggestion)
        .join(SecondVote, SecondVote.suggestion_id == Suggestion.id)
        .join(first, first.id == SecondVote.first_verdict_id)
        .where(*where, SecondVote.data_set_id == Suggestion.data_set_id)
        .where(SecondVote.state == "waiting", first.person != person)
        .order_by(SecondVote.id)
    )
    return list(session.scalars(query.limit(limit)))


def _by(session: Session, order: Order, where: Sequence[ColumnElement[bool]], limit: int) -> list[Suggestion]:
    query = (
        select(Suggestion)
        .join(Image, Image.id == Suggestion.image_id)
        .join(Caption, Caption.id == Suggestion.caption_id)
        .where(*where, Image.erased_at.is_(None), Caption.erased_at.is_(None))
        .order_by(COLUMNS[order], Suggestion.id.desc() if order != "random" else Suggestion.id)
    )
    return list(session.scalars(query.limit(limit)))


def _mixed(
    session: Session, where: Sequence[ColumnElement[bool]], limit: int, twice: list[Suggestion]
) -> list[Suggestion]:
    """Deals from the three orders in turn, each suggestion once, and from `twice` in between."""
    decks = {order: iter(_by(session, order, where, limit)) for order in COLUMNS}
    picked: dict[int, Suggestion] = {}
    for turn in range(4 * limit):
        if twice and turn % SECOND_EVERY == SECOND_EVERY - 1 and len(picked) < limit:
            again = twice.pop(0)
            picked[again.id] = again
        for suggestion in decks[PATTERN[turn % len(PATTERN)]]:
            if suggestion.id not in picked:
                picked[suggestion.id] = suggestion
                break
        if len(picked) >= limit:
            break
    rest = {s.id: s for s in twice}  # the open ones are over: the second votes are left
    return list((picked | rest).values())[:limit]


def _together(picked: list[Suggestion]) -> list[Suggestion]:
    """The candidates of one image follow each other, images in the order of their first candidate."""
    first = {s.image_id: place for place, s in reversed(list(enumerate(picked)))}
    return sorted(picked, key=lambda s: first[s.image_id])


def items_of(session: Session, picked: Sequence[Suggestion]) -> list[QueueItem]:
    """The suggestions as items, in the order given."""
    alike = _num_alike(session, picked)
    texts = _texts(session, [s.caption_id for s in picked])
    pairs = own_pairs(session, [s.image_id for s in picked])
    images = own_images(session, [s.caption_id for s in picked])
    return [
        QueueItem(
            suggestion_id=s.id,
            image_id=s.image_id,
            caption_id=s.caption_id,
            caption=texts[s.caption_id],
            own_captions=[pair.caption for pair in pairs.get(s.image_id, [])],
            own_pairs=pairs.get(s.image_id, []),
            own_images=images.get(s.caption_id, []),
            proposed=s.proposed,
            probability=s.probability,
            score=s.score,
            reasons=s.reasons,
            group_key=s.group_key,
            num_alike=max(0, alike.get(s.group_key, 0) - (s.state == "open")),
        )
        for s in picked
    ]


def _num_alike(session: Session, picked: Sequence[Suggestion]) -> dict[str, int]:
    """Group → how many different candidates of it are open."""
    keys = {s.group_key for s in picked if s.group_key}
    if not keys:
        return {}
    query = (
        select(Suggestion.group_key, func.count())
        .where(Suggestion.data_set_id == picked[0].data_set_id, Suggestion.group_key.in_(keys))
        .where(Suggestion.group_key != literal_column("''"), IS_OPEN)  # a literal: the partial index serves
        .group_by(Suggestion.group_key)
    )
    return {key: num for key, num in session.execute(query)}


def _texts(session: Session, caption_ids: list[int]) -> dict[int, str]:
    rows = session.execute(select(Caption.id, Caption.text).where(Caption.id.in_(caption_ids)))
    return {row.id: row.text for row in rows}


def own_pairs(session: Session, image_ids: list[int]) -> dict[int, list[OwnPair]]:
    """Image → the pairs that stand in the data set."""
    query = (
        select(Pair.id, Pair.image_id, Pair.caption_id, Caption.text)
        .join(Caption, Caption.id == Pair.caption_id)
        .where(Pair.image_id.in_(image_ids), Caption.erased_at.is_(None), Pair.retired_at.is_(None))
        .order_by(Pair.id)
    )
    found: dict[int, list[OwnPair]] = {}
    for row in session.execute(query):
        found.setdefault(row.image_id, []).append(OwnPair(row.id, row.caption_id, row.text))
    return found


def own_images(session: Session, caption_ids: list[int]) -> dict[int, list[int]]:
    """Caption → the images that the data set pairs it with."""
    query = (
        select(Pair.caption_id, Pair.image_id)
        .join(Image, Image.id == Pair.image_id)
        .where(Pair.caption_id.in_(caption_ids), Image.erased_at.is_(None), Pair.retired_at.is_(None))
        .order_by(Pair.id)
    )
    found: dict[int, list[int]] = {}
    for row in session.execute(query):
        found.setdefault(row.caption_id, []).append(row.image_id)
    return found
