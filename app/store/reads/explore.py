"""A page of Explore: cards of pairs, suggestions or verdicts, a count that gives up early, and what can be filtered by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, tuple_
from sqlalchemy.orm import Session

from app.store.models import ImageTag, Pair, Tag, Verdict
from app.store.reads.data_sets import get_data_set
from app.store.reads.filters import ROWS, Filter
from app.store.reads.walks import rows_of, visit

MAX_PAGE = 500
MOST_COUNTED = 10_000
COUNT_S = 0.5
MAX_PEOPLE = 100


@dataclass(frozen=True)
class Card:
    """An image and a caption: a pair of the data set, a suggestion, or what a verdict is about.

    `verdict` is the one that stands; `proposed`, `probability` and `score` (cosine) where a model has looked.
    """

    id: int
    image_id: int
    caption_id: int
    caption: str
    created_at: datetime
    verdict: str | None
    tags: list[str]
    split: str | None = None
    proposed: str | None = None
    probability: float | None = None
    score: float | None = None
    person: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class CardPage:
    """`next` goes into the next call's `after`; None at the end. A page may be short, even empty, before the end."""

    items: list[Card]
    next: str | None


@dataclass(frozen=True)
class Count:
    """How many match; `is_all` False: at least so many."""

    num: int
    is_all: bool


@dataclass(frozen=True)
class Choices:
    """What the filters offer: tags of the data set, people with verdicts."""

    tags: list[str]
    people: list[str]


def page_of_cards(
    session: Session, data_set_id: int, wanted: Filter, *, after: str | None = None, limit: int = 60
) -> CardPage:
    """At most `limit` cards behind `after`. Raises NotFound, NearmissError."""
    get_data_set(session, data_set_id)
    rows, place = visit(session, data_set_id, wanted, after=after, limit=max(1, min(limit, MAX_PAGE)))
    return CardPage(cards(session, rows), place)


def cards_of_images(
    session: Session, data_set_id: int, wanted: Filter, scores: Mapping[int, float | None]
) -> list[Card]:
    """The first pair that passes the filter of each image, in the order given, with its score."""
    wanted = replace(wanted, show="pairs")
    found: dict[int, Row[Any]] = {}
    ids = list(scores)
    for start in range(0, len(ids), 500):
        only = Pair.image_id.in_(ids[start : start + 500])
        for row in rows_of(session, data_set_id, wanted, only):
            found.setdefault(row.image_id, row)
    made = cards(session, [found[image_id] for image_id in ids if image_id in found])
    return [replace(card, score=scores[card.image_id]) for card in made]


def cards_named(
    session: Session, data_set_id: int, wanted: Filter, named: Sequence[tuple[int, int]]
) -> list[Card]:
    """Those of the (image id, caption id) that are there still and pass the filter."""
    table = ROWS[wanted.show].table
    both = tuple_(table.image_id, table.caption_id)
    return cards(session, rows_of(session, data_set_id, wanted, both.in_(named))) if named else []


def count_cards(session: Session, data_set_id: int, wanted: Filter) -> Count:
    """Counts to 10,000 or for half a second, whichever comes first."""
    get_data_set(session, data_set_id)
    rows, place = visit(session, data_set_id, wanted, after=None, limit=MOST_COUNTED, budget_s=COUNT_S)
    return Count(len(rows), place is None)


def choices(session: Session, data_set_id: int) -> Choices:
    """The tags, and the people, hopping along the index of persons from one to the next."""
    tags = select(Tag.name).where(Tag.data_set_id == data_set_id).order_by(Tag.name).limit(500)
    people: list[str] = []
    after = ""
    while len(people) < MAX_PEOPLE:
        following = select(Verdict.person).where(Verdict.person > after).order_by(Verdict.person).limit(1)
        person = session.scalar(following)
        if person is None:
            break
        here = select(Verdict.id).where(Verdict.person == person, Verdict.data_set_id == data_set_id)
        people += [person] if session.scalar(here.limit(1)) is not None else []
        after = person
    return Choices(list(session.scalars(tags)), people)


def cards(session: Session, rows: Sequence[Row[Any]]) -> list[Card]:
    """Rows of a walk as cards."""
    tags = tags_of(session, {row.image_id for row in rows})
    names = ("split", "proposed", "probability", "score", "person", "source")
    return [
        Card(
            id=row.id,
            image_id=row.image_id,
            caption_id=row.caption_id,
            caption=row.caption,
            created_at=row.created_at,
            verdict=row.verdict,
            tags=tags.get(row.image_id, []),
            **{name: getattr(row, name) for name in names if name in row._fields},
        )
        for row in rows
    ]


def tags_of(session: Session, image_ids: set[int]) -> dict[int, list[str]]:
    """The tags that stand on each of the images."""
    found: dict[int, list[str]] = {}
    ids = sorted(image_ids)
    for start in range(0, len(ids), 500):
        query = (
            select(ImageTag.image_id, Tag.name)
            .join(Tag, Tag.id == ImageTag.tag_id)
            .where(ImageTag.image_id.in_(ids[start : start + 500]), ImageTag.removed_bulk_id.is_(None))
            .order_by(Tag.name)
        )
        for image_id, name in session.execute(query):
            found.setdefault(image_id, []).append(name)
    return found
