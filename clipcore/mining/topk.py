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
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipcore.errors import ClipcoreError

if TYPE_CHECKING:
    from torch import Tensor

PANEL, TILE = 2048, 8192  # 64 MiB of float32 a tile; larger tiles were no faster on two cores
SAVE_EVERY_S = 30.0


class Stopped(ClipcoreError):
    """The search was asked to stop; with a `resume_folder` the same call goes on where it was."""


@dataclass(frozen=True)
class TopK:
    """The best captions of each image [N, k] and the best images of each caption [M, k], best first, with cosines."""

    caption_Nk: NDArray[np.int64]
    caption_score_Nk: NDArray[np.float32]
    image_Mk: NDArray[np.int64]
    image_score_Mk: NDArray[np.float32]


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
    rows, columns = _Best(n, min(k, m), device), _Best(m, min(k, n), device)
    state = _State(resume_folder, fingerprint(image_ND, caption_MD, k, panel, tile))
    first = state.load(rows, columns)
    tiles = -(-m // tile)
    with torch.inference_mode():
        for top in range(first, n, panel):
            if stop():
                state.save(top, rows, columns)
                raise Stopped(
                    f"stopped at image {top} of {n}; call again with the same resume_folder to go on"
                )
            state.save_if_due(top, rows, columns)
            image_PD = _panel(image_ND, top, panel, device)
            for left in range(0, m, tile):
                score_PT = image_PD @ _panel(caption_MD, left, tile, device).T
                rows.offer(score_PT, at=top, numbers_from=left)
                columns.offer(score_PT, at=left, numbers_from=top, transposed=True)
                progress(top // panel * tiles + left // tile + 1, -(-n // panel) * tiles)
    state.forget()
    return TopK(*rows.arrays(), *columns.arrays())


class _Best:
    """The running k best of each anchor: scores [A, k] falling, numbers [A, k]; anchors see numbers in rising order."""

    def __init__(self, anchors: int, k: int, device: str) -> None:
        import torch

        self.k = k
        self.score_Ak = torch.full((anchors, k), -torch.inf, device=device)
        self.number_Ak = torch.zeros((anchors, k), dtype=torch.long, device=device)

    def offer(self, score_PT: "Tensor", *, at: int, numbers_from: int, transposed: bool = False) -> None:
        """Takes what a tile has for the anchors from `at` on; its other side's numbers begin at `numbers_from`."""
        anchors, numbers = score_PT.shape[::-1] if transposed else score_PT.shape
        mine = slice(at, at + anchors)
        if numbers_from == 0 and numbers >= self.k:
            score, number = _first_best(score_PT.T if transposed else score_PT, self.k)
        else:
            new = _above(score_PT, self.score_Ak[mine, -1], transposed)
            if new is None:
                return
            score, number = _merge(self.score_Ak[mine], self.number_Ak[mine], *new, numbers_from)
        self.score_Ak[mine], self.number_Ak[mine] = score, number

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return self.number_Ak.cpu().numpy(), self.score_Ak.cpu().numpy()


def _above(score_PT: "Tensor", floor_A: "Tensor", transposed: bool) -> "tuple[Tensor, Tensor, Tensor] | None":
    """(anchor, number, score) of the tile's entries above their anchor's floor, by anchor and then by number."""
    import torch

    over = score_PT > (floor_A[None, :] if transposed else floor_A[:, None])
    if over.shape[1] % 8 == 0:  # eight flags are one int64: an eighth of the places to look at
        row, eight = over.view(torch.int64).nonzero(as_tuple=True)
        flag = over.view(*over.shape[:1], -1, 8)[row, eight].nonzero(as_tuple=True)
        row, column = row[flag[0]], eight[flag[0]] * 8 + flag[1]
    else:
        row, column = over.nonzero(as_tuple=True)
    if len(row) == 0:
        return None
    score = score_PT[row, column]
    if not transposed:
        return row, column, score
    by_column = column.argsort(stable=True)
    return column[by_column], row[by_column], score[by_column]


def _merge(
    score_Ak: "Tensor", number_Ak: "Tensor", anchor: "Tensor", number: "Tensor", score: "Tensor", start: int
) -> tuple["Tensor", "Tensor"]:
    """The k best of the kept and the new; the kept have the smaller numbers, so a stable sort settles ties."""
    import torch

    k = score_Ak.shape[1]
    count_A = torch.bincount(anchor, minlength=len(score_Ak))
    place = k + torch.arange(len(anchor), device=anchor.device) - (count_A.cumsum(0) - count_A)[anchor]
    wide = k + int(count_A.max())
    all_score = torch.full((len(score_Ak), wide), -torch.inf, device=score.device)
    all_number = torch.zeros((len(score_Ak), wide), dtype=torch.long, device=score.device)
    all_score[:, :k], all_number[:, :k] = score_Ak, number_Ak
    all_score[anchor, place], all_number[anchor, place] = score, number + start
    best = all_score.argsort(dim=1, descending=True, stable=True)[:, :k]
    return all_score.gather(1, best), all_number.gather(1, best)


def _first_best(score_AT: "Tensor", k: int):  # type: ignore[no-untyped-def]
    """top-k of a whole tile with ties by number, which torch.topk leaves open: rows tied at the k-th are sorted whole."""
    score, number = score_AT.topk(min(k + 1, score_AT.shape[1]), dim=1)
    tied = (score[:, k - 1] == score[:, -1]).nonzero()[:, 0] if score.shape[1] > k else number.new_zeros(0)
    score, number = score[:, :k], number[:, :k]
    number, by_number = number.sort(dim=1)
    score, best = score.gather(1, by_number).sort(dim=1, descending=True, stable=True)
    number = number.gather(1, best)
    for some in tied.split(256):
        whole, at = score_AT[some].sort(dim=1, descending=True, stable=True)
        score[some], number[some] = whole[:, :k], at[:, :k]
    return score, number


def _panel(vectors: NDArray[np.floating], start: int, size: int, device: str) -> "Tensor":
    import torch

    return torch.from_numpy(np.array(vectors[start : start + size])).to(device).float()


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

    def load(self, rows: _Best, columns: _Best) -> int:
        """The first image that is still to do."""
        import torch

        if self.path is None or not self.path.exists():
            return 0
        with np.load(self.path) as saved:
            if str(saved["fingerprint"]) != self.fingerprint:
                raise ClipcoreError(f"{self.path} belongs to another search; choose an empty resume_folder")
            for best, name in ((rows, "rows"), (columns, "columns")):
                best.score_Ak.copy_(torch.from_numpy(saved[f"{name}_score"]))
                best.number_Ak.copy_(torch.from_numpy(saved[f"{name}_number"]))
            return int(saved["next"])

    def save_if_due(self, following: int, rows: _Best, columns: _Best) -> None:
        if time.monotonic() - self.saved_s > SAVE_EVERY_S:
            self.save(following, rows, columns)

    def save(self, following: int, rows: _Best, columns: _Best) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        (row_number, row_score), (column_number, column_score) = rows.arrays(), columns.arrays()
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(
                file, fingerprint=self.fingerprint, next=following, rows_score=row_score, rows_number=row_number,
                columns_score=column_score, columns_number=column_number,
            )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)
        self.saved_s = time.monotonic()

    def forget(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
