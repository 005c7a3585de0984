"""Vectors of a data set under a model: computed once, kept in the media store, aligned with ids.

I images, C captions, D embedding.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.media.pictures import original_key
from app.media.store import MediaStore
from app.media.vectors import get_vectors, put_vectors
from app.store.insert import insert
from app.store.models import Caption, Embedding, Image, Model
from clipcore.config import FineTuneConfig
from worker.context import JobContext
from worker.models import has_towers, model_config


@dataclass(frozen=True)
class Vectors:
    """Ids and normalised float16 vectors of all images and captions of a data set."""

    image_ids_I: NDArray[np.int64]
    image_ID: NDArray[np.float16]
    caption_ids_C: NDArray[np.int64]
    caption_CD: NDArray[np.float16]

    def of(self, image_ids: Sequence[int], caption_ids: Sequence[int]) -> "Vectors":
        """Those of the given items only, in the order of this."""
        images = np.isin(self.image_ids_I, image_ids)
        captions = np.isin(self.caption_ids_C, caption_ids)
        return Vectors(
            self.image_ids_I[images],
            self.image_ID[images],
            self.caption_ids_C[captions],
            self.caption_CD[captions],
        )


def vectors_of(context: JobContext, data_set_id: int, model: Model) -> Vectors:
    """The kept vectors, completed by those of items that came since, with progress; raises Stopped."""
    images, captions, kept = _state(context, data_set_id, model)
    if kept is not None and _covers(kept, [r.id for r in images], [r.id for r in captions]):
        return kept
    if not has_towers(model):
        if kept is None:
            raise NearmissError(
                f"{model.name} has only the vectors that came with its data set; choose a model with weights"
            )
        return kept.of([r.id for r in images], [r.id for r in captions])
    fresh = _completed(context, model, kept, images, captions)
    keys = (
        put_vectors(context.media, fresh.image_ids_I, fresh.image_ID),
        put_vectors(context.media, fresh.caption_ids_C, fresh.caption_CD),
    )
    context.database_write(lambda s: remember(s, data_set_id, model.id, keys, len(images), len(captions)))
    return fresh


def kept_vectors(context: JobContext, data_set_id: int, model: Model) -> Vectors | None:
    """Those that are kept and cover all items of the data set; None: they would have to be computed."""
    images, captions, kept = _state(context, data_set_id, model)
    covers = kept is not None and _covers(kept, [r.id for r in images], [r.id for r in captions])
    return kept if covers else None


def _state(
    context: JobContext, data_set_id: int, model: Model
) -> tuple[Sequence[Any], Sequence[Any], Vectors | None]:
    """(id, hash) of the living images, (id, text) of the captions, and the kept vectors, at one moment."""
    with context.database.reading() as session:
        return (
            session.execute(_living(Image, Image.sha256, data_set_id)).all(),
            session.execute(_living(Caption, Caption.text, data_set_id)).all(),
            _kept(session, context.media, data_set_id, model.id),
        )


def image_source(media: MediaStore, sha256: str) -> Any:
    """What an Example carries for a picture of the store: its path here, or a function that fetches its bytes."""
    key = original_key(sha256)
    return media.local_path(key) or (lambda: media.get(key))


def _living(table: Any, column: Any, data_set_id: int) -> Any:
    rows = select(table.id, column).where(table.data_set_id == data_set_id, table.erased_at.is_(None))
    return rows.order_by(table.id)


def _kept(session: Session, media: MediaStore, data_set_id: int, model_id: int) -> Vectors | None:
    row = session.scalar(
        select(Embedding).where(Embedding.data_set_id == data_set_id, Embedding.model_id == model_id)
    )
    if row is None:
        return None
    return Vectors(*get_vectors(media, row.image_key), *get_vectors(media, row.caption_key))


def _covers(kept: Vectors, image_ids: Sequence[int], caption_ids: Sequence[int]) -> bool:
    same_images = np.array_equal(kept.image_ids_I, np.array(image_ids, dtype=np.int64))
    return same_images and np.array_equal(kept.caption_ids_C, np.array(caption_ids, dtype=np.int64))


def _completed(
    context: JobContext,
    model: Model,
    kept: Vectors | None,
    images: Sequence[Any],
    captions: Sequence[Any],
) -> Vectors:
    """The vectors of all items in the order given; only what is not kept passes the towers."""
    if kept is None:
        return _compute(context, model, images, captions)
    image_at = {id_: place for place, id_ in enumerate(kept.image_ids_I.tolist())}
    caption_at = {id_: place for place, id_ in enumerate(kept.caption_ids_C.tolist())}
    new_images = [row for row in images if row.id not in image_at]
    new_captions = [row for row in captions if row.id not in caption_at]
    fresh = _compute(context, model, new_images, new_captions) if new_images or new_captions else None
    return Vectors(
        np.array([row.id for row in images], dtype=np.int64),
        _joined(images, image_at, kept.image_ID, None if fresh is None else fresh.image_ID),
        np.array([row.id for row in captions], dtype=np.int64),
        _joined(captions, caption_at, kept.caption_CD, None if fresh is None else fresh.caption_CD),
    )


def _joined(
    rows: Sequence[Any],
    at: dict[int, int],
    kept_ND: NDArray[np.float16],
    fresh_ND: NDArray[np.float16] | None,
) -> NDArray[np.float16]:
    """Kept rows by id, and the fresh ones, which come in the order of the ids that are not kept."""
    found = np.zeros((len(rows), kept_ND.shape[1]), np.float16)
    is_kept = np.array([row.id in at for row in rows], dtype=bool)
    found[is_kept] = kept_ND[[at[row.id] for row in rows if row.id in at]]
    if fresh_ND is not None and not is_kept.all():
        found[~is_kept] = fresh_ND
    return found


def _compute(context: JobContext, model: Model, images: Sequence[Any], captions: Sequence[Any]) -> Vectors:
    from clipcore.learner import Source, embed_captions, embed_images
    from clipcore.towers import load_towers, pick_device

    device = pick_device(context.settings.device)
    towers = load_towers(model_config(context.settings, model), device=device)
    pictures = [image_source(context.media, row.sha256) for row in images]
    source = Source(towers, pictures, [row.text for row in captions], FineTuneConfig())
    total = len(images) + len(captions)
    image = _chunks(context, embed_images(towers, source, range(len(images)), device), 0, total)
    caption = _chunks(
        context, embed_captions(towers, source, range(len(captions)), device), len(images), total
    )
    return Vectors(
        np.array([row.id for row in images], dtype=np.int64),
        image,
        np.array([row.id for row in captions], dtype=np.int64),
        caption,
    )


def _chunks(context: JobContext, parts: Iterator[Any], done: int, total: int) -> NDArray[np.float16]:
    found: list[NDArray[np.float16]] = []
    began, first = time.monotonic(), done
    for part in parts:
        found.append(part.numpy().astype(np.float16))
        done += len(part)
        context.progress(done, total, "items", (done - first) / max(time.monotonic() - began, 1e-9))
        context.check()
    return np.concatenate(found) if found else np.zeros((0, 1), np.float16)


def forget_images(session: Session, media: MediaStore, data_set_id: int, image_ids: Sequence[int]) -> None:
    """Leaves the vectors of pictures that have changed out of what is kept; they are computed at the next need."""
    for row in session.scalars(select(Embedding).where(Embedding.data_set_id == data_set_id)):
        ids, vectors = get_vectors(media, row.image_key)
        stays = ~np.isin(ids, image_ids)
        row.image_key = put_vectors(media, ids[stays], vectors[stays])
        row.num_images = int(stays.sum())


def remember(
    session: Session,
    data_set_id: int,
    model_id: int,
    keys: tuple[str, str],
    num_images: int,
    num_captions: int,
) -> None:
    """Writes where the vectors of a data set under a model lie."""
    values = {
        "image_key": keys[0],
        "caption_key": keys[1],
        "num_images": num_images,
        "num_captions": num_captions,
    }
    row = insert(session, Embedding).values(data_set_id=data_set_id, model_id=model_id, **values)
    session.execute(row.on_conflict_do_update(index_elements=["data_set_id", "model_id"], set_=values))


Results = Callable[[Session], None]
