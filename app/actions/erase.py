"""Erase a picture or a text for good, as a person may ask: its bytes go, what was decided about it stays as ids.

The same bytes go wherever they are, in every data set. Snapshots keep ids and hashes and count what was erased; kept
vectors, thumbnails and archives of exports go too. What a model has learned from it stays in the model's weights, and
files that were downloaded, and originals left in place, are out of reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.actions.forget_archives import forget_archives
from app.errors import NotFound
from app.media.pictures import erase_picture
from app.media.snapshots import get_table, put_again
from app.media.store import MediaStore
from app.media.vectors import get_vectors, put_vectors
from app.store.database import Database, after_commit, settings_of
from app.store.models import Caption, Comment, DataSet, Embedding, Image, Pair, Probe, Snapshot, Suggestion


@dataclass(frozen=True)
class Erased:
    """How many rows with these bytes there were, and what else changed."""

    num_rows: int
    num_pairs: int  # that left their data set
    num_snapshots: int  # that say now that something of theirs was erased


def erase_image(session: Session, *, image_id: int) -> Erased:
    """Raises NotFound; erasing what was erased changes nothing."""
    image = session.get(Image, image_id)
    if image is None:
        raise NotFound(f"there is no image {image_id}; reload the page")
    rows = list(session.scalars(select(Image).where(Image.sha256 == image.sha256, Image.erased_at.is_(None))))
    session.execute(delete(Probe).where(Probe.image_id.in_([row.id for row in rows])))
    erased = _erase(session, Image, rows)
    sha256 = image.sha256
    after_commit(session, lambda database: erase_picture(_media(database), sha256))
    return erased


def erase_caption(session: Session, *, caption_id: int) -> Erased:
    """Raises NotFound; erasing what was erased changes nothing."""
    caption = session.get(Caption, caption_id)
    if caption is None:
        raise NotFound(f"there is no caption {caption_id}; reload the page")
    rows = list(
        session.scalars(select(Caption).where(Caption.sha256 == caption.sha256, Caption.erased_at.is_(None)))
    )
    session.execute(delete(Probe).where(Probe.text == caption.text))
    erased = _erase(session, Caption, rows)
    session.execute(update(Caption).where(Caption.id.in_([row.id for row in rows])).values(text=""))
    return erased


def _erase(session: Session, table: type[Image] | type[Caption], rows: Sequence[Any]) -> Erased:
    """The part that both share; `rows` of all data sets."""
    ids = [row.id for row in rows]
    if not ids:
        return Erased(0, 0, 0)
    session.execute(update(table).where(table.id.in_(ids)).values(erased_at=func.now()))
    side = "image_id" if table is Image else "caption_id"
    num_pairs = num_snapshots = 0
    for data_set_id in sorted({row.data_set_id for row in rows}):
        own = [row.id for row in rows if row.data_set_id == data_set_id]
        session.execute(delete(Comment).where(getattr(Comment, side).in_(own)))
        num_pairs += _leave(session, data_set_id, side, own)
        _forget_vectors(session, data_set_id, side, own)
        forget_archives(session, data_set_id=data_set_id)
        num_snapshots += _mark_snapshots(session, data_set_id, side, own)
    return Erased(len(rows), num_pairs, num_snapshots)


def _leave(session: Session, data_set_id: int, side: str, ids: Sequence[int]) -> int:
    """Pairs and suggestions leave the data set's present; how many pairs did."""
    standing = update(Pair).where(getattr(Pair, side).in_(ids), Pair.retired_at.is_(None))
    gone = session.execute(standing.values(retired_at=func.now()).returning(Pair.id)).all()
    asked = update(Suggestion).where(getattr(Suggestion, side).in_(ids), Suggestion.state == "open")
    session.execute(asked.values(state="retired"))
    count = DataSet.num_images if side == "image_id" else DataSet.num_captions
    fewer = {DataSet.num_pairs: DataSet.num_pairs - len(gone), count: count - len(ids)}
    session.execute(update(DataSet).where(DataSet.id == data_set_id).values(fewer))
    return len(gone)


def _forget_vectors(session: Session, data_set_id: int, side: str, ids: Sequence[int]) -> None:
    media = MediaStore(settings_of(session).resolved_media_url)
    which = "image_key" if side == "image_id" else "caption_key"
    for row in session.scalars(select(Embedding).where(Embedding.data_set_id == data_set_id)):
        old = getattr(row, which)
        kept_ids, vectors = get_vectors(media, old)
        stays = ~np.isin(kept_ids, ids)
        setattr(row, which, put_vectors(media, kept_ids[stays], vectors[stays]))
        setattr(row, "num_images" if which == "image_key" else "num_captions", int(stays.sum()))
        for key in old.split(" "):
            _delete_unused(session, key)


def _mark_snapshots(session: Session, data_set_id: int, side: str, ids: Sequence[int]) -> int:
    """A caption's text goes out of the tables of its snapshots; all that hold the item count it. Hashes stay."""
    media = MediaStore(settings_of(session).resolved_media_url)
    num = 0
    for snapshot in session.scalars(select(Snapshot).where(Snapshot.data_set_id == data_set_id)):
        pairs = get_table(media, snapshot.pairs_key).to_pydict()
        verdicts = get_table(media, snapshot.verdicts_key).to_pydict()
        found = set(ids) & ({*pairs[side], *verdicts[side]})
        if not found:
            continue
        num += 1
        snapshot.counts = snapshot.counts | {"erased": snapshot.counts.get("erased", 0) + len(found)}
        if side != "caption_id":
            continue
        _blank(pairs, "caption", found)
        _blank(verdicts, "written", found)
        old = snapshot.pairs_key, snapshot.verdicts_key
        snapshot.pairs_key, snapshot.verdicts_key = put_again(media, pairs=pairs, verdicts=verdicts)
        for key in old:
            _delete_unused(session, key)
    return num


def _blank(columns: dict[str, list[Any]], name: str, caption_ids: set[int]) -> None:
    if name in columns:
        columns[name] = [
            None if id_ in caption_ids else text
            for id_, text in zip(columns["caption_id"], columns[name], strict=True)
        ]


def _delete_unused(session: Session, key: str) -> None:
    """Deletes the file after the commit unless another row names it."""

    def delete_it(database: Database) -> None:
        with database.reading() as reading:
            vectors = select(Embedding.id).where(
                or_(Embedding.image_key.contains(key), Embedding.caption_key.contains(key))
            )
            tables = select(Snapshot.id).where(or_(Snapshot.pairs_key == key, Snapshot.verdicts_key == key))
            used = reading.scalar(vectors.limit(1)) or reading.scalar(tables.limit(1))
        if not used:
            _media(database).delete(key)

    after_commit(session, delete_it)


def _media(database: Database) -> MediaStore:
    return MediaStore(database.settings.resolved_media_url)
