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

from app.media.pictures import original_key
from app.media.store import MediaStore
from app.media.vectors import get_vectors, put_vectors
from app.store.insert import insert
from app.store.models import Caption, Embedding, Image, Model
from clipcore.config import FineTuneConfig
from worker.context import JobContext
from worker.models import model_config


@dataclass(frozen=True)
class Vectors:
    """Ids and normalised float16 vectors of all images and captions of a data set."""

    image_ids_I: NDArray[np.int64]
    image_ID: NDArray[np.float16]
    caption_ids_C: NDArray[np.int64]
    caption_CD: NDArray[np.float16]


def vectors_of(context: JobContext, data_set_id: int, model: Model) -> Vectors:
    """The kept vectors when they cover the data set, else computed now, with progress; raises Stopped."""
    with context.database.reading() as session:
        images = session.execute(_living(Image, Image.sha256, data_set_id)).all()
        captions = session.execute(_living(Caption, Caption.text, data_set_id)).all()
        kept = _kept(session, context.media, data_set_id, model.id)
    if kept is not None and _covers(kept, [r.id for r in images], [r.id for r in captions]):
        return kept
    fresh = _compute(context, model, images, captions)
    keys = (
        put_vectors(context.media, fresh.image_ids_I, fresh.image_ID),
        put_vectors(context.media, fresh.caption_ids_C, fresh.caption_CD),
    )
    context.database_write(lambda s: _remember(s, data_set_id, model.id, keys, len(images), len(captions)))
    return fresh


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


def _remember(
    session: Session,
    data_set_id: int,
    model_id: int,
    keys: tuple[str, str],
    num_images: int,
    num_captions: int,
) -> None:
    values = {
        "image_key": keys[0],
        "caption_key": keys[1],
        "num_images": num_images,
        "num_captions": num_captions,
    }
    row = insert(session, Embedding).values(data_set_id=data_set_id, model_id=model_id, **values)
    session.execute(row.on_conflict_do_update(index_elements=["data_set_id", "model_id"], set_=values))


Results = Callable[[Session], None]
