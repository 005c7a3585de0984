"""From embeddings to suggestions: find candidates, gather signals, propose a verdict, order the queue.

N images, M captions, S suggestions, P pairs, V verdicts, F signals. A candidate is an image and a caption that the data set
does not pair; what is paired, decided, or crosses a split is never suggested (broken pairs, which are pairs, aside).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipcore.errors import ClipcoreError
from clipcore.mining.broken import broken_probability
from clipcore.mining.calibrate import Quality, components, cross_validated, quality
from clipcore.mining.duplicates import Bytes, caption_groups, group_key, image_groups
from clipcore.mining.languages import lexicons_of
from clipcore.mining.lexical import CaptionWords
from clipcore.mining.neighbours import Neighbours, find_neighbours
from clipcore.mining.propose import Proposer
from clipcore.mining.rates import Rate, Stratum, false_negative_rate
from clipcore.mining.signals import SIGNALS, Items, gather, reasons
from clipcore.mining.topk import TopK

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Known = Sequence[tuple[int, int, bool]]  # image, caption, whether it matches
DISPUTED = 0.9  # the calibrated probability of the contrary from which a verdict is asked again
RANDOM_RATE = 2_000  # random candidates behind the rate outside the mined ones


@dataclass(frozen=True)
class MiningOptions:
    """Names and meaning follow sentence-transformers' `mine_hard_negatives`; cosines in −1 … 1.

    `range_min`, `range_max`: places in an anchor's ranking, its partners left out, that are looked at.
    `num_negatives`: candidates kept an anchor and direction, the `top` ones or `random` ones (`sampling_strategy`).
    `max_score`, `min_score` bound the cosine. `absolute_margin`, `relative_margin` leave out what is within the margin of
    the anchor's least similar partner or above it: for certain negatives, at the price of the false negatives.
    `num_neighbours`: captions of so many nearest images, and images of so many nearest captions, are candidates too.
    """

    range_min: int = 0
    range_max: int = 30
    num_negatives: int = 6
    sampling_strategy: Literal["top", "random"] = "top"
    min_score: float | None = None
    max_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    num_neighbours: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.range_min < self.range_max:
            raise ClipcoreError(f"range {self.range_min} … {self.range_max} is empty; raise range_max")
        if not 1 <= self.num_negatives <= self.range_max - self.range_min:
            raise ClipcoreError(
                f"num_negatives is {self.num_negatives}; give 1 … {self.range_max - self.range_min}, the range's width"
            )
        if self.sampling_strategy not in ("top", "random"):
            raise ClipcoreError(f"sampling_strategy is {self.sampling_strategy!r}; use top or random")


@dataclass(frozen=True)
class Suggestions:
    """Columns [S], largest impact first, then what belongs to the whole: quality, rate, disputed verdicts."""

    image: Ints
    caption: Ints
    score: Floats
    probability: Floats  # that the caption truly describes the image
    impact: Floats
    uncertainty: Floats
    proposed: list[str]
    group: list[str]
    signals: dict[str, Floats] = field(repr=False)
    reasons: list[list[str]] = field(repr=False)
    num_verdicts: int = 0
    quality: Quality | None = None  # of the proposal on the verdicts, cross-validated by component
    rate: Rate | None = None  # of false negatives among all candidates
    disputed: tuple[tuple[int, int, float], ...] = ()  # image, caption, probability of a match

    def __len__(self) -> int:
        return len(self.image)


def mine(
    image_ND: NDArray[np.floating],
    caption_MD: NDArray[np.floating],
    *,
    pairs: Sequence[tuple[int, int]],
    captions: Sequence[str],
    image_hashes: Sequence[str] = (),
    fingerprints: Bytes | None = None,
    image_split: Sequence[str] = (),
    caption_split: Sequence[str] = (),
    decided: Sequence[tuple[int, int]] = (),
    verdicts: Known = (),
    options: MiningOptions | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
    resume_folder: str | Path | None = None,
    neighbours: Neighbours | None = None,
) -> Suggestions:
    """Suggestions over places: image i is row i of `image_ND`, caption c row c of `caption_MD` (both normalised).

    `verdicts` teach the proposal and are not suggested again, nor is what else is `decided`. `fingerprints` [N, 308] come
    from `clipcore.mining.fingerprint`; `neighbours` from `find_neighbours`. Raises `ClipcoreError` for sizes that differ, `Stopped` when `stop` says so.
    """
    options = options or MiningOptions()
    _check(image_ND, caption_MD, captions, pairs, verdicts)
    if len(image_ND) == 0 or len(caption_MD) == 0 or not pairs:
        return _nothing()
    near = neighbours or find_neighbours(
        image_ND, caption_MD, k=num_across(pairs, options),
        progress=progress, stop=stop, resume_folder=resume_folder,
    )  # fmt: skip
    items = _items(image_ND, caption_MD, pairs, captions, image_hashes, fingerprints, options.seed, near)
    top = near.across
    found = np.concatenate([_ranked(items, top, options), _by_neighbours(items, options)])
    known_V2 = np.array([(i, c) for i, c, _ in verdicts], dtype=np.int64).reshape(-1, 2)
    is_match_V = np.array([match for _, _, match in verdicts], dtype=bool)
    found = _allowed(items, found, [*decided, *map(tuple, known_V2.tolist())], image_split, caption_split)
    asked = _mutual(top, np.concatenate([found, known_V2]))
    signal, score = gather(
        items, np.concatenate([found, known_V2]), verdict_V2=known_V2, is_match_V=is_match_V, mutual_S=asked
    )
    num = len(found)
    start = Proposer.start(signal[:num])
    proposer = start.fit(signal[num:], is_match_V)
    component_V = components(items.image_group_N[known_V2[:, 0]], items.caption_group_M[known_V2[:, 1]])
    seen_V = cross_validated(
        lambda x, y: start.fit(x, y).probability, signal[num:], is_match_V, component_V
    ) if len(known_V2) else np.zeros(0)  # fmt: skip
    table = signal[:num]
    probability = proposer.probability(table)
    at = {name: table[:, f] for f, name in enumerate(SIGNALS)}
    hard = 1 / (1 + np.exp(-np.maximum(at["margin"], at["rank_margin"])))
    impact = hard * (1 + 2 * probability)
    broken_P2, broken_p, broken_impact = _broken(items, decided)
    whole = _columns(items, found, table, score[:num], probability, impact, captions, image_hashes)
    pairs_too = _broken_columns(items, broken_P2, broken_p, broken_impact, captions, image_hashes)
    joined = _sorted(whole, pairs_too)
    against = np.where(is_match_V, 1 - seen_V, seen_V) >= DISPUTED
    return Suggestions(
        **joined,
        num_verdicts=len(known_V2),
        quality=quality(seen_V, is_match_V) if len(known_V2) else None,
        rate=_rate(items, start, proposer, probability, known_V2, is_match_V, top),
        disputed=tuple((int(i), int(c), float(p)) for (i, c), p in zip(known_V2[against], seen_V[against])),
    )


def num_across(pairs: Sequence[tuple[int, int]], options: MiningOptions | None = None) -> int:
    """How many neighbours across mining looks at: `range_max` beside an anchor's own partners."""
    own = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    most = max((int(np.bincount(own[:, side]).max()) for side in (0, 1)), default=0) if len(own) else 0
    return max((options or MiningOptions()).range_max + most, 10)


