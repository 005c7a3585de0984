"""Browsing: pages of pairs by key, and one pair with its candidates and the history of verdicts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, or_, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.store.models import Caption, CurrentVerdict, Image, Pair, Suggestion, Verdict
from app.store.reads.data_sets import get_data_set

MAX_PAGE = 200
MAX_CANDIDATES = 60


@dataclass(frozen=True)
class PairItem:
    """A pair as the grid shows it; `verdict` is the standing one on the pair itself."""

    id: int
    image_id: int
    caption_id: int
    caption: str
    split: str
    verdict: str | None


@dataclass(frozen=True)
class Page:
    """`next` goes into the next call's `after`; None at the end."""

    items: list[PairItem]
    next: int | None


@dataclass(frozen=True)
class Candidate:
    """An image and a caption that the data set does not pair, as a model suggested them."""

    suggestion_id: int
    image_id: int
    caption_id: int
    caption: str
    proposed: str
    probability: float
    score: float
    reasons: list[str]
    verdict: str | None


@dataclass(frozen=True)
class Said:
    """A line of the history; `answer` is None on an undo."""

    uuid: str
    answer: str | None
    person: str
    source: str
    created_at: datetime


@dataclass(frozen=True)
class ImageDetail:
    """A picture's size in px and the captions that the data set gives it."""

    id: int
    key: str
    width: int
    height: int
    captions: list[str]


@dataclass(frozen=True)
class PairDetail:
    """Everything about one pair."""

    id: int
    data_set_id: int
    image_id: int
    caption_id: int
    caption: str
    split: str
    verdict: str | None
    image: ImageDetail
    candidates: list[Candidate]
    verdicts: list[Said]


def page_of_pairs(
    session: Session, data_set_id: int, *, split: str = "", after: int = 0, limit: int = 60
) -> Page:
    """At most `limit` pairs with an id above `after`. Raises NotFound."""
    get_data_set(session, data_set_id)
    limit = max(1, min(limit, MAX_PAGE))
    query = _pairs().where(Pair.data_set_id == data_set_id, Pair.id > after, Pair.retired_at.is_(None))
    if split:
        query = query.where(Pair.split == split)
    rows = session.execute(query.order_by(Pair.id).limit(limit + 1)).all()
    items = [_item(row) for row in rows[:limit]]
    return Page(items=items, next=items[-1].id if len(rows) > limit else None)


def pair_detail(session: Session, pair_id: int) -> PairDetail:
    """One pair, its candidates in both directions, and what people said about it. Raises NotFound."""
    row = session.execute(_pairs().where(Pair.id == pair_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no pair {pair_id}, or it was erased; reload the page")
    item = _item(row)
    return PairDetail(
        id=item.id,
        data_set_id=row.data_set_id,
        image_id=item.image_id,
        caption_id=item.caption_id,
        caption=item.caption,
        split=item.split,
        verdict=item.verdict,
        image=_image(session, item.image_id),
        candidates=_candidates(session, item),
        verdicts=_history(session, item),
    )


def _pairs() -> Select[Any, Any, Any, Any, Any, Any, Any]:
    columns = (Pair.id, Pair.data_set_id, Pair.image_id, Pair.caption_id, Pair.split)
    return (
        select(*columns, Caption.text.label("caption"), CurrentVerdict.answer)
        .join(Caption, Caption.id == Pair.caption_id)
        .join(Image, Image.id == Pair.image_id)
        .outerjoin(CurrentVerdict, _stands_on(Pair))
        .where(Caption.erased_at.is_(None), Image.erased_at.is_(None))
    )


def _stands_on(table: Any) -> Any:
    """The join of a pair or a suggestion with its standing verdict."""
    return and_(CurrentVerdict.image_id == table.image_id, CurrentVerdict.caption_id == table.caption_id)


def _item(row: Row[Any, Any, Any, Any, Any, Any, Any]) -> PairItem:
    return PairItem(row.id, row.image_id, row.caption_id, row.caption, row.split, row.answer)


def _image(session: Session, image_id: int) -> ImageDetail:
    image = session.get_one(Image, image_id)
    captions = select(Caption.text).join(Pair, Pair.caption_id == Caption.id)
    own = captions.where(Pair.image_id == image_id, Caption.erased_at.is_(None)).order_by(Pair.id)
    return ImageDetail(image.id, image.key, image.width, image.height, list(session.scalars(own)))


def _candidates(session: Session, item: PairItem) -> list[Candidate]:
    query = (
        select(Suggestion, Caption.text, CurrentVerdict.answer)
        .join(Caption, Caption.id == Suggestion.caption_id)
        .join(Image, Image.id == Suggestion.image_id)
        .outerjoin(CurrentVerdict, _stands_on(Suggestion))
        .where(or_(Suggestion.image_id == item.image_id, Suggestion.caption_id == item.caption_id))
        .where(Suggestion.state != "retired", Caption.erased_at.is_(None), Image.erased_at.is_(None))
        .order_by(Suggestion.id.desc())
        .limit(4 * MAX_CANDIDATES)
    )
    newest: dict[tuple[int, int], Candidate] = {}  # one candidate may have been suggested by several models
    for s, caption, answer in session.execute(query):
        candidate = Candidate(
            suggestion_id=s.id,
            image_id=s.image_id,
            caption_id=s.caption_id,
            caption=caption,
            proposed=s.proposed,
            probability=s.probability,
            score=s.score,
            reasons=s.reasons,
            verdict=answer,
        )
        newest.setdefault((s.image_id, s.caption_id), candidate)
    return sorted(newest.values(), key=lambda c: -c.score)[:MAX_CANDIDATES]


def _history(session: Session, item: PairItem) -> list[Said]:
    query = (
        select(Verdict)
        .where(Verdict.image_id == item.image_id, Verdict.caption_id == item.caption_id)
        .order_by(Verdict.id)
    )
    return [
        Said(uuid=v.uuid, answer=v.answer, person=v.person, source=v.source, created_at=v.created_at)
        for v in session.scalars(query)
    ]
