"""The sweep on another device than the CPU, in torch: the running k best of each anchor, tile by tile.

Legend: A anchors, P images of a tile, T captions of a tile, D embedding, k kept. Only what beats an anchor's running k-th score
is gathered. Ties go to the smaller number.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


class DeviceSweep:
    """Both directions' k best of tiles that come in rising order, panel by panel."""

    def __init__(self, images: int, captions: int, k: int, device: str) -> None:
        self.device = device
        self.rows = _Best(images, min(k, captions), device)
        self.columns = _Best(captions, min(k, images), device)

    def tile(
        self, image_PD: NDArray[np.float32], caption_TD: NDArray[np.float32], *, top: int, left: int
    ) -> None:
        """Multiplies a tile once and offers it to its images and its captions."""
        score_PT = self._put(image_PD) @ self._put(caption_TD).T
        self.rows.offer(score_PT, at=top, numbers_from=left)
        self.columns.offer(score_PT, at=left, numbers_from=top, transposed=True)

    def end_panel(self, top: int) -> None:
        """Nothing waits here."""

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Numbers and scores of the rows, then of the columns, best first."""
        return (*self.rows.arrays(), *self.columns.arrays())

    def restore(self, *arrays: NDArray[np.generic]) -> None:
        """Goes on from what `arrays` gave."""
        import torch

        own = (self.rows.number_Ak, self.rows.score_Ak, self.columns.number_Ak, self.columns.score_Ak)
        for tensor, array in zip(own, arrays, strict=True):
            tensor.copy_(torch.from_numpy(array))

    def close(self) -> None:
        """Nothing to let go."""

    def _put(self, vectors: NDArray[np.float32]) -> "Tensor":
        import torch

        return torch.from_numpy(np.array(vectors)).to(self.device)


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
