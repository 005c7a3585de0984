"""What Explore shows: pairs of the data set, open suggestions, or verdicts, and the conditions that a filter puts on them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.store.models import (
    Caption,
    CurrentVerdict,
    Duplicate,
    DuplicateGroup,
    Image,
    ImageTag,
    Pair,
    Suggestion,
    Tag,
    Verdict,
)
from app.store.words import search_words

Show = Literal["pairs", "suggestions", "verdicts"]
Wanted = Literal["", "none", "any", "match", "no_match", "unsure", "broken_pair"]


@dataclass(frozen=True)
class Filter:
    """Everything empty: all pairs. `answer` is the verdict that stands, on suggestions the proposed one.

    `since` and `until` are days in UTC, both included: of the import for pairs, of the verdict or the suggestion else.
    """

    show: Show = "pairs"
    words: str = ""
    split: Literal["", "train", "held_out"] = ""
    tag: str = ""
    group: int | None = None  # of near duplicates
    answer: Wanted = ""
    person: str = ""
    min_score: float | None = None  # cosine
    max_score: float | None = None
    min_chars: int | None = None  # of the caption
    max_chars: int | None = None
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        for low, high, what in (
            (self.min_score, self.max_score, "score"),
            (self.min_chars, self.max_chars, "length"),
            (self.since, self.until, "date"),
        ):
            if low is not None and high is not None and low > high:  # type: ignore[operator]
                raise NearmissError(f"the {what} goes from {low} to {high}; give the smaller one first")
        if self.person and self.show != "verdicts":
            raise NearmissError(f"{self.show} have no person; show verdicts instead")
        if self.show == "pairs" and (self.min_score is not None or self.max_score is not None):
            raise NearmissError("pairs have no score; show suggestions or verdicts instead")


@dataclass(frozen=True)
class Rows:
    """The table that is shown, by its columns."""

    table: Any
    id: Any
    created_at: Any
    answer: Any
    score: Any


PAIRS = Rows(Pair, Pair.id, Pair.created_at, CurrentVerdict.answer, None)
SUGGESTIONS = Rows(Suggestion, Suggestion.id, Suggestion.created_at, Suggestion.proposed, Suggestion.score)
VERDICTS = Rows(Verdict, Verdict.id, Verdict.created_at, CurrentVerdict.answer, Verdict.score)
ROWS: dict[Show, Rows] = {"pairs": PAIRS, "suggestions": SUGGESTIONS, "verdicts": VERDICTS}


def conditions(
    session: Session, data_set_id: int, wanted: Filter, *, without: str = ""
) -> list[ColumnElement[bool]]:
    """The filter on rows joined with their caption, image and standing verdict; `without` the part that the walk keeps."""
    rows = ROWS[wanted.show]
    found: list[ColumnElement[bool]] = [Image.erased_at.is_(None), Caption.erased_at.is_(None)]
    parts: dict[str, Callable[[], ColumnElement[bool]]] = {
        "words": lambda: _has_words(session, data_set_id, wanted.words),
        "tag": lambda: _has_tag(data_set_id, wanted.tag),
        "group": lambda: _in_group(wanted.group),
        "answer": lambda: _answered(rows, wanted.answer),
        "person": lambda: Verdict.person == wanted.person,
        "split": lambda: _in_split(rows, wanted.split),
    }
    for name, part in parts.items():
        if name != without and getattr(wanted, name) not in ("", None):
            found.append(part())
    for name, column, low, high in (
        ("score", rows.score, wanted.min_score, wanted.max_score),
        ("length", func.length(Caption.text), wanted.min_chars, wanted.max_chars),
    ):
        if name == without:
            continue
        found += [column >= low] if low is not None else []
        found += [column <= high] if high is not None else []
    if wanted.since is not None:
        found.append(rows.created_at >= _midnight(wanted.since))
    if wanted.until is not None:
        found.append(rows.created_at < _midnight(wanted.until) + timedelta(days=1))
    return found


def tag_id_of(data_set_id: int, name: str) -> Any:
    """The id of a tag, as a subquery."""
    return select(Tag.id).where(Tag.data_set_id == data_set_id, Tag.name == name).scalar_subquery()


def _has_words(session: Session, data_set_id: int, words: str) -> ColumnElement[bool]:
    found = search_words(session, data_set_id, words)
    here = (
        select(found.caption_id).select_from(found.index).where(found.caption_id == Caption.id, found.holds)
    )
    return here.exists()


def _has_tag(data_set_id: int, name: str) -> ColumnElement[bool]:
    stands = and_(ImageTag.tag_id == tag_id_of(data_set_id, name), ImageTag.removed_bulk_id.is_(None))
    return select(ImageTag.id).where(stands, ImageTag.image_id == Image.id).exists()


def _in_group(group_id: int | None) -> ColumnElement[bool]:
    kind = select(DuplicateGroup.kind).where(DuplicateGroup.id == group_id).scalar_subquery()
    members = select(Duplicate.item_id).where(Duplicate.group_id == group_id)
    images, captions = members.where(kind == "image"), members.where(kind == "caption")
    return Image.id.in_(images) | Caption.id.in_(captions)


def _answered(rows: Rows, answer: str) -> ColumnElement[bool]:
    if answer == "none":
        return CurrentVerdict.answer.is_(None)
    if answer == "any":
        return CurrentVerdict.answer.is_not(None)
    return rows.answer == answer


def _in_split(rows: Rows, split: str) -> ColumnElement[bool]:
    if rows.table is Pair:
        return Pair.split == split
    own = select(Pair.id).where(Pair.image_id == rows.table.image_id, Pair.split == split)
    return own.exists()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
