"""Who is near whom: captions and images of each other, images of images, captions of captions. What mining looks at first.

N images, M captions, k kept across, n kept within. Exact up to 200,000 items a side, by faiss beyond; what an earlier search
found is extended by the items that were added since, exactly, at the price of the new products only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipcore.mining.approximate import approximate_top_k
from clipcore.mining.topk import TopK, exact_top_k, extend_top_k
from clipcore.mining.topk import fingerprint as mark_of

Vectors = NDArray[np.floating]
EXACT_UP_TO = 200_000  # items a side; beyond, faiss
WITHIN = 11  # neighbours within a modality, the item itself among them
NAMES = ("across", "images", "captions")


@dataclass(frozen=True)
class Neighbours:
    """`across` both directions; `images` and `captions`: each item's nearest of its own kind, itself among them."""

    across: TopK
    images: TopK
    captions: TopK


def find_neighbours(
    image_ND: Vectors,
    caption_MD: Vectors,
    *,
    k: int,
    earlier: Neighbours | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
    resume_folder: str | Path | None = None,
) -> Neighbours:
    """The k nearest across and the `WITHIN` nearest within. `progress` counts million products of vectors.

    `earlier`: the neighbours of the first images and captions, with the same vectors. With `resume_folder` the same
    call goes on where it was stopped or killed. Raises `Stopped`, `ClipcoreError`.
    """
    sides = ((image_ND, caption_MD, k), (image_ND, image_ND, WITHIN), (caption_MD, caption_MD, WITHIN))
    work = [max(len(a) * len(b), 1) for a, b, _ in sides]
    found: list[TopK] = []
    for turn, (a, b, num) in enumerate(sides):

        def told(done: int, total: int, turn: int = turn) -> None:
            share = sum(work[:turn]) + work[turn] * done / max(total, 1)
            progress(round(share / 1e6), round(sum(work) / 1e6))

        folder = Path(resume_folder) / NAMES[turn] if resume_folder is not None else None
        before = getattr(earlier, NAMES[turn]) if earlier is not None else None
        found.append(_search(a, b, num, before, told, stop, folder))
    return Neighbours(*found)


def _search(a, b, k, earlier, progress, stop, folder) -> TopK:  # type: ignore[no-untyped-def]
    """One search; a finished one is kept in its folder, so that a kill in the next does not cost it."""
    done = folder / "found.npz" if folder is not None else None
    mark = mark_of(a, b, k)
    if done is not None and done.exists():
        with np.load(done) as kept:
            if str(kept["mark"]) == mark:
                return TopK(*(kept[name] for name in TopK.__dataclass_fields__))
    if earlier is not None:
        top = extend_top_k(earlier, a, b, k=k, progress=progress, stop=stop)
    elif max(len(a), len(b)) <= EXACT_UP_TO:
        top = exact_top_k(a, b, k=k, progress=progress, stop=stop, resume_folder=folder)
    else:
        top, _ = approximate_top_k(a, b, k=k, progress=progress, stop=stop, resume_folder=folder)
    if done is not None:
        done.parent.mkdir(parents=True, exist_ok=True)
        part = done.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, mark=mark, **{name: getattr(top, name) for name in TopK.__dataclass_fields__})
        part.replace(done)
    return top
