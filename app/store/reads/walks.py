"""Walks: in which order, and along which index, the rows of a filter are visited, so that no page scans a data set.

A walk goes along one index by key. Each step looks at a window of at most WINDOW entries of that index; a filter that
keeps few of them gives a short page and a place to go on from, never a scan.
"""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, select, text, tuple_
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
    Verdict,
)
from app.store.reads.data_sets import IS_OPEN
from app.store.reads.filters import ROWS, Filter, conditions, tag_id_of
from app.store.words import search_words

WINDOW = 5_000  # entries of an index that one statement looks at
BUDGET_S = 0.2  # after which a page is handed out as far as it is
LAST = 2**63 - 1


@dataclass(frozen=True)
class Walk:
    """`key` orders the rows; its first `num_index` columns are the index's own, which windows are measured along."""

    index: Any  # what is walked along
    where: ColumnElement[bool]
    key: tuple[Any, ...]
    num_index: int
    descending: bool
    part: str = ""  # the part of the filter that the index itself keeps
    rows_are: ColumnElement[bool] | None = (
        None  # how the rows that are shown hang on the index; None: they are it
    )
    start: tuple[Any, ...] | None = None  # the place before the first row
    along: ColumnElement[bool] | None = None  # what windows are measured along, where that is not `where`
    end: ColumnElement[bool] | None = (
        None  # what ends it: one bound at a time, or SQLite may walk by the wrong one
    )


def walk_of(session: Session, data_set_id: int, wanted: Filter) -> Walk:
    """The index that keeps most of the filter: words, tag and group lead everywhere, then what the rows have."""
    rows = ROWS[wanted.show]
    if wanted.words and wanted.show != "verdicts":
        found = search_words(session, data_set_id, wanted.words)
        hang = rows.table.caption_id == found.caption_id
        key = (found.caption_id, rows.id)
        return Walk(found.index, found.holds, key, 1, False, "words", hang, along=found.along)
    if wanted.tag and wanted.show != "verdicts":
        stands = and_(
            ImageTag.tag_id == tag_id_of(data_set_id, wanted.tag), ImageTag.removed_bulk_id.is_(None)
        )
        hang = rows.table.image_id == ImageTag.image_id
        return Walk(ImageTag, stands, (ImageTag.image_id, rows.id), 1, False, "tag", hang)
    if wanted.show == "suggestions":
        score = (Suggestion.score, Suggestion.id)
        here = and_(Suggestion.data_set_id == data_set_id, IS_OPEN)
        start = None if wanted.max_score is None else (wanted.max_score, LAST)
        end = None if wanted.min_score is None else Suggestion.score >= wanted.min_score
        return Walk(Suggestion, here, score, 2, True, "score", start=start, end=end)
    if wanted.show == "verdicts":
        return _walk_of_verdicts(data_set_id, wanted)
    if wanted.group is not None:
        return _walk_of_group(session, wanted.group)
    if wanted.answer not in ("", "none", "any"):
        here = and_(CurrentVerdict.data_set_id == data_set_id, CurrentVerdict.answer == wanted.answer)
        hang = and_(Pair.image_id == CurrentVerdict.image_id, Pair.caption_id == CurrentVerdict.caption_id)
        return Walk(CurrentVerdict, here, (CurrentVerdict.verdict_id, Pair.id), 1, True, "answer", hang)
    here = Pair.data_set_id == data_set_id
    if wanted.split:
        split = Pair.split == wanted.split
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        # SQLite believes that any split has as many pairs, and would walk them all to find a few
        kept = func.unlikely(split) if is_sqlite else split
        return Walk(Pair, and_(here, kept), (Pair.id,), 1, False, "split")
    return Walk(Pair, here, (Pair.id,), 1, False)


def visit(
    session: Session,
    data_set_id: int,
    wanted: Filter,
    *,
    after: str | None,
    limit: int,
    budget_s: float = BUDGET_S,
) -> tuple[list[Row[Any]], str | None]:
    """At most `limit` rows behind the place `after`, and the place to go on from, None at the end."""
    _stay_on_indexes(session)
    walk = walk_of(session, data_set_id, wanted)
    place = _parsed(after, walk) or walk.start
    rows: list[Row[Any]] = []
    began = time.monotonic()
    query = _select(session, data_set_id, wanted, walk)
    while True:
        bound = _bound(session, walk, place)
        step = query if place is None else query.where(_behind(walk, walk.key, place))
        end = walk.end if bound is None else _up_to(walk, bound)
        step = step if end is None else step.where(end)
        found = session.execute(step.limit(limit + 1 - len(rows))).all()
        rows += found
        if len(rows) > limit:
            return rows[:limit], _place(walk, rows[limit - 1])
        if bound is None:
            return rows, None
        place = (*bound, *(-1 if walk.descending else LAST,) * (len(walk.key) - walk.num_index))
        if time.monotonic() - began > budget_s:
            return rows, ",".join(repr(part) for part in place)


def rows_of(session: Session, data_set_id: int, wanted: Filter, only: ColumnElement[bool]) -> list[Row[Any]]:
    """The rows of a few images or the like that pass the whole filter."""
    rows = ROWS[wanted.show]
    query = _columns(wanted).where(rows.table.data_set_id == data_set_id, *_present(wanted), only)
    return list(session.execute(query.where(*conditions(session, data_set_id, wanted)).order_by(rows.id)))


def _stay_on_indexes(session: Session) -> None:
    """A page is small: Postgres must not hash or sort a table for it, whatever its statistics say."""
    if session.get_bind().dialect.name == "postgresql":
        for way in ("hashjoin", "mergejoin", "seqscan"):
            session.execute(text(f"SET LOCAL enable_{way} = off"))


