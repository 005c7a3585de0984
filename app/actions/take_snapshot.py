"""Freeze a data set and its verdicts; the same state gives the same snapshot."""

from typing import Any

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.media.snapshots import put_snapshot
from app.media.store import MediaStore
from app.store.database import settings_of
from app.store.models import ANSWERS, Caption, CurrentVerdict, DataSet, Image, Pair, Snapshot, Verdict


def take_snapshot(session: Session, *, data_set_id: int) -> Snapshot:
    """The snapshot of the present state, written to the media store unless it is there. Raises NotFound."""
    if session.get(DataSet, data_set_id) is None:
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    pairs, verdicts = pair_columns(session, data_set_id), verdict_columns(session, data_set_id)
    store = MediaStore(settings_of(session).resolved_media_url)
    frozen = put_snapshot(store, pairs=pairs, verdicts=verdicts)
    known = session.scalar(select(Snapshot).where(Snapshot.hash == frozen.hash))
    if known is not None:
        return known
    snapshot = Snapshot(
        data_set_id=data_set_id,
        hash=frozen.hash,
        pairs_key=frozen.pairs_key,
        verdicts_key=frozen.verdicts_key,
        counts=_counts(pairs, verdicts),
    )
    session.add(snapshot)
    session.flush()
    return snapshot


def pair_columns(session: Session, data_set_id: int) -> dict[str, list[Any]]:
    """The data set's pairs in the columns of `app.media.snapshots.PAIRS`, by id, without erased items."""
    query = (
        select(
            Pair.image_id,
            Pair.caption_id,
            Image.sha256.label("image_sha256"),
            Caption.text.label("caption"),
            Caption.sha256.label("caption_sha256"),
            Pair.split,
        )
        .join(Image, Image.id == Pair.image_id)
        .join(Caption, Caption.id == Pair.caption_id)
        .where(Pair.data_set_id == data_set_id)
        .where(Image.erased_at.is_(None), Caption.erased_at.is_(None), Pair.retired_at.is_(None))
        .order_by(Pair.id)
    )
    return _columns(session, query)


def verdict_columns(session: Session, data_set_id: int) -> dict[str, list[Any]]:
    """The standing verdicts in the columns of `app.media.snapshots.VERDICTS`, by image and caption."""
    standing = select(Pair.id).where(Pair.caption_id == CurrentVerdict.caption_id, Pair.retired_at.is_(None))
    paired = standing.exists()
    query = (
        select(
            CurrentVerdict.image_id,
            CurrentVerdict.caption_id,
            CurrentVerdict.answer,
            Verdict.confidence,
            Verdict.source,
            CurrentVerdict.verdict_id,
            case((paired, None), else_=Caption.text).label("written"),
        )
        .join(Caption, Caption.id == CurrentVerdict.caption_id)
        .join(Verdict, Verdict.id == CurrentVerdict.verdict_id)
        .join(Image, Image.id == CurrentVerdict.image_id)
        .where(CurrentVerdict.data_set_id == data_set_id)
        .where(Image.erased_at.is_(None), Caption.erased_at.is_(None))
        .order_by(CurrentVerdict.image_id, CurrentVerdict.caption_id)
    )
    return _columns(session, query)


def _columns(session: Session, query: Any) -> dict[str, list[Any]]:
    result = session.execute(query)
    names = list(result.keys())
    rows = result.all()
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _counts(pairs: dict[str, list[Any]], verdicts: dict[str, list[Any]]) -> dict[str, int]:
    counts = {"pairs": len(pairs["split"]), "held_out": pairs["split"].count("held_out")}
    return counts | {answer: verdicts["answer"].count(answer) for answer in ANSWERS}
