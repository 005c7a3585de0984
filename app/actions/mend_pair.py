"""Correct the caption of a broken pair: the old pair is retired, a new one takes its place, both stay in the history."""

from datetime import UTC, datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.errors import Conflict, NearmissError, NotFound
from app.store.insert import insert_missing
from app.store.models import Caption, DataSet, Mend, Pair, Suggestion
from app.store.text import clean, text_hash


def mend_pair(session: Session, pair_id: int, *, caption: str, person: str) -> Mend:
    """The correction, with the new pair standing in the old one's split; snapshots take the new one from now on.

    Raises NotFound, NearmissError for an empty caption or the same one, Conflict where the image has that caption
    already or the pair was retired before.
    """
    old = session.get(Pair, pair_id)
    if old is None:
        raise NotFound(f"there is no pair {pair_id}; reload the page")
    text = clean(caption, what="caption")
    caption_id = _caption(session, old.data_set_id, text)
    if caption_id == old.caption_id:
        raise NearmissError("the caption is the same as before; change it, or leave the pair as it is")
    retired = update(Pair).where(Pair.id == old.id, Pair.retired_at.is_(None)).values(retired_at=func.now())
    if session.execute(retired).rowcount == 0:  # type: ignore[attr-defined]
        raise Conflict("this pair was corrected or retired already; reload the page")
    new = _pair(session, old, caption_id)
    asked = (Suggestion.image_id == new.image_id, Suggestion.caption_id == caption_id)
    in_queue = update(Suggestion).where(*asked, Suggestion.state == "open").values(state="retired")
    session.execute(in_queue, execution_options={"synchronize_session": False})
    mend = Mend(data_set_id=old.data_set_id, old_pair_id=old.id, new_pair_id=new.id, person=person)
    session.add(mend)
    session.flush()
    return mend


def take_back_mend(session: Session, mend_id: int) -> Mend:
    """The pair as it was; the corrected one is retired. Raises NotFound, Conflict where that was done already."""
    mend = session.get(Mend, mend_id)
    if mend is None:
        raise NotFound(f"there is no correction {mend_id}; reload the page")
    if mend.undone_at is not None:
        raise Conflict("this correction was taken back already; nothing is left to undo")
    later = select(Mend.id).where(Mend.old_pair_id == mend.new_pair_id, Mend.undone_at.is_(None))
    if session.scalar(later.limit(1)) is not None:
        raise Conflict("the caption was corrected again since; take that back first")
    session.execute(update(Pair).where(Pair.id == mend.new_pair_id).values(retired_at=func.now()))
    session.execute(update(Pair).where(Pair.id == mend.old_pair_id).values(retired_at=None))
    mend.undone_at = datetime.now(UTC)
    session.flush()
    return mend


def _caption(session: Session, data_set_id: int, text: str) -> int:
    row = {"data_set_id": data_set_id, "text": text, "sha256": text_hash(text)}
    if insert_missing(session, Caption, [row], key=["data_set_id", "sha256"]):
        more = update(DataSet).where(DataSet.id == data_set_id)
        session.execute(more.values(num_captions=DataSet.num_captions + 1))
    where = (Caption.data_set_id == data_set_id, Caption.sha256 == row["sha256"])
    return session.scalars(select(Caption.id).where(*where)).one()


def _pair(session: Session, old: Pair, caption_id: int) -> Pair:
    where = (Pair.image_id == old.image_id, Pair.caption_id == caption_id)
    known = session.scalar(select(Pair).where(*where))
    if known is None:
        known = Pair(
            data_set_id=old.data_set_id, image_id=old.image_id, caption_id=caption_id, split=old.split
        )
        session.add(known)
    elif known.retired_at is None:
        raise Conflict("the image has this caption already; mark the pair as broken instead")
    else:
        known.retired_at, known.split = None, old.split
    session.flush()
    return known
