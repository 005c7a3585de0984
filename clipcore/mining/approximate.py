"""Top-k by faiss where the exact sweep takes too long: IVF or HNSW, its recall measured at every build.

Legend: N items, Q queries, D embedding, k kept. The items are centred before they are indexed: ⟨q, y⟩ = ⟨q, y − μ⟩ + ⟨q, μ⟩,
and the last term is the same for all items, so the order stays and the modality gap no longer hides the clusters.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipcore.errors import ClipcoreError
from clipcore.mining.topk import Stopped, TopK, check_vectors, fingerprint

Kind = Literal["ivf", "hnsw"]
Vectors = NDArray[np.floating]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
RECALL = 0.95
BLOCK = 16_384  # rows read, added or searched at once
SAMPLE = 512  # queries that the recall is measured on: a standard error below 0.01 at 0.95
HNSW_LINKS, HNSW_BUILD = 32, 80


@dataclass(frozen=True)
class Recall:
    """`found`: the share of the exact top k that the index returned on a sample of queries, with nprobe or efSearch `effort`."""

    found: float
    effort: int


class NearIndex:
    """Items to be searched by inner product. `recall` is what the last `tune` measured."""

    def __init__(self, vectors_ND: Vectors, *, kind: Kind = "ivf", seed: int = 0) -> None:
        """Trains on a sample of `vectors_ND` and holds nothing yet: `add` puts items in.

        Raises `ClipcoreError` for an unknown kind and where faiss is not installed.
        """
        faiss = _faiss()
        self.kind = kind
        sample_SD = _sample(vectors_ND, 64 * _num_lists(len(vectors_ND)), seed)
        self.mean_D = sample_SD.mean(axis=0) if len(sample_SD) else np.zeros(vectors_ND.shape[1], np.float32)
        width = int(vectors_ND.shape[1])
        if kind == "hnsw":
            self.index = faiss.IndexHNSWSQ(
                width, faiss.ScalarQuantizer.QT_fp16, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT
            )
            self.index.hnsw.efConstruction = HNSW_BUILD
        elif kind == "ivf":
            lists, half = _num_lists(len(vectors_ND)), faiss.ScalarQuantizer.QT_fp16
            coarse = faiss.IndexFlatIP(width)
            self.index = faiss.IndexIVFScalarQuantizer(
                coarse, width, lists, half, faiss.METRIC_INNER_PRODUCT, False
            )
            self.index.own_fields, self._coarse = False, coarse
            self.index.cp.seed, self.index.cp.niter, self.index.cp.max_points_per_centroid = seed + 1, 8, 64
            self.index.cp.min_points_per_centroid = 1  # small sets are searched exactly anyway
        else:
            raise ClipcoreError(f"there is no index {kind!r}; use ivf or hnsw")
        if len(sample_SD):
            self.index.train(sample_SD - self.mean_D)
        self.recall = Recall(found=0.0, effort=0)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def add(
        self,
        vectors_ND: Vectors,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Puts items after those that are there; later items keep the numbers on. `tune` again afterwards.

        Raises `Stopped` between two blocks.
        """
        for start, block_BD in _blocks(vectors_ND):
            if stop():
                raise Stopped(f"stopped with {len(self)} items in the index")
            self.index.add(block_BD - self.mean_D)
            progress(min(start + BLOCK, len(vectors_ND)), len(vectors_ND))

    def tune(
        self, queries_QD: Vectors, items_ND: Vectors, *, k: int = 50, recall: float = RECALL, seed: int = 0
    ) -> Recall:
        """Doubles nprobe (IVF) or efSearch (HNSW) until recall@k on a sample of queries is at least `recall`.

        `items_ND` are the items in the order they were added. At the largest effort IVF is exact; HNSW that does
        not reach it raises `ClipcoreError`.
        """
        k = min(k, len(self))
        sample_QD = _sample(queries_QD, SAMPLE, seed)
        if k == 0 or len(sample_QD) == 0:
            self.recall = Recall(1.0, 1)
            return self.recall
        floor_Q = exact_scores(sample_QD, items_ND, k=k)[:, -1]
        effort, most = (8, self.index.nlist) if self.kind == "ivf" else (2 * k, max(len(self), 2 * k))
        while True:
            effort = min(effort, most)
            self._set(effort)
            score_Qk, _ = self.search(sample_QD, k=k)
            found = float((score_Qk >= floor_Q[:, None] - 2e-4).mean())  # float16 items: 1e-4 of rounding
            self.recall = Recall(found, effort)
            if found >= recall:
                return self.recall
            if effort == most:
                raise ClipcoreError(
                    f"recall@{k} is {found:.3f} at the largest effort, below {recall}; use the kind ivf"
                )
            effort *= 2

    def search(self, queries_QD: Vectors, *, k: int) -> tuple[Floats, Ints]:
        """(inner products [Q, k] falling, item numbers [Q, k]); equal scores by number, −inf and −1 where there are fewer."""
        queries_QD = np.ascontiguousarray(queries_QD, dtype=np.float32)
        score_Qk, number_Qk = self.index.search(queries_QD, k)
        score_Qk = np.where(number_Qk < 0, -np.inf, score_Qk + (queries_QD @ self.mean_D)[:, None])
        order_Qk = np.lexsort((number_Qk, -score_Qk), axis=1)
        return (
            np.take_along_axis(score_Qk, order_Qk, 1).astype(np.float32),
            np.take_along_axis(number_Qk, order_Qk, 1),
        )

    def _set(self, effort: int) -> None:
        if self.kind == "ivf":
            self.index.nprobe = effort
        else:
            self.index.hnsw.efSearch = effort