def _check(image_ND, caption_MD, captions, pairs, verdicts) -> None:  # type: ignore[no-untyped-def]
    if len(captions) != len(caption_MD):
        raise ClipcoreError(f"{len(captions)} captions for {len(caption_MD)} vectors; give one text a vector")
    for i, c, *_ in (*pairs, *verdicts):
        if not (0 <= i < len(image_ND) and 0 <= c < len(caption_MD)):
            raise ClipcoreError(
                f"({i}, {c}) is no image and caption of {len(image_ND)} and {len(caption_MD)}"
            )


def _nothing() -> Suggestions:
    none_i, none_f = np.zeros(0, np.int64), np.zeros(0)
    signals = {name: none_f for name in SIGNALS}
    return Suggestions(none_i, none_i, none_f, none_f, none_f, none_f, [], [], signals, [])


def _items(image_ND, caption_MD, pairs, captions, hashes, fingerprints, seed: int, near) -> Items:  # type: ignore[no-untyped-def]
    hashes = list(hashes) or [str(i) for i in range(len(image_ND))]
    return Items(
        np.asarray(image_ND, np.float32),
        np.asarray(caption_MD, np.float32),
        np.unique(np.array(pairs, dtype=np.int64).reshape(-1, 2), axis=0),
        image_groups(hashes, fingerprints),
        caption_groups(captions),
        CaptionWords(captions, lexicons_of(captions)),
        near,
        fingerprints,
        seed,
    )


