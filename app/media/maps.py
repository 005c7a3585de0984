"""A map's columns in one file, little-endian, one after the other, so that a browser lays typed arrays over them."""

import numpy as np
from numpy.typing import NDArray

from app.media.store import MediaStore

# N images. After a head of eight bytes (N as uint64) follow N each of:
COLUMNS = (("id", "<f8"), ("x", "<f4"), ("y", "<f4"), ("score", "<f4"), ("cluster", "<f4"))


def put_map(store: MediaStore, columns: dict[str, NDArray[np.generic]]) -> str:
    """Keep the columns of COLUMNS: the key."""
    num = len(columns["id"])
    parts = [np.array([num], "<u8").tobytes()]
    parts += [columns[name].astype(kind).tobytes() for name, kind in COLUMNS]
    return store.put(b"".join(parts), kind="maps", suffix=".bin")


def map_ids(data: bytes) -> NDArray[np.int64]:
    """The ids of a map's images [N]."""
    num = int(np.frombuffer(data[:8], "<u8")[0])
    return np.frombuffer(data, "<f8", count=num, offset=8).astype(np.int64)
