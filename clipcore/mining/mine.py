"""From embeddings to suggestions: find candidates, gather signals, propose a verdict, order the queue.

N images, M captions, S suggestions. A candidate is an image and a caption that the data set does not pair; what is
paired, decided, or crosses a split is never suggested.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipcore.mining.lexical import compare
from clipcore.mining.propose import Proposer
from clipcore.mining.topk import TopK, exact_top_k

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SIGNALS = (
    "margin",
    "rank_margin",
    "overlap",
    "caption_cosine",
    "image_cosine",
    "same_image",
    "mutual",
    "telling",
)


@dataclass(frozen=True)
class MiningOptions:
    """Names follow sentence-transformers' `mine_hard_negatives`; cosines in −1 … 1.

    `range_min`, `range_max`: places in an anchor's ranking that are looked at. `num_negatives`: candidates kept an
    anchor and direction. `relative_margin` r keeps candidates whose cosine is above (1 − r)·own.
    """

    range_min: int = 0
    range_max: int = 30
    num_negatives: int = 6
    min_score: float | None = None
    max_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None


@dataclass(frozen=True)
class Suggestions:
    """Columns [S], in queue order (largest impact first)."""

    image: Ints
    caption: Ints
    score: Floats
    probability: Floats
    impact: Floats
    uncertainty: Floats
    proposed: list[str]
    group: list[str]
    signals: dict[str, Floats] = field(repr=False)
    reasons: list[list[str]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.image)


def mine(
    image_ND: NDArray[np.floating],
    caption_MD: NDArray[np.floating],
    *,
    pairs: Sequence[tuple[int, int]],
    captions: Sequence[str],
    image_hashes: Sequence[str] = (),
    image_split: Sequence[str] = (),
    caption_split: Sequence[str] = (),
    decided: Sequence[tuple[int, int]] = (),
    proposer: Proposer | None = None,
    options: MiningOptions | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Suggestions:
    """Suggestions over places: image i is row i of `image_ND`, caption c row c of `caption_MD` (both normalised).

    `decided` candidates are left out. `proposer` turns signals into the probability of a true match; without one
    the priors decide.
    """
    options = options or MiningOptions()
    image_ND, caption_MD = np.asarray(image_ND, np.float32), np.asarray(caption_MD, np.float32)
    if len(image_ND) == 0 or len(caption_MD) == 0 or not pairs:
        return _nothing()
    top = exact_top_k(image_ND, caption_MD, k=options.range_max + 1, progress=progress)
    own_caption, own_image = _own(pairs, len(image_ND), len(caption_MD))
    own_score = _own_scores(image_ND, caption_MD, own_caption, own_image)
    found = _candidates(top, own_score, options)
    found = _allowed(found, pairs, decided, image_split, caption_split)
    if len(found) == 0:
        return _nothing()
    hashes = list(image_hashes) or [str(i) for i in range(len(image_ND))]
    signals, score, reasons = _signals(
        found, image_ND, caption_MD, own_caption, own_image, own_score, captions, hashes, top
    )
    probability = (proposer or Proposer()).probability(np.stack([signals[name] for name in SIGNALS], axis=1))
    impact = np.maximum(signals["margin"], signals["rank_margin"]) + 0.25 * np.abs(probability - 0.5)
    order = np.lexsort((found[:, 1], found[:, 0], -impact))
    pick = order
    return Suggestions(
        image=found[pick, 0],
        caption=found[pick, 1],
        score=score[pick],
        probability=probability[pick],
        impact=impact[pick],
        uncertainty=1 - 2 * np.abs(probability[pick] - 0.5),
        proposed=["match" if p >= 0.5 else "no_match" for p in probability[pick]],
        group=[f"{hashes[i]}:{captions[c].casefold()}"[:64] for i, c in found[pick]],
        signals={name: values[pick] for name, values in signals.items()},
        reasons=[reasons[i] for i in pick],
    )


def _nothing() -> Suggestions:
    none_i, none_f = np.zeros(0, np.int64), np.zeros(0)
    return Suggestions(
        none_i, none_i, none_f, none_f, none_f, none_f, [], [], {name: none_f for name in SIGNALS}, []
    )


def _own(pairs: Sequence[tuple[int, int]], n: int, m: int) -> tuple[list[list[int]], list[list[int]]]:
    captions: list[list[int]] = [[] for _ in range(n)]
    images: list[list[int]] = [[] for _ in range(m)]
    for image, caption in pairs:
        captions[image].append(caption)
        images[caption].append(image)
    return captions, images


def _own_scores(image_ND, caption_MD, own_caption, own_image) -> tuple[Floats, Floats]:  # type: ignore[no-untyped-def]
    """Each image's and each caption's best cosine with a partner of its own; nan where it has none."""
    by_image = [
        max((float(image_ND[i] @ caption_MD[c]) for c in own), default=np.nan)
        for i, own in enumerate(own_caption)
    ]
    by_caption = [
        max((float(image_ND[i] @ caption_MD[c]) for i in own), default=np.nan)
        for c, own in enumerate(own_image)
    ]
    return np.array(by_image), np.array(by_caption)


def _candidates(top, own_score: tuple[Floats, Floats], options: MiningOptions) -> Ints:  # type: ignore[no-untyped-def]
    """(image, caption) rows, unique and sorted, the best `num_negatives` of each anchor that pass the options."""
    rows = []
    for at, scores, own, swap in (
        (top.caption_Nk, top.caption_score_Nk, own_score[0], False),
        (top.image_Mk, top.image_score_Mk, own_score[1], True),
    ):
        keep = np.ones(at.shape, dtype=bool)
        keep[:, : options.range_min] = False
        if options.min_score is not None:
            keep &= scores >= options.min_score
        if options.max_score is not None:
            keep &= scores <= options.max_score
        with np.errstate(invalid="ignore"):
            if options.absolute_margin is not None:
                keep &= scores >= own[:, None] - options.absolute_margin
            if options.relative_margin is not None:
                keep &= scores >= (1 - options.relative_margin) * own[:, None]
        keep &= (
            np.cumsum(keep, axis=1) <= options.num_negatives + 1
        )  # one more: the partner itself is among them
        anchor = np.repeat(np.arange(len(at)), keep.sum(axis=1))
        other = at[keep]
        rows.append(np.stack((other, anchor) if swap else (anchor, other), axis=1))
    return np.unique(np.concatenate(rows), axis=0)


def _allowed(found, pairs, decided, image_split, caption_split) -> Ints:  # type: ignore[no-untyped-def]
    closed = {tuple(p) for p in pairs} | {tuple(d) for d in decided}
    keep = np.array([(int(i), int(c)) not in closed for i, c in found], dtype=bool)
    if len(image_split) and len(caption_split):
        keep &= np.array([image_split[i] == caption_split[c] for i, c in found], dtype=bool)
    return found[keep]


def _signals(
    found: Ints,
    image_ND: NDArray[np.float32],
    caption_MD: NDArray[np.float32],
    own_caption: list[list[int]],
    own_image: list[list[int]],
    own_score: tuple[Floats, Floats],
    captions: Sequence[str],
    hashes: Sequence[str],
    top: TopK,
) -> tuple[dict[str, Floats], Floats, list[list[str]]]:
    """Signals by name [S], the cosine [S], and reasons as short sentences."""
    i, c = found[:, 0], found[:, 1]
    score = np.einsum("sd,sd->s", image_ND[i], caption_MD[c]).astype(np.float64)
    margin = np.nan_to_num(score - own_score[0][i])
    rank_margin = np.nan_to_num(score - own_score[1][c])
    near_c = {(a, int(b)) for a, row in enumerate(top.caption_Nk[:, :3]) for b in row}
    near_i = {(int(a), b) for b, row in enumerate(top.image_Mk[:, :3]) for a in row}
    columns = {name: np.zeros(len(found)) for name in SIGNALS}
    columns["margin"], columns["rank_margin"] = margin, rank_margin
    reasons: list[list[str]] = []
    for s, (image, caption) in enumerate(found.tolist()):
        others = own_caption[image]
        images = own_image[caption]
        told = [compare(captions[o], captions[caption]) for o in others]
        best = max(told, key=lambda d: d.overlap, default=None)
        columns["overlap"][s] = best.overlap if best else 0.0
        columns["telling"][s] = float(best.colour_or_number) if best else 0.0
        columns["caption_cosine"][s] = max(
            (float(caption_MD[o] @ caption_MD[caption]) for o in others), default=0.0
        )
        columns["image_cosine"][s] = max((float(image_ND[o] @ image_ND[image]) for o in images), default=0.0)
        columns["same_image"][s] = float(any(hashes[o] == hashes[image] for o in images))
        columns["mutual"][s] = float((image, caption) in near_c and (image, caption) in near_i)
        reasons.append(_reasons({k: float(v[s]) for k, v in columns.items()}, best))
    return columns, score, reasons


def _reasons(signals, best) -> list[str]:  # type: ignore[no-untyped-def]
    found = []
    if signals["same_image"]:
        found.append("the caption's own image has the same bytes")
    if signals["margin"] > 0:
        found.append("the model ranks it above the image's own caption")
    if best is not None and best.overlap > 0.5 and (best.only_first or best.only_second):
        left, right = " ".join(best.only_first) or "nothing", " ".join(best.only_second) or "nothing"
        found.append(f"differs in {left} / {right}")
    if signals["mutual"] and not found:
        found.append("image and caption are each other's nearest")
    return found