def _ranked(items: Items, top: TopK, options: MiningOptions) -> Ints:
    """(image, caption) rows: the candidates of each anchor that pass the options, both directions."""
    paired = _codes(items, items.pair_P2)
    rows = []
    for side, at, scores in (
        (0, top.caption_Nk, top.caption_score_Nk),
        (1, top.image_Mk, top.image_score_Mk),
    ):
        anchor = np.repeat(np.arange(len(at)), at.shape[1])
        both = np.stack((anchor, at.ravel()) if side == 0 else (at.ravel(), anchor), axis=1)
        keep = ~np.isin(_codes(items, both), paired).reshape(at.shape)
        place = np.cumsum(keep, axis=1) - 1
        keep &= (place >= options.range_min) & (place < options.range_max)
        if options.min_score is not None:
            keep &= scores >= options.min_score
        if options.max_score is not None:
            keep &= scores <= options.max_score
        own = _least_own(items, side, len(at))[:, None]
        with np.errstate(invalid="ignore"):
            if options.absolute_margin is not None:
                keep &= ~(scores + options.absolute_margin > own)
            if options.relative_margin is not None:
                keep &= ~(scores > own - np.abs(own) * options.relative_margin)
        if options.sampling_strategy == "random":
            luck = np.where(keep, np.random.default_rng(options.seed).random(at.shape), 2.0)
            keep &= luck.argsort(axis=1).argsort(axis=1) < options.num_negatives
        else:
            keep &= np.cumsum(keep, axis=1) <= options.num_negatives
        rows.append(both[keep.ravel()])
    return np.concatenate(rows)


def _least_own(items: Items, side: int, anchors: int) -> Floats:
    """The cosine of each anchor's least similar partner; nan where it has none."""
    from clipcore.mining.signals import cosine

    own = np.full(anchors, np.inf)
    score = cosine(items.image_ND, items.caption_MD, items.pair_P2[:, 0], items.pair_P2[:, 1])
    np.minimum.at(own, items.pair_P2[:, side], score)
    return np.where(np.isinf(own), np.nan, own)


def _by_neighbours(items: Items, options: MiningOptions) -> Ints:
    """The captions of each image's nearest images, and the images of each caption's nearest captions."""
    rows = [np.zeros((0, 2), np.int64)]
    for side, top in ((0, items.near.images), (1, items.near.captions)):
        near = top.caption_Nk[:, : options.num_neighbours + 1]
        anchor = np.repeat(np.arange(len(near)), near.shape[1])
        where, partner = items.own(side, near.ravel())
        rows.append(np.stack((anchor[where], partner) if side == 0 else (partner, anchor[where]), axis=1))
    return np.concatenate(rows)


def _codes(items: Items, both_S2: Ints) -> Ints:
    return both_S2[:, 0] * len(items.caption_MD) + both_S2[:, 1]


def _allowed(items: Items, found, closed, image_split, caption_split) -> Ints:  # type: ignore[no-untyped-def]
    """Unique rows by image and caption, without pairs, decided ones, and ones across splits."""
    found = np.unique(found, axis=0)
    shut = np.concatenate([items.pair_P2, np.array(closed, dtype=np.int64).reshape(-1, 2)])
    keep = ~np.isin(_codes(items, found), _codes(items, shut))
    if len(image_split) and len(caption_split):
        names = {name: n for n, name in enumerate(sorted({*image_split, *caption_split}))}
        a, b = (np.array([names[s] for s in split]) for split in (image_split, caption_split))
        keep &= a[found[:, 0]] == b[found[:, 1]]
    return np.asarray(found[keep], dtype=np.int64)


def _mutual(top: TopK, both_S2: Ints) -> NDArray[np.bool_]:
    i, c = both_S2[:, 0], both_S2[:, 1]
    forth = (top.caption_Nk[i, :3] == c[:, None]).any(axis=1)
    return np.asarray(forth & (top.image_Mk[c, :3] == i[:, None]).any(axis=1))


