"""Exact top-k in both directions from one sweep over blocks of the similarity matrix, never the matrix itself.

N images, M captions, D embedding, B block. Each block is multiplied once and used for rows and columns; what cannot
enter a row's (or column's) best k is not looked at again. Ties go to the smaller number.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 2048


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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TopK:
    """Both directions' k nearest by inner product; k is cut to what there is. Memory: one block and the results."""
    import torch

    n, m = len(image_ND), len(caption_MD)
    k_row, k_col = min(k, m), min(k, n)
    col_best = torch.full((m, 0), 0.0), torch.zeros((m, 0), dtype=torch.long)
    row_score, row_at = torch.zeros((n, k_row)), torch.zeros((n, k_row), dtype=torch.long)
    blocks = -(-n // BLOCK) * -(-m // BLOCK)
    done = 0
    for top in range(0, n, BLOCK):
        image = torch.from_numpy(np.asarray(image_ND[top : top + BLOCK], dtype=np.float32))
        best = torch.zeros((len(image), 0)), torch.zeros((len(image), 0), dtype=torch.long)
        new_cols = []
        for left in range(0, m, BLOCK):
            caption = torch.from_numpy(np.asarray(caption_MD[left : left + BLOCK], dtype=np.float32))
            block = image @ caption.T
            best = _merge(best, block, left, k_row)
            old = col_best[0][left : left + BLOCK], col_best[1][left : left + BLOCK]
            new_cols.append(_merge(old, block.T, top, k_col))
            done += 1
            progress(done, blocks)
        col_best = torch.cat([s for s, _ in new_cols]), torch.cat([i for _, i in new_cols])
        row_score[top : top + BLOCK], row_at[top : top + BLOCK] = best
    return TopK(row_at.numpy(), row_score.numpy(), col_best[1].numpy(), col_best[0].numpy())


def _merge(best, block, offset, k):  # type: ignore[no-untyped-def]
    """The k best of what was kept and a new block, equal scores by smaller number."""
    import torch

    score, at = block.topk(min(k, block.shape[1]), dim=1)
    score, at = torch.cat((best[0], score), 1), torch.cat((best[1], at + offset), 1)
    by_number = at.argsort(dim=1, stable=True)
    score, at = score.gather(1, by_number), at.gather(1, by_number)
    order = score.argsort(dim=1, descending=True, stable=True)[:, :k]
    return score.gather(1, order), at.gather(1, order)
