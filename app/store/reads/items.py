"""The page of an item: an image with its captions, suggestions about it, its verdicts, comments, tags and near duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.store.models import (
    Caption,
    Comment,
    CurrentVerdict,
    Duplicate,
    DuplicateGroup,
    Image,
    Pair,
    Suggestion,
    Verdict,
)
from app.store.reads.explore import tags_of

MOST = 60  # of each list


@dataclass(frozen=True)
class OwnCaption:
    """A caption that the data set gives the image, with the verdict that stands on the pair."""

    pair_id: int
    caption_id: int
    caption: str
    split: str
    verdict: str | None
    is_retired: bool


@dataclass(frozen=True)
class Proposed:
    """A candidate with this image or with one of its captions, as a model suggested it; `verdict`: what stands."""

    suggestion_id: int
    image_id: int
    caption_id: int
    caption: str
    proposed: str
    probability: float
    score: float
    reasons: list[str]
    state: str
    verdict: str | None


@dataclass(frozen=True)
class Line:
    """A line of the history, the newest first; `answer` None: the verdict before was taken back."""

    id: int
    caption_id: int
    caption: str
    answer: str | None
    person: str
    source: str
    created_at: datetime
    stands: bool


@dataclass(frozen=True)
class Note:
    """A comment; `caption_id` None: about the image."""

    id: int
    caption_id: int | None
    text: str
    person: str
    created_at: datetime


@dataclass(frozen=True)
class Item:
    """Everything about one image. Lists hold at most 60 entries each."""

    id: int
    data_set_id: int
    key: str
    width: int
    height: int
    created_at: datetime
    captions: list[OwnCaption]
    suggestions: list[Proposed]  # other captions for this image
    elsewhere: list[Proposed]  # other images for its captions
    verdicts: list[Line]
    comments: list[Note]
    tags: list[str]
    duplicates: list[int]  # ids of images
    duplicate_group_id: int | None


def item_page(session: Session, image_id: int) -> Item:
    """Raises NotFound."""
    image = session.get(Image, image_id)
    if image is None or image.erased_at is not None:
        raise NotFound(f"there is no image {image_id}, or it was erased; go back and reload")
    captions = _captions(session, image_id)
    group_id, alike = _duplicates(session, image_id)
    own = [caption.caption_id for caption in captions]
    return Item(
        id=image.id,
        data_set_id=image.data_set_id,
        key=image.key,
        width=image.width,
        height=image.height,
        created_at=image.created_at,
        captions=captions,
        suggestions=_proposed(session, Suggestion.image_id == image_id),
        elsewhere=_proposed(session, and_(Suggestion.caption_id.in_(own), Suggestion.image_id != image_id)),
        verdicts=_history(session, image_id),
        comments=comments_on(session, image_id),
        tags=tags_of(session, {image_id}).get(image_id, []),
        duplicates=alike,
        duplicate_group_id=group_id,
    )


def comments_on(session: Session, image_id: int) -> list[Note]:
    """The oldest first."""
    query = select(Comment).where(Comment.image_id == image_id).order_by(Comment.id.desc()).limit(MOST)
    return [
        Note(c.id, c.caption_id, c.text, c.person, c.created_at)
        for c in reversed(session.scalars(query).all())
    ]


def _stands_on(table: Any) -> Any:
    return and_(CurrentVerdict.image_id == table.image_id, CurrentVerdict.caption_id == table.caption_id)


def _captions(session: Session, image_id: int) -> list[OwnCaption]:
    query = (
        select(Pair, Caption.text, CurrentVerdict.answer)
        .join(Caption, Caption.id == Pair.caption_id)
        .outerjoin(CurrentVerdict, _stands_on(Pair))
        .where(Pair.image_id == image_id, Caption.erased_at.is_(None))
        .order_by(Pair.id)
        .limit(MOST)
    )
    return [
        OwnCaption(pair.id, pair.caption_id, caption, pair.split, answer, pair.retired_at is not None)
        for pair, caption, answer in session.execute(query)
    ]


def _proposed(session: Session, about: Any) -> list[Proposed]:
    """The surest first; of what several models suggested the newest model's word."""
    query = (
        select(Suggestion, Caption.text, CurrentVerdict.answer)
        .join(Caption, Caption.id == Suggestion.caption_id)
        .join(Image, Image.id == Suggestion.image_id)
        .outerjoin(CurrentVerdict, _stands_on(Suggestion))
        .where(about, Suggestion.state != "retired", Caption.erased_at.is_(None), Image.erased_at.is_(None))
        .order_by(Suggestion.id.desc())
        .limit(4 * MOST)
    )
    newest: dict[tuple[int, int], Proposed] = {}
    for s, caption, answer in session.execute(query):
        words = (s.proposed, s.probability, s.score, s.reasons, s.state)
        found = Proposed(s.id, s.image_id, s.caption_id, caption, *words, answer)
        newest.setdefault((s.image_id, s.caption_id), found)
    return sorted(newest.values(), key=lambda p: -p.probability)[:MOST]


def _history(session: Session, image_id: int) -> list[Line]:
    query = (
        select(Verdict, Caption.text, CurrentVerdict.verdict_id)
        .join(Caption, Caption.id == Verdict.caption_id)
        .outerjoin(CurrentVerdict, and_(_stands_on(Verdict), CurrentVerdict.verdict_id == Verdict.id))
        .where(Verdict.image_id == image_id, Caption.erased_at.is_(None))
        .order_by(Verdict.id.desc())
        .limit(MOST)
    )
    return [
        Line(v.id, v.caption_id, caption, v.answer, v.person, v.source, v.created_at, standing is not None)
        for v, caption, standing in session.execute(query)
    ]


def _duplicates(session: Session, image_id: int) -> tuple[int | None, list[int]]:
    group_id = session.scalar(
        select(DuplicateGroup.id)
        .join(Duplicate, Duplicate.group_id == DuplicateGroup.id)
        .where(Duplicate.item_id == image_id, DuplicateGroup.kind == "image")
        .order_by(DuplicateGroup.id.desc())
        .limit(1)
    )
    if group_id is None:
        return None, []
    others = select(Duplicate.item_id).where(Duplicate.group_id == group_id, Duplicate.item_id != image_id)
    living = others.join(Image, Image.id == Duplicate.item_id).where(Image.erased_at.is_(None))
    ids: Sequence[int] = session.scalars(living.order_by(Duplicate.item_id).limit(MOST)).all()
    return group_id, list(ids)
