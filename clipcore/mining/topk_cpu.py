"""The exact sweep on the CPU: numpy's product (OpenBLAS: 97 GFLOP/s a core where torch's had 73) and the running bests.

Legend: A anchors, P images of a tile, T captions of a tile, D embedding, k kept, H hits. What beats its anchor's k-th score so
far is a *hit*; hits are kept as they come and merged when an anchor has seen a quarter more than at the last merge, which
costs a few hits more and far fewer merges. A hit is one number, its *key*: the score's bits above, the item's number
complemented below; so the largest keys are the best scores, and equal scores go to the smaller number.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Keys = NDArray[np.int64]
Hits = tuple[NDArray[np.intp], Keys]
NOTHING = np.iinfo(np.int64).min
LOW = 0xFFFFFFFF
GROWTH = 1.25


class CpuSweep:
    """Both directions' k best of tiles that come in rising order, panel by panel."""

    def __init__(self, images: int, captions: int, k: int) -> None:
        import torch

        self.rows, self.columns = Best(images, min(k, captions)), Best(captions, min(k, images))
        self.threads = max(1, torch.get_num_threads())  # what OMP_NUM_THREADS or the caller allows
        self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix="top-k")
        self.score = np.zeros(0, np.float32)  # reused: fresh pages cost as much as a comparison

    def tile(self, image_PD: Floats, caption_TD: Floats, *, top: int, left: int) -> None:
        """Multiplies a tile once and offers it to its images and its captions."""
        size = len(image_PD) * len(caption_TD)
        if len(self.score) < size:
            self.score = np.empty(size, np.float32)
        score_PT = self.score[:size].reshape(len(image_PD), len(caption_TD))
        np.matmul(image_PD, caption_TD.T, out=score_PT)
        self.rows.offer(score_PT, at=top, first=left, map=self._map)
        self.columns.offer(score_PT.T, at=left, first=top, map=self._map)

    def end_panel(self, top: int) -> None:
        """The images from `top` on have seen all captions."""
        self.rows.merge(top, self._map)

    def arrays(self) -> tuple[Keys, Floats, Keys, Floats]:
        """Numbers and scores of the rows, then of the columns, best first."""
        return (*self.rows.arrays(self._map), *self.columns.arrays(self._map))

    def restore(self, row_number: Keys, row_score: Floats, column_number: Keys, column_score: Floats) -> None:
        """Goes on from what `arrays` gave."""
        self.rows.key_Ak = keys(row_score, row_number)
        self.columns.key_Ak = keys(column_score, column_number)

    def close(self) -> None:
        """Lets the threads go."""
        self.pool.shutdown()

    def _map(self, work: Callable[[int, int], object], num: int) -> list:  # type: ignore[type-arg]
        """work(start, stop) over `num` places, a share a thread."""
        bounds = np.linspace(0, num, self.threads + 1).astype(int).tolist()
        return list(self.pool.map(work, bounds[:-1], bounds[1:]))