def _broken(items: Items, decided) -> tuple[Ints, Floats, Floats]:  # type: ignore[no-untyped-def]
    chance = broken_probability(items)
    shut = np.array(list(decided), dtype=np.int64).reshape(-1, 2)
    pick = np.flatnonzero((chance >= 0.5) & ~np.isin(_codes(items, items.pair_P2), _codes(items, shut)))
    return items.pair_P2[pick], chance[pick], (1 + chance[pick]) / 2  # a probable match comes first


def _columns(items, found, table, score, probability, impact, captions, hashes) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    hashes = list(hashes) or [str(i) for i in range(len(items.image_ND))]
    return {
        "image": found[:, 0],
        "caption": found[:, 1],
        "score": score,
        "probability": probability,
        "impact": impact,
        "uncertainty": 1 - 2 * np.abs(probability - 0.5),
        "proposed": ["match" if p >= 0.5 else "no_match" for p in probability],
        "group": [
            group_key(hashes[items.image_group_N[i]], captions[items.caption_group_M[c]]) for i, c in found
        ],
        "signals": {name: table[:, f] for f, name in enumerate(SIGNALS)},
        "reasons": reasons(items, found, table, captions),
    }


def _broken_columns(items, pairs, chance, impact, captions, hashes) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    none = np.zeros(len(pairs), dtype=bool)
    nobody = np.zeros((0, 2), np.int64)
    table, score = gather(items, pairs, verdict_V2=nobody, is_match_V=none[:0], mutual_S=none)
    out = _columns(items, pairs, table, score, 1 - chance, impact, captions, hashes)
    why = "the nearest images and captions contradict this pair, and others fit both far better"
    out |= {"proposed": ["broken_pair"] * len(pairs), "reasons": [[why]] * len(pairs)}
    out["group"] = [f"pair:{key}" for key in out["group"]]
    return out


def _sorted(*tables: dict[str, Any]) -> dict[str, Any]:
    """The tables' rows together, largest impact first, equal ones by image and caption."""
    image, caption, impact = (np.concatenate([t[n] for t in tables]) for n in ("image", "caption", "impact"))
    order = np.lexsort((caption, image, -impact))
    out: dict[str, Any] = {}
    for name in tables[0]:
        if name == "signals":
            both = {s: np.concatenate([t[name][s] for t in tables]) for s in SIGNALS}
            out[name] = {s: values[order] for s, values in both.items()}
        elif isinstance(tables[0][name], list):
            rows = [row for t in tables for row in t[name]]
            out[name] = [rows[n] for n in order]
        else:
            out[name] = np.concatenate([t[name] for t in tables])[order]
    return out


def _rate(items, start, proposer, probability, known_V2, is_match_V, top) -> Rate:  # type: ignore[no-untyped-def]
    """Strata: mined candidates and verdicts by the start's probability, and all the rest by random candidates.

    Verdicts were not drawn at random within the mined ones, so those count by the proposal that the verdicts calibrated.
    """
    rng = np.random.default_rng(items.seed)
    n, m = len(items.image_ND), len(items.caption_MD)
    some = np.stack([rng.integers(0, n, RANDOM_RATE), rng.integers(0, m, RANDOM_RATE)], axis=1)
    some = some[~np.isin(_codes(items, some), _codes(items, np.concatenate([items.pair_P2, known_V2])))]
    nobody = np.zeros((0, 2), np.int64)
    signal, _ = gather(
        items, some, verdict_V2=nobody, is_match_V=is_match_V[:0], mutual_S=np.zeros(len(some), dtype=bool)
    )
    strata = [Stratum(len(known_V2), len(known_V2), int(is_match_V.sum()))] if len(known_V2) else []
    for part in np.array_split(np.sort(probability), 10):
        if len(part):
            expected = float(part.sum())
            strata.append(Stratum(len(part), assumed=expected / len(part)))
    rest = n * m - len(items.pair_P2) - len(known_V2) - len(probability)
    if rest > 0 and len(some):
        strata.append(Stratum(rest, assumed=float(np.mean(proposer.probability(signal)))))
    return false_negative_rate(strata)
