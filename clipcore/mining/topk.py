"""Exact top-k in both directions from one sweep over tiles of the similarity matrix, never the matrix itself.

Legend: N images, M captions, D embedding, P rows of a panel, T columns of a tile, k kept. A tile is multiplied once and
serves its rows and its columns. Only what beats an anchor's running k-th score is gathered; after the first tile that
is k·T/seen numbers a row, so that the time is the matrix product's. Ties go to the smaller number.
"""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipcore.errors import ClipcoreError
from clipcore.mining.topk_cpu import CpuSweep
from clipcore.mining.topk_device import DeviceSweep

PANEL, TILE = 1024, 4096  # 16 MiB of float32 a tile; larger tiles were no faster on two cores
SAVE_EVERY_S = 30.0
ARRAYS = ("rows_number", "rows_score", "columns_number", "columns_score")


class Stopped(ClipcoreError):
    """The search was asked to stop; with a `resume_folder` the same call goes on where it was."""


@dataclass(frozen=True)
class TopK:
    """The best captions of each image [N, k] and the best images of each caption [M, k], best first, with cosines."""

    caption_Nk: NDArray[np.int64]
    caption_score_Nk: NDArray[np.float32]
    image_Mk: NDArray[np.int64]
    image_score_Mk: NDArray[np.float32]

    @property
    def num_kept(self) -> tuple[int, int]:
        """Captions an image, images a caption."""
        return self.caption_Nk.shape[1], self.image_Mk.shape[1]