def _walk_of_verdicts(data_set_id: int, wanted: Filter) -> Walk:
    """Newest first, along the log (of one person where asked) or along the standing ones of one answer."""
    if wanted.answer not in ("", "none", "any") and not wanted.person:
        here = and_(CurrentVerdict.data_set_id == data_set_id, CurrentVerdict.answer == wanted.answer)
        hang = Verdict.id == CurrentVerdict.verdict_id
        return Walk(CurrentVerdict, here, (CurrentVerdict.verdict_id,), 1, True, "answer", hang)
    if wanted.person:
        return Walk(Verdict, Verdict.person == wanted.person, (Verdict.id,), 1, True, "person")
    return Walk(Verdict, Verdict.data_set_id == data_set_id, (Verdict.id,), 1, True)


def _walk_of_group(session: Session, group_id: int) -> Walk:
    """The few pairs of a group, looked up beforehand: an index that OR leads to would be any."""
    kind = session.scalar(select(DuplicateGroup.kind).where(DuplicateGroup.id == group_id))
    members = select(Duplicate.item_id).where(Duplicate.group_id == group_id)
    member = Pair.image_id if kind == "image" else Pair.caption_id
    ids = session.scalars(select(Pair.id).where(member.in_(members)).limit(WINDOW)).all()
    return Walk(Pair, Pair.id.in_(ids), (Pair.id,), 1, False)


def _columns(wanted: Filter, walk: Walk | None = None) -> Select[Any]:
    """The rows, reached along the walk's index, with caption, image and standing verdict beside them."""
    rows = ROWS[wanted.show]
    table = rows.table
    columns: list[Any] = [rows.id.label("id"), table.image_id, table.caption_id, rows.created_at]
    columns += [Caption.text.label("caption"), CurrentVerdict.answer.label("verdict")]
    if table is Pair:
        columns += [Pair.split]
    if table is Suggestion:
        columns += [Suggestion.proposed, Suggestion.probability, Suggestion.score]
    if table is Verdict:
        columns += [Verdict.person, Verdict.source, Verdict.score]
    if walk is None or walk.rows_are is None:
        query = select(*columns).select_from(table)
    else:
        query = select(*columns).select_from(walk.index).join(table, walk.rows_are)
    query = query.join(Image, Image.id == table.image_id).join(Caption, Caption.id == table.caption_id)
    if walk is not None and walk.index is CurrentVerdict:
        return query
    on = and_(CurrentVerdict.image_id == table.image_id, CurrentVerdict.caption_id == table.caption_id)
    return query.join(CurrentVerdict, on, isouter=table is not Verdict)


def _present(wanted: Filter) -> list[ColumnElement[bool]]:
    """What counts at all: pairs that are not retired, open suggestions, verdicts that stand."""
    if wanted.show == "pairs":
        return [Pair.retired_at.is_(None)]
    return [IS_OPEN] if wanted.show == "suggestions" else [CurrentVerdict.verdict_id == Verdict.id]


def _select(session: Session, data_set_id: int, wanted: Filter, walk: Walk) -> Select[Any]:
    keys = [column.label(f"key_{n}") for n, column in enumerate(walk.key)]
    query = _columns(wanted, walk).add_columns(*keys)
    query = query.where(walk.where, ROWS[wanted.show].table.data_set_id == data_set_id, *_present(wanted))
    query = query.where(*conditions(session, data_set_id, wanted, without=walk.part))
    return query.order_by(*(column.desc() if walk.descending else column for column in walk.key))


def _bound(session: Session, walk: Walk, place: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """The last key of the next window along the index; None where the index ends before."""
    own = walk.key[: walk.num_index]
    query = select(*own).select_from(walk.index).where(walk.where if walk.along is None else walk.along)
    query = query if walk.end is None else query.where(walk.end)
    if place is not None:
        query = query.where(_behind(walk, own, place[: walk.num_index]))
    order = [column.desc() if walk.descending else column for column in own]
    row = session.execute(query.order_by(*order).offset(WINDOW - 1).limit(1)).one_or_none()
    return None if row is None else tuple(row)


def _behind(walk: Walk, key: tuple[Any, ...], place: tuple[Any, ...]) -> ColumnElement[bool]:
    if len(key) == 1:
        return key[0] < place[0] if walk.descending else key[0] > place[0]  # type: ignore[no-any-return]
    left, right = tuple_(*key), tuple_(*place)
    if walk.descending:
        return and_(key[0] <= place[0], left < right)
    return and_(key[0] >= place[0], left > right)  # the first for the index: the second may span two tables


def _up_to(walk: Walk, bound: tuple[Any, ...]) -> ColumnElement[bool]:
    """Not `NOT behind`, which no index serves."""
    own = walk.key[: walk.num_index]
    left, right = (own[0], bound[0]) if len(own) == 1 else (tuple_(*own), tuple_(*bound))
    return left >= right if walk.descending else left <= right  # type: ignore[no-any-return]


def _place(walk: Walk, row: Row[Any]) -> str:
    return ",".join(repr(getattr(row, f"key_{n}")) for n in range(len(walk.key)))


def _parsed(after: str | None, walk: Walk) -> tuple[Any, ...] | None:
    if not after:
        return None
    try:
        parts = tuple(float(part) if "." in part or "e" in part else int(part) for part in after.split(","))
    except ValueError:
        parts = ()
    if len(parts) != len(walk.key) or any(abs(part) > LAST for part in parts):
        raise NearmissError(f"the place {after[:40]!r} is not one of this list; begin at its start")
    return parts
