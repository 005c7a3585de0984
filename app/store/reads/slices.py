"""Slices of the queue: the images of a lasso on the map, and the bands of probability that a sweep may choose from."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Integer, case, cast, func, select
from sqlalchemy.orm import Session

from app.store.models import Caption, Pair, Suggestion
from app.store.reads.data_sets import IS_OPEN, get_data_set

BANDS = 10


@dataclass(frozen=True)
class Band:
    """How many suggestions wait with this proposed verdict and min ≤ probability < max."""

    proposed: str
    min_probability: float
    max_probability: float
    num_open: int


@dataclass(frozen=True)
class BlindItem:
    """A suggestion to judge without its proposal and score; `own_captions` are the image's."""

    suggestion_id: int
    image_id: int
    caption_id: int
    caption: str
    is_pair: bool


def about(images: Collection[int] | None) -> list[ColumnElement[bool]]:
    """The condition on suggestions that they are about these images; none for None."""
    return [] if images is None else [Suggestion.image_id.in_(images)]


def open_bands(session: Session, data_set_id: int, *, images: Collection[int] | None = None) -> list[Band]:
    """Tenths of probability that hold something, the surest first; of all images or of `images`. Raises NotFound."""
    get_data_set(session, data_set_id)
    tenth = cast(func.floor(Suggestion.probability * BANDS), Integer)
    band = case((tenth >= BANDS, BANDS - 1), else_=tenth)
    query = (
        select(Suggestion.proposed, band.label("band"), func.count().label("num"))
        .where(Suggestion.data_set_id == data_set_id, IS_OPEN, *about(images))
        .group_by(Suggestion.proposed, band)
        .order_by(Suggestion.proposed, band.desc())
    )
    return [
        Band(row.proposed, row.band / BANDS, (row.band + 1) / BANDS, row.num)
        for row in session.execute(query)
    ]


def blind_items(session: Session, suggestion_ids: Collection[int]) -> list[BlindItem]:
    """The suggestions in the order given."""
    query = (
        select(
            Suggestion.id, Suggestion.image_id, Suggestion.caption_id, Caption.text, Pair.id.label("pair_id")
        )
        .join(Caption, Caption.id == Suggestion.caption_id)
        .outerjoin(Pair, (Pair.image_id == Suggestion.image_id) & (Pair.caption_id == Suggestion.caption_id))
        .where(Suggestion.id.in_(suggestion_ids))
    )
    found = {
        row.id: BlindItem(row.id, row.image_id, row.caption_id, row.text, row.pair_id is not None)
        for row in session.execute(query)
    }
    return [found[i] for i in suggestion_ids if i in found]
