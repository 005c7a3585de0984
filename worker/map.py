"""The map as a job: UMAP of the image vectors in two dimensions, clusters by k-means, each image's cosine to its own
caption. N images, D embedding."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.media.maps import put_map
from app.media.vectors import get_vectors
from app.store.insert import insert
from app.store.models import Embedding, EmbeddingMap, Job, Pair
from worker.context import JobContext
from worker.embed import Results

NEIGHBOURS = 15
FEWEST = 8  # images that a layout is worth
MAX_CLUSTERS = 24
EXACT = 50_000  # images whose neighbours are found exactly
BLOCK = 512
SEED = 0  # the same vectors, the same map


def make_map(context: JobContext, job: Job) -> Results:
    """Writes the map of `request["data_set_id"]` under `request["model_id"]`."""
    data_set_id, model_id = int(job.request["data_set_id"]), int(job.request["model_id"])
    with context.database.reading() as session:
        row = session.scalars(
            select(Embedding).where(Embedding.data_set_id == data_set_id, Embedding.model_id == model_id)
        ).one()
        pairs = session.execute(
            select(Pair.image_id, Pair.caption_id)
            .where(Pair.data_set_id == data_set_id, Pair.retired_at.is_(None))
            .order_by(Pair.id)
        ).all()
    ids_N, kept_ND = get_vectors(context.media, row.image_key)
    if len(ids_N) < FEWEST:
        raise NearmissError(f"the data set has {len(ids_N)} images; a map is worth it from {FEWEST}")
    vectors_ND = np.asarray(kept_ND, np.float32)
    context.progress(0, len(ids_N), "images")
    placed = layout(vectors_ND)
    context.check()
    columns: dict[str, Any] = {"id": ids_N, "x": placed[:, 0], "y": placed[:, 1]}
    columns["cluster"] = clusters(vectors_ND)
    columns["score"] = _own_cosine(ids_N, vectors_ND, *get_vectors(context.media, row.caption_key), pairs)
    key = put_map(context.media, columns)
    context.progress(len(ids_N), len(ids_N), "images")
    return partial(_remember, data_set_id=data_set_id, model_id=model_id, key=key, num=len(ids_N))


def layout(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places [N, 2] in −1 … 1: near vectors lie near each other."""
    from umap import UMAP

    num_neighbours = min(NEIGHBOURS, len(vectors_ND) - 1)
    # its own exact search below 4,096 points calls Python for each pair; beyond EXACT its approximate one is quicker
    known = _nearest(vectors_ND, num_neighbours) if len(vectors_ND) <= EXACT else (None, None, None)
    umap = UMAP(
        n_neighbors=num_neighbours,
        metric="cosine",
        init="pca" if len(vectors_ND) > 2 * NEIGHBOURS else "random",
        random_state=SEED,
        n_jobs=1,
        precomputed_knn=known,
        force_approximation_algorithm=True,
    )
    placed = umap.fit_transform(vectors_ND)
    low, high = placed.min(axis=0), placed.max(axis=0)
    return np.asarray(2 * (placed - low) / np.maximum(high - low, 1e-9) - 1, np.float32)


def _nearest(
    vectors_ND: NDArray[np.float32], num: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], None]:
    """(places, distances) of each vector's nearest [N, num], itself first, by blocks; None: no search index."""
    places = np.empty((len(vectors_ND), num), np.int64)
    distances = np.empty((len(vectors_ND), num), np.float32)
    for start in range(0, len(vectors_ND), BLOCK):
        block = slice(start, start + BLOCK)
        cosine = vectors_ND[block] @ vectors_ND.T
        own = np.arange(len(cosine))
        cosine[own, start + own] = 2.0  # itself, whatever rounding says
        best = np.argpartition(-cosine, num - 1, axis=1)[:, :num]
        order = np.argsort(-np.take_along_axis(cosine, best, axis=1), axis=1, kind="stable")
        places[block] = np.take_along_axis(best, order, axis=1)
        distances[block] = 1.0 - np.minimum(np.take_along_axis(cosine, places[block], axis=1), 1.0)
    return places, distances, None


def clusters(vectors_ND: NDArray[np.float32]) -> NDArray[np.int32]:
    """A number of each image's cluster [N], the largest first."""
    from sklearn.cluster import MiniBatchKMeans

    num = int(min(MAX_CLUSTERS, max(2, np.sqrt(len(vectors_ND) / 2))))
    found = MiniBatchKMeans(num, random_state=SEED, n_init=3).fit_predict(vectors_ND)
    order = np.argsort(-np.bincount(found, minlength=num))
    rank = np.empty(num, np.int32)
    rank[order] = np.arange(num)
    return rank[found]


def _own_cosine(
    ids_N: NDArray[np.int64],
    vectors_ND: NDArray[np.float32],
    caption_ids: NDArray[np.int64],
    caption_vectors: NDArray[np.float16],
    pairs: Any,
) -> NDArray[np.float32]:
    """Each image's cosine to its first caption [N]; 0 where that has no vector."""
    image_at = {int(i): n for n, i in enumerate(ids_N)}
    caption_at = {int(i): n for n, i in enumerate(caption_ids)}
    found = np.zeros(len(ids_N), np.float32)
    for image_id, caption_id in reversed(pairs):
        if image_id in image_at and caption_id in caption_at:
            n = image_at[image_id]
            found[n] = vectors_ND[n] @ caption_vectors[caption_at[caption_id]].astype(np.float32)
    return found


def _remember(session: Session, *, data_set_id: int, model_id: int, key: str, num: int) -> None:
    values = {"key": key, "num_images": num}
    row = insert(session, EmbeddingMap).values(data_set_id=data_set_id, model_id=model_id, **values)
    session.execute(row.on_conflict_do_update(index_elements=["data_set_id", "model_id"], set_=values))
