"""The search worker: one warm process that keeps the current model's towers and answers in milliseconds.

It is the exception to the job rules: no row, no lease, `-P solo`, and answers that the backend forgets after 60 s.
"""

import base64
import logging
import os
import socket
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from celery.signals import worker_ready
from sqlalchemy import select

from app.jobs import presence
from app.jobs.send import SEARCH
from app.media.pictures import upright_rgb
from app.media.store import MediaStore
from app.media.vectors import get_vectors
from app.settings import get_settings
from app.store.database import Database
from app.store.models import Model
from app.store.reads.embeddings import newest_embedding
from worker.models import model_config
from worker.patient import Patient

EXPIRES_S = 60
log = logging.getLogger(__name__)
settings = get_settings()
app = Patient("nearmiss-search", broker=settings.resolved_broker_url, backend=settings.resolved_broker_url)
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    result_expires=EXPIRES_S,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
database = Database(settings)
NAME = f"search@{socket.gethostname()}:{os.getpid()}"


@app.task(name=SEARCH)
def search(
    data_set_id: int,
    text: str | None = None,
    image_id: int | None = None,
    picture: str | None = None,
    k: int = 60,
) -> dict[str, Any]:
    """Image ids of the data set nearest to the text, the image, or a picture (base64), best first, with cosines."""
    with database.reading() as session:
        row = newest_embedding(session, data_set_id, with_towers=image_id is None)
        model = None if row is None else session.get(Model, row.model_id)
    if row is None or model is None:
        return _nothing("the data set is not embedded yet: find suggestions first")
    ids, vectors = _vectors(row.image_key)
    if image_id is not None:
        place = np.flatnonzero(ids == image_id)
        if not len(place):
            return _nothing(f"image {image_id} is not embedded yet: find suggestions again")
        query = vectors[place[0]]
    elif picture is not None:
        query = _embed_picture(model.id, picture)
    else:
        query = _embed_text(model.id, text or "")
    score = vectors @ query
    k = min(k, len(score))
    best = np.argpartition(-score, k - 1)[:k] if k else np.zeros(0, np.int64)
    best = best[np.lexsort((best, -score[best]))]
    return {
        "image_ids": ids[best].tolist(),
        "scores": [round(float(v), 4) for v in score[best]],
        "model": model.name,
    }


def _nothing(note: str) -> dict[str, Any]:
    return {"image_ids": [], "scores": [], "note": note}


@lru_cache(maxsize=4)
def _vectors(key: str) -> tuple[Any, Any]:
    ids, vectors = get_vectors(MediaStore(settings.resolved_media_url), key)
    return np.asarray(ids), np.asarray(vectors, dtype=np.float32)


def _embed_text(model_id: int, text: str) -> Any:
    import torch

    towers = _towers(model_id)
    with torch.no_grad():
        return towers.captions(towers.tokens([text]))[0].float().numpy()


def _embed_picture(model_id: int, picture: str) -> Any:
    """The web process has looked at kind and size before; decoding checks them again."""
    import torch

    towers = _towers(model_id)
    image = upright_rgb(base64.b64decode(picture))
    with torch.no_grad():
        return towers.images(towers.transform(image)[None])[0].float().numpy()


@lru_cache(maxsize=1)
def _towers(model_id: int) -> Any:
    from clipcore.towers import load_towers

    with database.reading() as session:
        model = session.scalars(select(Model).where(Model.id == model_id)).one()
    towers = load_towers(model_config(settings, model))
    towers.model.eval()
    return towers


@worker_ready.connect
def _say_hello(**_: Any) -> None:
    presence.stay_seen(database, name=NAME, queue="search")
    _warm()


def _warm() -> None:
    """Loads what the first search needs, which takes longer than a search waits."""
    import_module("open_clip")  # seconds of imports, also where nothing is embedded yet

    try:
        with database.reading() as session:
            row = newest_embedding(session, with_towers=True)
        if row is not None:
            _embed_text(row.model_id, "")
            _vectors(row.image_key)
    except Exception as error:  # a model that cannot be loaded is the searches' to report; the worker stays
        log.warning("the newest model is not loaded ahead: %s", error)
