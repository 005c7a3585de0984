"""Retire the pairs that a changed source no longer has: they are marked, never deleted, and verdicts stay."""

from collections.abc import Container, Iterable
from itertools import islice

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.store.models import DataSet, Image, Mend, Pair, Suggestion

PAGE = 5_000
CHUNK = 5_000  # keys a query


def retire_page(
    session: Session, *, data_set_id: int, seen: Container[int], keep_images: Container[int], after: int
) -> tuple[int | None, int]:
    """Looks at the 5,000 standing pairs after the id `after`: (the next `after`, None at the end; how many retired).

    Pairs with an id in `seen` and those of `keep_images` stand on.
    Open suggestions about images that stand in no pair any more leave the queue.
    """
    page = select(Pair.id, Pair.image_id).where(
        Pair.data_set_id == data_set_id, Pair.retired_at.is_(None), Pair.id > after
    )
    rows = session.execute(page.order_by(Pair.id).limit(PAGE)).all()
    corrected = _corrected(session, data_set_id)
    unseen = (row for row in rows if row.id not in seen and row.id not in corrected)
    gone = [row for row in unseen if row.image_id not in keep_images]
    if gone:
        ids = [row.id for row in gone]
        session.execute(update(Pair).where(Pair.id.in_(ids)).values(retired_at=func.now()))
        fewer = {"num_pairs": DataSet.num_pairs - len(ids)}
        session.execute(update(DataSet).where(DataSet.id == data_set_id).values(fewer))
        _leave_queue(session, sorted({row.image_id for row in gone}))
    return (rows[-1].id if len(rows) == PAGE else None), len(gone)


def image_ids_of(session: Session, *, data_set_id: int, keys: Iterable[str]) -> set[int]:
    """The ids of the images with these keys, as far as there are any."""
    wanted, found = iter(keys), set[int]()
    while page := list(islice(wanted, CHUNK)):
        query = select(Image.id).where(Image.data_set_id == data_set_id, Image.key.in_(page))
        found |= set(session.scalars(query))
    return found


def _corrected(session: Session, data_set_id: int) -> set[int]:
    """Pairs whose caption a person has corrected here: no source knows them."""
    query = select(Mend.new_pair_id).where(Mend.data_set_id == data_set_id, Mend.undone_at.is_(None))
    return set(session.scalars(query))


def _leave_queue(session: Session, image_ids: list[int]) -> None:
    standing = select(Pair.id).where(Pair.image_id == Suggestion.image_id, Pair.retired_at.is_(None)).exists()
    open_ones = update(Suggestion).where(
        Suggestion.image_id.in_(image_ids), Suggestion.state == "open", ~standing
    )
    session.execute(open_ones.values(state="retired"), execution_options={"synchronize_session": False})
