"""What to decide next: by default 60 % impact, 30 % uncertainty, 10 % random; an anchor's candidates together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.store.models import Caption, Image, Pair, Suggestion
from app.store.reads.data_sets import IS_OPEN, get_data_set, num_decided, num_open

Order = Literal["mixed", "impact", "uncertainty", "random"]
MAX_ITEMS = 100
MAX_EXCLUDED = 1000
PATTERN: tuple[Order, ...] = (
    *("impact", "impact", "uncertainty", "impact", "random"),
    *("impact", "uncertainty", "impact", "uncertainty", "impact"),
)
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
    """A suggestion with what the person may look at beside it."""

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
    num_alike: int  # other open suggestions that the answer settles with this one: near duplicates


@dataclass(frozen=True)
class Queue:
    """The next items, how many are open in all, and how many candidates stand decided."""

    items: list[QueueItem]
    remaining: int
    decided: int


def next_items(
    session: Session,
    data_set_id: int,
    *,
    order: Order = "mixed",
    limit: int = 30,
    exclude: Collection[int] = (),
    image_id: int | None = None,
    caption_id: int | None = None,
) -> Queue:
    """Open suggestions without those in `exclude` (what the browser holds); of one image or caption where given.

    Raises NotFound.
    """
    get_data_set(session, data_set_id)
    limit, without = max(1, min(limit, MAX_ITEMS)), list(exclude)[-MAX_EXCLUDED:]
    where: list[ColumnElement[bool]] = [Suggestion.data_set_id == data_set_id, IS_OPEN]
    if image_id is not None:
        where.append(Suggestion.image_id == image_id)
    if caption_id is not None:
        where.append(Suggestion.caption_id == caption_id)
    if without:
        where.append(Suggestion.id.not_in(without))
    picked = _mixed(session, where, limit) if order == "mixed" else _by(session, order, where, limit)
    return Queue(
        items=_items(session, _together(picked)),
        remaining=num_open(session, data_set_id),
        decided=sum(num_decided(session, data_set_id).values()),
    )


def _by(session: Session, order: Order, where: Sequence[ColumnElement[bool]], limit: int) -> list[Suggestion]:
    query = (
        select(Suggestion)
        .join(Image, Image.id == Suggestion.image_id)
        .join(Caption, Caption.id == Suggestion.caption_id)
        .where(*where, Image.erased_at.is_(None), Caption.erased_at.is_(None))
        .order_by(COLUMNS[order], Suggestion.id.desc() if order != "random" else Suggestion.id)
    )
    return list(session.scalars(query.limit(limit)))


def _mixed(session: Session, where: Sequence[ColumnElement[bool]], limit: int) -> list[Suggestion]:
    """Deals from the three orders in turn, each suggestion once."""
    decks = {order: iter(_by(session, order, where, limit)) for order in COLUMNS}
    picked: dict[int, Suggestion] = {}
    for turn in range(4 * limit):
        for suggestion in decks[PATTERN[turn % len(PATTERN)]]:
            if suggestion.id not in picked:
                picked[suggestion.id] = suggestion
                break
        if len(picked) == limit:
            break
    return list(picked.values())


def _together(picked: list[Suggestion]) -> list[Suggestion]:
    """The candidates of one image follow each other, images in the order of their first candidate."""
    first = {s.image_id: place for place, s in reversed(list(enumerate(picked)))}
    return sorted(picked, key=lambda s: first[s.image_id])


def _items(session: Session, picked: list[Suggestion]) -> list[QueueItem]:
    texts = _texts(session, [s.caption_id for s in picked])
    own_pairs = _own_pairs(session, [s.image_id for s in picked])
    own_images = _own_images(session, [s.caption_id for s in picked])
    alike = _alike(session, picked)
    return [
        QueueItem(
            suggestion_id=s.id,
            image_id=s.image_id,
            caption_id=s.caption_id,
            caption=texts[s.caption_id],
            own_captions=[pair.caption for pair in own_pairs.get(s.image_id, [])],
            own_pairs=own_pairs.get(s.image_id, []),
            own_images=own_images.get(s.caption_id, []),
            proposed=s.proposed,
            probability=s.probability,
            score=s.score,
            reasons=s.reasons,
            group_key=s.group_key,
            num_alike=alike.get(s.group_key, 1) - 1,
        )
        for s in picked
    ]


def _texts(session: Session, caption_ids: list[int]) -> dict[int, str]:
    rows = session.execute(select(Caption.id, Caption.text).where(Caption.id.in_(caption_ids)))
    return {row.id: row.text for row in rows}


def _alike(session: Session, picked: list[Suggestion]) -> dict[str, int]:
    """How many candidates are open in each group; a candidate that two models suggested counts once."""
    keys = {s.group_key for s in picked if s.group_key}
    if not keys:
        return {}
    open_ones = (
        select(Suggestion.group_key, Suggestion.image_id, Suggestion.caption_id)
        .where(Suggestion.data_set_id == picked[0].data_set_id, Suggestion.group_key.in_(keys), IS_OPEN)
        .distinct()
        .subquery()
    )
    rows = session.execute(select(open_ones.c.group_key, func.count()).group_by(open_ones.c.group_key))
    return {key: num for key, num in rows}


def _own_pairs(session: Session, image_ids: list[int]) -> dict[int, list[OwnPair]]:
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


def _own_images(session: Session, caption_ids: list[int]) -> dict[int, list[int]]:
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
