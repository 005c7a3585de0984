"""Embeddings in files: float16 rows aligned with ids, memory-mapped where the store is a folder."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.media.store import MediaStore

# N rows, D dimensions


def put_vectors(
    store: MediaStore,
    ids_N: NDArray[np.int64],
    vectors_ND: NDArray[np.floating],  # N rows, D dimensions
) -> str:
    """Keep one float16 vector per id: the key."""
    if len(ids_N) != len(vectors_ND):
        raise ValueError(f"{len(ids_N)} ids for {len(vectors_ND)} vectors; give one id a row")
    ids_key = store.put(_npy(ids_N.astype(np.int64)), kind="vectors", suffix=".ids.npy")
    vectors_key = store.put(_npy(vectors_ND.astype(np.float16)), kind="vectors", suffix=".npy")
    return f"{vectors_key} {ids_key}"


def get_vectors(store: MediaStore, key: str) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """(ids_N, vectors_ND) of `put_vectors`; the vectors are read as they are touched. Raises NotFound."""
    vectors_key, ids_key = key.split(" ")
    return _load(store, ids_key), _load(store, vectors_key)


def _load(store: MediaStore, key: str) -> NDArray[Any]:
    path = store.local_path(key)
    if path is not None and path.exists():
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    return np.asanyarray(np.load(io.BytesIO(store.get(key)), allow_pickle=False))


def _npy(array: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()