class Best:
    """The k best of each anchor as keys [A, k], largest first once `arrays` was called; anchors see numbers in rising order."""

    def __init__(self, anchors: int, k: int) -> None:
        self.k = k
        self.key_Ak = np.full((anchors, k), NOTHING, np.int64)
        self.waiting: dict[int, list[Hits]] = {}  # hits of the anchors from a place on
        self.size: dict[int, int] = {}  # how many anchors that are
        self.merged: dict[int, int] = {}  # how many numbers they had seen at their last merge

    def offer(self, score_AX: Floats, *, at: int, first: int, map: Callable) -> None:  # type: ignore[type-arg]
        """Takes what a tile has for the anchors from `at` on; its X numbers begin at `first`."""
        anchors, numbers = score_AX.shape
        self.size[at] = anchors
        self.merged.setdefault(at, first)
        start = 0
        while start < numbers:
            # an anchor that has seen little learns its floor from little first: chunks double
            stop = min(numbers, start + max(4 * self.k, first + start))
            self.waiting.setdefault(at, []).extend(
                self._hits(score_AX[:, start:stop], at, first + start, map)
            )
            if first + stop >= GROWTH * self.merged[at]:
                self.merge(at, map)
                self.merged[at] = first + stop
            start = stop

    def _hits(self, score_AX: Floats, at: int, first: int, map: Callable) -> list[Hits]:  # type: ignore[type-arg]
        """(anchor from `at` on, key) of what beats the floors."""
        import torch

        floor_A = scores(self.key_Ak[at : at + len(score_AX), -1])
        lines = score_AX if score_AX.flags.c_contiguous or score_AX.strides[1] == 4 else score_AX.T
        by_anchor = lines is score_AX

        def some(start: int, stop: int) -> Hits:
            part = lines[start:stop]
            floor = floor_A[start:stop, None] if by_anchor else floor_A[None, :]
            width = -(-part.shape[1] // 8) * 8
            over = (
                np.zeros((len(part), width), bool) if width != part.shape[1] else np.empty(part.shape, bool)
            )
            np.greater(part, floor, out=over[:, : part.shape[1]])
            # eight flags are one int64: an eighth of the places to look at
            line, eight = torch.from_numpy(over.view(np.int64)).nonzero(as_tuple=True)
            flag, bit = over.reshape(len(part), width // 8, 8)[line.numpy(), eight.numpy()].nonzero()
            line_H = line.numpy()[flag]
            place_H = eight.numpy()[flag] * 8 + bit
            score_H = part[line_H, place_H]
            line_H = line_H + start
            anchor_H, number_H = (line_H, place_H) if by_anchor else (place_H, line_H)
            return anchor_H, keys(score_H, number_H + first)

        return list(map(some, len(lines)))

    def merge(self, at: int, map: Callable) -> None:  # type: ignore[type-arg]
        """The k best of the kept and the waiting."""
        waiting = [hits for hits in self.waiting.pop(at, []) if len(hits[0])]
        if not waiting:
            return
        anchor_H, key_H = (np.concatenate([hits[side] for hits in waiting]) for side in (0, 1))
        size = self.size[at]
        order = np.argsort(anchor_H.astype(np.uint16) if size <= 65_536 else anchor_H, kind="stable")  # radix
        count_A = np.bincount(anchor_H, minlength=size)
        if count_A.max() > 4 * self.k:  # a few anchors with many hits must not widen all rows
            order = np.lexsort((-key_H, anchor_H))
        anchor_H, key_H = anchor_H[order], key_H[order]
        place_H = np.arange(len(anchor_H)) - (np.cumsum(count_A) - count_A)[anchor_H]
        if count_A.max() > 4 * self.k:
            keep = place_H < self.k
            anchor_H, key_H, place_H = anchor_H[keep], key_H[keep], place_H[keep]
        wide = np.full((size, self.k + int(place_H.max()) + 1), NOTHING, np.int64)
        wide[:, : self.k] = self.key_Ak[at : at + size]
        wide[anchor_H, self.k + place_H] = key_H

        def some(start: int, stop: int) -> None:
            part = wide[start:stop]
            cut = part.shape[1] - self.k
            part.partition(cut, axis=1)  # the k-th largest, and after it all larger ones
            self.key_Ak[at + start : at + stop] = part[:, : cut - 1 : -1]

        map(some, size)

    def arrays(self, map: Callable) -> tuple[Keys, Floats]:  # type: ignore[type-arg]
        """(numbers [A, k], scores [A, k]), best first."""
        for at in list(self.waiting):
            self.merge(at, map)
        self.key_Ak = np.ascontiguousarray(np.sort(self.key_Ak, axis=1)[:, ::-1])
        return LOW - (self.key_Ak & LOW), scores(self.key_Ak)


def keys(score: Floats, number: NDArray[np.integer]) -> Keys:
    """One int64 a hit: larger is better, and of equal scores the smaller number is larger."""
    bits = (score + np.float32(0)).view(np.int32)  # −0 becomes 0
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as a whole number that rises with the score
    return (rising.astype(np.int64) << 32) | (LOW - number)


def scores(key: Keys) -> Floats:
    """The scores of keys; −inf where there is nothing."""
    rising = (key >> 32).astype(np.int32)
    found = (rising ^ ((rising >> 31) & 0x7FFFFFFF)).view(np.float32)
    return np.where(key == NOTHING, np.float32(-np.inf), found)