def exact_top_k(
    image_ND: NDArray[np.floating],
    caption_MD: NDArray[np.floating],
    *,
    k: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
    resume_folder: str | Path | None = None,
    panel: int = PANEL,
    tile: int = TILE,
) -> TopK:
    """Both directions' k nearest by inner product; k is cut to what there is. float16 memory maps are read by panel.

    Memory: one tile, one panel and the results. `progress(done, total)` counts tiles. With `resume_folder` the state
    is saved about every 30 s and on `stop`; the finished search equals an uninterrupted one, row for row.
    Raises `Stopped`, and `ClipcoreError` for widths that differ or a folder of another search.
    """
    import torch

    check_vectors(image_ND, caption_MD, k)
    n, m = len(image_ND), len(caption_MD)
    sweep = CpuSweep(n, m, k) if device == "cpu" else DeviceSweep(n, m, k, device)
    state = _State(resume_folder, fingerprint(image_ND, caption_MD, k, panel, tile))
    first = state.load(sweep)
    tiles = -(-m // tile)
    try:
        with torch.inference_mode():
            for top in range(first, n, panel):
                if stop():
                    state.save(top, sweep)
                    raise Stopped(
                        f"stopped at image {top} of {n}; call again with the same resume_folder to go on"
                    )
                state.save_if_due(top, sweep)
                image_PD = _block(image_ND, top, panel)
                for left in range(0, m, tile):
                    sweep.tile(image_PD, _block(caption_MD, left, tile), top=top, left=left)
                    progress(top // panel * tiles + left // tile + 1, -(-n // panel) * tiles)
                sweep.end_panel(top)
            found = TopK(*sweep.arrays())
    finally:
        sweep.close()
    state.forget()
    return found


def extend_top_k(
    earlier: TopK,
    image_ND: NDArray[np.floating],
    caption_MD: NDArray[np.floating],
    *,
    k: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> TopK:
    """The search after items were added at the end: only products with a new image or a new caption are taken.

    `earlier` is the answer for the first images and captions; equals `exact_top_k` of everything where `earlier` was
    exact. `progress` counts rows of products. Raises `Stopped`, and `ClipcoreError` where `earlier` kept fewer than k.
    """
    check_vectors(image_ND, caption_MD, k)
    n, m = len(image_ND), len(caption_MD)
    old_n, old_m = len(earlier.caption_Nk), len(earlier.image_Mk)
    if (
        old_n > n
        or old_m > m
        or any(a < b for a, b in zip(earlier.num_kept, (min(k, old_m), min(k, old_n)), strict=True))
    ):
        raise ClipcoreError(f"the earlier search has other items or fewer than {k} neighbours; search anew")
    sweep = CpuSweep(n, m, k) if device == "cpu" else DeviceSweep(n, m, k, device)
    sweep.restore(
        *_padded(earlier.caption_Nk, earlier.caption_score_Nk, n, min(k, m)),
        *_padded(earlier.image_Mk, earlier.image_score_Mk, m, min(k, n)),
    )
    new = range(old_m, m, TILE)
    try:
        for top in (*range(0, old_n, PANEL), *range(old_n, n, PANEL)):
            if stop():
                raise Stopped(f"stopped at image {top} of {n}")
            end = min(top + PANEL, old_n if top < old_n else n)
            image_PD = _block(image_ND, top, end - top)
            for left in new if top < old_n else (*range(0, old_m, TILE), *new):
                width = min(TILE, (old_m if left < old_m else m) - left)
                sweep.tile(image_PD, _block(caption_MD, left, width), top=top, left=left)
            sweep.end_panel(top)
            progress(end, n)
        return TopK(*sweep.arrays())
    finally:
        sweep.close()


def _padded(
    number_Ak: NDArray[np.int64], score_Ak: NDArray[np.float32], anchors: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    number, score = np.zeros((anchors, k), np.int64), np.full((anchors, k), -np.inf, np.float32)
    width = min(k, number_Ak.shape[1])
    number[: len(number_Ak), :width] = number_Ak[:, :width]
    score[: len(score_Ak), :width] = score_Ak[:, :width]
    return number, score


def _block(vectors: NDArray[np.floating], start: int, size: int) -> NDArray[np.float32]:
    """Rows as float32; not a copy where they are that already."""
    return np.ascontiguousarray(vectors[start : start + size], dtype=np.float32)


def check_vectors(image_ND: NDArray[np.floating], caption_MD: NDArray[np.floating], k: int) -> None:
    """Raises `ClipcoreError` unless both are matrices of one width and k is at least 1."""
    if image_ND.ndim != 2 or caption_MD.ndim != 2 or image_ND.shape[1] != caption_MD.shape[1]:
        raise ClipcoreError(
            f"images {image_ND.shape} and captions {caption_MD.shape} must be matrices of one width;"
            " embed both with the same model"
        )
    if k < 1:
        raise ClipcoreError(f"k must be at least 1, found {k}")


def fingerprint(image_ND: NDArray[np.floating], caption_MD: NDArray[np.floating], *numbers: int) -> str:
    """What a resumed search must share with the one before: shapes, numbers, and a thousand rows of each side."""
    digest = hashlib.sha256(repr((image_ND.shape, caption_MD.shape, *numbers)).encode())
    for vectors in (image_ND, caption_MD):
        some = np.linspace(0, max(len(vectors) - 1, 0), min(len(vectors), 1000)).astype(int)
        digest.update(np.ascontiguousarray(vectors[some]).tobytes())
    return digest.hexdigest()


class _State:
    """What a search needs in order to go on: one file, replaced atomically."""

    def __init__(self, folder: str | Path | None, fingerprint: str) -> None:
        self.path = Path(folder) / "top_k.npz" if folder is not None else None
        self.fingerprint, self.saved_s = fingerprint, time.monotonic()

    def load(self, sweep: "CpuSweep | DeviceSweep") -> int:
        """The first image that is still to do."""
        if self.path is None or not self.path.exists():
            return 0
        with np.load(self.path) as saved:
            if str(saved["fingerprint"]) != self.fingerprint:
                raise ClipcoreError(f"{self.path} belongs to another search; choose an empty resume_folder")
            sweep.restore(*(saved[name] for name in ARRAYS))
            return int(saved["next"])

    def save_if_due(self, following: int, sweep: "CpuSweep | DeviceSweep") -> None:
        if self.path is not None and time.monotonic() - self.saved_s > SAVE_EVERY_S:
            self.save(following, sweep)

    def save(self, following: int, sweep: "CpuSweep | DeviceSweep") -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            arrays = dict(zip(ARRAYS, sweep.arrays(), strict=True))
            np.savez(file, fingerprint=self.fingerprint, next=following, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)
        self.saved_s = time.monotonic()

    def forget(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
