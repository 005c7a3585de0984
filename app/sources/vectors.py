"""clip-retrieval's embeddings folder: img_emb/*.npy and text_emb/*.npy, a row for each of metadata/*.parquet."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.errors import NearmissError
from app.sources.parquet import read_parquet
from app.sources.rows import Rejected, Row
from app.sources.tables import Wish

# N rows, D embedding
FINITE_BLOCK = 65_536  # rows that are looked at together


@dataclass(frozen=True)
class Kept:
    """Embeddings of a folder, mapped, not read: `shards` of (rows, [image_ND, caption_ND])."""

    shards: list[tuple[int, list[NDArray[Any]]]]

    def take(self, side: int, places: NDArray[np.int64]) -> NDArray[np.float16]:
        """Normalised float16 vectors of the rows `places` (0 images, 1 captions), in the order given."""
        width = self.shards[0][1][side].shape[1]
        found = np.zeros((len(places), width), np.float16)
        start = 0
        for shard in self.shards:
            inside = np.flatnonzero((places >= start) & (places < start + shard[0]))
            for block in np.array_split(inside, max(1, len(inside) // FINITE_BLOCK)):
                found[block] = _normalised(shard[1][side][places[block] - start])
            start += shard[0]
        return found


def is_vectors_folder(folder: Path) -> bool:
    """Whether both kinds of embeddings and their metadata lie there."""
    return all((folder / name).is_dir() for name in ("img_emb", "text_emb", "metadata"))


def open_vectors(folder: Path) -> Kept:
    """The embeddings. Raises NearmissError where files are missing, damaged, or do not fit together."""
    metadata = _parts(folder, "metadata", ".parquet")
    images, captions = _parts(folder, "img_emb", ".npy"), _parts(folder, "text_emb", ".npy")
    if not metadata or len(metadata) != len(images) or len(metadata) != len(captions):
        raise NearmissError(
            f"{folder.name} has {len(images)} files in img_emb, {len(captions)} in text_emb and {len(metadata)} in"
            " metadata; it needs one of each a shard"
        )
    shards = []
    for table, image, caption in zip(metadata, images, captions, strict=True):
        num = _num_rows(table)
        arrays = [_load(image), _load(caption)]
        for path, array in zip((image, caption), arrays, strict=True):
            if len(array) != num:
                raise NearmissError(
                    f"{path.name} has {len(array)} rows and {table.name} {num}; write both again"
                )
        shards.append((num, arrays))
    if len({array.shape[1] for _, arrays in shards for array in arrays}) > 1:
        raise NearmissError(f"the embeddings of {folder.name} differ in width; take those of one model")
    return Kept(shards)


def read_vectors_folder(folder: Path, *, wish: Wish = None) -> Iterator[Row | Rejected]:
    """The metadata's rows, each with its place among the embeddings."""
    start = 0
    for table in _parts(folder, "metadata", ".parquet"):
        for row in read_parquet(table, root=folder, anywhere=True, wish=wish):
            if isinstance(row, Row):
                number = int(row.where.rpartition(" ")[2])  # "… row 12"
                row = Row(row.key, row.image, row.caption, row.split, row.where, start + number - 1)
            yield row
        start += _num_rows(table)


def _parts(folder: Path, kind: str, suffix: str) -> list[Path]:
    """In the order of their numbers: img_emb_2 comes before img_emb_10."""
    return sorted((folder / kind).glob(f"*{suffix}"), key=lambda path: (len(path.name), path.name))


def _num_rows(table: Path) -> int:
    try:
        return int(pq.ParquetFile(table).metadata.num_rows)
    except (OSError, ValueError) as error:
        raise NearmissError(f"{table.name} is no Parquet file ({str(error)[:80]}); write it again") from None


def _load(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python: damaged ones raise many kinds
        raise NearmissError(
            f"{path.name} is no .npy file of numbers ({str(error)[:80]}); write it again"
        ) from None
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise NearmissError(f"{path.name} holds {array.dtype} of shape {array.shape}; it needs floats [N, D]")
    return np.asanyarray(array)


def _normalised(block_ND: NDArray[Any]) -> NDArray[np.float16]:
    block = np.asarray(block_ND, dtype=np.float32)
    if not np.isfinite(block).all():
        raise NearmissError("the embeddings hold NaN or infinite numbers; compute them again")
    norm = np.linalg.norm(block, axis=1, keepdims=True)
    return (block / np.maximum(norm, 1e-12)).astype(np.float16)