def approximate_top_k(
    image_ND: Vectors,
    caption_MD: Vectors,
    *,
    k: int,
    recall: float = RECALL,
    kind: Kind = "ivf",
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
    resume_folder: str | Path | None = None,
) -> tuple[TopK, tuple[Recall, Recall]]:
    """Both directions' k nearest, and the recall of captions for images and of images for captions.

    One index at a time. With `resume_folder` the blocks that were searched are kept, and the same call goes on after
    them (the index is built anew, from the same seed). Raises `Stopped`, and `ClipcoreError` for widths that differ.
    """
    check_vectors(image_ND, caption_MD, k)
    mark = fingerprint(image_ND, caption_MD, k)
    total = 2 * (len(image_ND) + len(caption_MD))
    found, recalls = [], []
    for turn, (queries, items) in enumerate(((image_ND, caption_MD), (caption_MD, image_ND))):
        kept = _Blocks(resume_folder, f"{mark}-{kind}-{turn}", len(queries), min(k, len(items)))
        base = turn * (len(items) + len(queries))
        if kept.next < len(queries):
            index = NearIndex(items, kind=kind)
            index.add(items, progress=lambda done, _, base=base: progress(base + done, total), stop=stop)  # type: ignore[misc]
            kept.recall = index.tune(queries, items, k=k, recall=recall)
        for start, block_BD in _blocks(queries, kept.next):
            if stop():
                raise Stopped(
                    f"stopped at query {start} of {len(queries)}; call again with the same resume_folder to go on"
                )
            kept.put(start, *index.search(block_BD, k=kept.k))
            progress(base + len(items) + start + len(block_BD), total)
        found += [kept.number_Qk, kept.score_Qk]
        recalls.append(kept.recall)
    arrays = [np.array(a) for a in found]
    _forget(resume_folder, mark)
    return TopK(*arrays), (recalls[0], recalls[1])


def exact_scores(queries_QD: Vectors, items_ND: Vectors, *, k: int) -> Floats:
    """The k largest inner products of each query [Q, k], falling; items are read by blocks."""
    best_Qk = np.full((len(queries_QD), k), -np.inf, np.float32)
    queries_QD = np.asarray(queries_QD, np.float32)
    for _, block_BD in _blocks(items_ND):
        both = np.concatenate((best_Qk, queries_QD @ block_BD.T), axis=1)
        best_Qk = np.partition(both, both.shape[1] - k, axis=1)[:, -k:]
    return np.asarray(np.sort(best_Qk, axis=1)[:, ::-1])


class _Blocks:
    """Results by query, in memory or in files that outlive a kill; `next` is the first query still to do."""

    def __init__(self, folder: str | Path | None, name: str, queries: int, k: int) -> None:
        self.k, self.next, self.recall = k, 0, Recall(1.0, 0)
        self.path: Path | None = None
        if folder is None:
            self.number_Qk: Ints = np.zeros((queries, k), np.int64)
            self.score_Qk: Floats = np.zeros((queries, k), np.float32)
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.path = Path(folder) / f"near-{name}.json"
        if self.path.exists():
            saved = json.loads(self.path.read_text())
            self.next, self.recall = saved["next"], Recall(saved["found"], saved["effort"])
        self.number_Qk = _map(self.path.with_suffix(".numbers"), np.int64, (queries, k))
        self.score_Qk = _map(self.path.with_suffix(".scores"), np.float32, (queries, k))

    def put(self, start: int, score_Bk: Floats, number_Bk: Ints) -> None:
        stop = start + len(score_Bk)
        self.score_Qk[start:stop], self.number_Qk[start:stop] = score_Bk, number_Bk
        self.next = stop
        if self.path is None:
            return
        for kept in (self.score_Qk, self.number_Qk):
            kept.flush()  # type: ignore[union-attr]  # the rows come before the note that they are there
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"next": stop, "found": self.recall.found, "effort": self.recall.effort}))
        part.replace(self.path)


def _map(path: Path, dtype: Any, shape: tuple[int, int]) -> Any:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size == 0:
        return np.zeros(shape, dtype)
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb") as file:
            os.truncate(file.fileno(), size)
    return np.memmap(path, dtype, "r+", shape=shape)


def _forget(folder: str | Path | None, mark: str) -> None:
    for path in Path(folder).glob(f"near-{mark}-*") if folder is not None else ():
        path.unlink()


def _blocks(vectors_ND: Vectors, start: int = 0) -> Iterator[tuple[int, Floats]]:
    for at in range(start, len(vectors_ND), BLOCK):
        yield at, np.array(vectors_ND[at : at + BLOCK], dtype=np.float32)


def _sample(vectors_ND: Vectors, most: int, seed: int) -> Floats:
    if len(vectors_ND) <= most:
        return np.array(vectors_ND, dtype=np.float32)
    chosen = np.sort(np.random.default_rng(seed).choice(len(vectors_ND), most, replace=False))
    return np.array(vectors_ND[chosen], dtype=np.float32)


def _num_lists(items: int) -> int:
    return max(1, min(int(2 * np.sqrt(items)), items // 8))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ClipcoreError("more than 200,000 items need faiss; install faiss-cpu") from None
    return faiss
