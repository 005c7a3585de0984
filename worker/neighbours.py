"""The neighbours that the last mining found, kept in the media store, so that added items cost their own products only."""

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.errors import NotFound
from app.store.models import Event, Job
from clipcore.mining.neighbours import NAMES, Neighbours, find_neighbours
from clipcore.mining.topk import Stopped as SearchStopped
from clipcore.mining.topk import TopK
from worker.context import JobContext, Stopped
from worker.embed import Vectors

WORTH_KEEPING = 25_000_000  # products: 5,000 × 5,000; less is found again in a second
KIND = "neighbours"  # of the event that names what is kept


def neighbours_of(
    context: JobContext, data_set_id: int, model_id: int, vectors: Vectors, *, k: int
) -> Neighbours:
    """Found now, or extended from the last mining under this model where items were only added since. Raises Stopped.

    Progress and rate count million products; a job that was paused or killed goes on where it was.
    """
    body = _last(context, data_set_id, model_id)
    earlier = _load(context, body, vectors, k) if body else None
    began, first = time.monotonic(), -1

    def told(done: int, total: int) -> None:
        nonlocal began, first
        if first < 0:
            began, first = time.monotonic(), done  # a resumed job starts in the middle
        rate = (done - first) / max(time.monotonic() - began, 1e-9)
        context.progress(done, total, "million products", rate or None)

    try:
        found = find_neighbours(
            vectors.image_ID, vectors.caption_CD, k=k, earlier=earlier,
            progress=told, stop=lambda: context.asked() is not None, resume_folder=scratch_folder(context),
        )  # fmt: skip
    except SearchStopped:
        raise Stopped(context.asked() or "stop") from None
    if len(vectors.image_ids_I) * len(vectors.caption_ids_C) >= WORTH_KEEPING:
        _keep(context, data_set_id, model_id, vectors, found, body)
    return found


def scratch_folder(context: JobContext) -> Path:
    """Where this job's search keeps what it needs in order to go on."""
    return context.settings.home.resolve() / "mining" / f"job-{context.job_id}"


def _last(context: JobContext, data_set_id: int, model_id: int) -> dict[str, Any] | None:
    query = select(Event.body).join(Job, Job.id == Event.job_id)
    query = query.where(Job.data_set_id == data_set_id, Event.kind == KIND).order_by(Event.id.desc())
    with context.database.reading() as session:
        return next((body for body in session.scalars(query) if body["model_id"] == model_id), None)


def _load(context: JobContext, body: dict[str, Any], vectors: Vectors, k: int) -> Neighbours | None:
    """None where what is kept was found with other vectors, in another order, or with fewer neighbours."""
    try:
        data = context.media.get(body["key"])
    except NotFound:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        for ids, vector, old in (
            (vectors.image_ids_I, vectors.image_ID, kept["image_ids"]),
            (vectors.caption_ids_C, vectors.caption_CD, kept["caption_ids"]),
        ):
            if not np.array_equal(ids[: len(old)], old) or _digest(vector[: len(old)]) not in kept["digests"]:
                return None
        tops = [
            TopK(*(_wide(kept[f"{name}_{field}"]) for field in TopK.__dataclass_fields__)) for name in NAMES
        ]
    across, images, captions = tops[0].num_kept, len(tops[1].caption_Nk), len(tops[2].caption_Nk)
    if across[0] < min(k, captions) or across[1] < min(k, images):
        return None
    return Neighbours(*tops)


def _keep(
    context: JobContext,
    data_set_id: int,
    model_id: int,
    vectors: Vectors,
    found: Neighbours,
    before: dict[str, Any] | None,
) -> None:
    arrays: dict[str, Any] = {
        "image_ids": vectors.image_ids_I,
        "caption_ids": vectors.caption_ids_C,
        "digests": [_digest(vectors.image_ID), _digest(vectors.caption_CD)],
    }
    for name in NAMES:
        for field in TopK.__dataclass_fields__:
            array = getattr(getattr(found, name), field)
            arrays[f"{name}_{field}"] = array.astype(np.int32) if array.dtype == np.int64 else array
    out = io.BytesIO()
    np.savez(out, **arrays)
    key = context.media.put(out.getvalue(), kind="neighbours", suffix=".npz")
    context.report(KIND, {"key": key, "model_id": model_id})
    if before is not None and before["key"] != key:
        context.media.delete(before["key"])


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.int64) if array.dtype == np.int32 else array


def _digest(vectors_ND: NDArray[np.floating]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(vectors_ND).tobytes(), digest_size=16).hexdigest()
