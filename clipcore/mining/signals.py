"""What is known of each candidate, as numbers: all of `SIGNALS`, for many candidates at once.

Legend: N images, M captions, D embedding, S candidates, F signals, E own partners of candidates (ragged).
Rarity: −log10 of the share of random pairs of the same data that are more alike, comparable across models. Beyond the
hundredth most alike the tail is taken as exponential, so that what is rarer than all random pairs still differs.
Standing: a cosine less the mean of both sides' ten nearest (CSLS, Conneau et al. 2018), so that what is near everything counts
less, in standard deviations of random pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipcore.mining import figure
from clipcore.mining.duplicates import AT_FIGURE, Bytes, hash_similarity
from clipcore.mining.grounding import Grounding
from clipcore.mining.lexical import CaptionWords
from clipcore.mining.neighbours import Neighbours

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SIGNALS = (
    "rarity",  # of the cosine of image and caption
    "margin",  # cosine minus the image's own best, in standard deviations of random pairs
    "rank_margin",  # the same against the caption's own best image
    "standing",  # of image and caption among each other's nearest
    "mutual",  # among each other's three nearest
    "caption_rarity",  # text tower: the caption against the image's own
    "caption_standing",  # of the caption and the image's own
    "overlap",  # weighted Jaccard index of their words
    "contained",  # share of the caption's words that an own caption has
    "conflict",  # categories (colour, number …) in which they exclude each other
    "same_caption",  # the same words as an own caption
    "image_rarity",  # image tower: the image against the caption's own
    "image_standing",  # of the image and the caption's own
    "hash_similarity",  # perceptual hash of the two
    "same_image",  # near duplicate of an own image of the caption, or the same bytes
    "figure_standing",  # the picture without margins against the caption's own: nearer than its nearest images are
    "word_fit",  # the caption's words against what the data set's own pictures with these words look like
    "entailed",  # the caption says nothing that an own caption does not say
    "reordered",  # colours, numbers … of an own caption in another order
    "agreement",  # past verdicts on neighbouring candidates, −1 … 1
)
RANDOM = 20_000  # random pairs behind a rarity; more would not change the first decimal
TAIL = 0.01  # of them are the tail whose slope is taken
RAREST = 8.0
NEAREST = 10
SAME_FIGURE = 2.0  # of 255: so much differs by rendering alone
CHUNK = 65_536


@dataclass(frozen=True)
class Items:
    """The data set as arrays: vectors, groups, words, and who belongs to whom (as sorted ragged rows)."""

    image_ND: NDArray[np.float32]
    caption_MD: NDArray[np.float32]
    pair_P2: Ints
    image_group_N: Ints
    caption_group_M: Ints
    words: CaptionWords
    near: Neighbours
    fingerprint_NF: Bytes | None = None
    seed: int = 0
    tails: dict[str, Floats] = field(default_factory=dict)
    learned: list[Grounding] = field(default_factory=list)

    def own(self, side: int, at_S: Ints) -> tuple[Ints, Ints]:
        """(candidate [E], partner [E]) of each candidate's image (side 0) or caption (side 1), by candidate."""
        order = np.lexsort((self.pair_P2[:, 1 - side], self.pair_P2[:, side]))
        keys, partner = self.pair_P2[order, side], self.pair_P2[order, 1 - side]
        low, high = np.searchsorted(keys, at_S, "left"), np.searchsorted(keys, at_S, "right")
        count = high - low
        shift = np.repeat(low - np.concatenate(([0], np.cumsum(count)[:-1])), count)
        return np.repeat(np.arange(len(at_S)), count), partner[shift + np.arange(count.sum())]

    def tail(self, name: str) -> Floats:
        """The sorted cosines of random image-caption, caption-caption or image-image pairs."""
        if name not in self.tails:
            rng = np.random.default_rng(self.seed)
            left, right = {
                "cross": (self.image_ND, self.caption_MD),
                "caption": (self.caption_MD, self.caption_MD),
                "image": (self.image_ND, self.image_ND),
            }[name]
            a, b = rng.integers(0, len(left), RANDOM), rng.integers(0, len(right), RANDOM)
            differ = (a != b) | (name == "cross")
            found = cosine(left, right, a[differ], b[differ])
            self.tails[name] = np.sort(found) if len(found) else np.zeros(1)
        return self.tails[name]

    def rarity(self, name: str, cosine_S: Floats) -> Floats:
        """−log10 of the share of random pairs at or above [S]."""
        tail = self.tail(name)
        above = len(tail) - np.searchsorted(tail, cosine_S, "left")
        rarity = -np.log10((above + 1) / (len(tail) + 1))
        start = float(np.quantile(tail, 1 - TAIL))
        slope = max(float(np.mean(tail[tail >= start] - start)), 1e-6)
        beyond = -np.log10(TAIL) + (cosine_S - start) / slope / np.log(10)
        return np.minimum(np.where(cosine_S > start, beyond, rarity), RAREST)

    def closeness(self, name: str) -> tuple[Floats, Floats]:
        """The mean cosine of each left item's and each right item's nearest, itself left out."""
        if name == "cross":
            top = self.near.across
            return _mean_of(top.caption_score_Nk[:, :NEAREST]), _mean_of(top.image_score_Mk[:, :NEAREST])
        top = self.near.images if name == "image" else self.near.captions
        one = _mean_of(top.caption_score_Nk[:, 1:]) if top.num_kept[0] > 1 else np.zeros(len(top.caption_Nk))
        return one, one

    @property
    def figure_NB(self) -> Bytes | None:
        """The pictures without their margins; None where no fingerprints were given."""
        return None if self.fingerprint_NF is None else self.fingerprint_NF[:, AT_FIGURE:]

    def figure_standing(self, a_S: Ints, b_S: Ints) -> Floats:
        """How much nearer two figures are than each to the model's nearest images: a natural logarithm [S], 0 … 4."""
        if self.figure_NB is None:
            return np.zeros(len(a_S))
        if "figure" not in self.tails:
            near = self.near.images.caption_Nk[:, 1 : NEAREST + 1]
            each = np.repeat(np.arange(len(near)), near.shape[1])
            far = figure.distance(self.figure_NB, each, near.ravel()).reshape(near.shape)
            self.tails["figure"] = far.mean(axis=1) if near.shape[1] else np.zeros(len(near))
        usual = (self.tails["figure"][a_S] + self.tails["figure"][b_S]) / 2
        apart = figure.distance(self.figure_NB, a_S, b_S)
        return np.clip(np.log((usual + SAME_FIGURE) / (apart + SAME_FIGURE)), 0, 4)

    def word_fit(self, image_S: Ints, caption_S: Ints) -> Floats:
        """`Grounding.fit`, learned at the first call."""
        if not self.learned:
            self.learned.append(
                Grounding.learn(
                    self.image_ND,
                    self.figure_NB,
                    self.pair_P2,
                    self.image_group_N,
                    self.words,
                    seed=self.seed,
                )
            )
        return self.learned[0].fit(image_S, caption_S)

    def standing(self, name: str, a_S: Ints, b_S: Ints, cosine_S: Floats) -> Floats:
        """CSLS in standard deviations of random pairs [S]."""
        left, right = self.closeness(name)
        return (cosine_S - (left[a_S] + right[b_S]) / 2) / max(float(self.tail(name).std()), 1e-9)


def _mean_of(score_Ak: NDArray[np.float32]) -> Floats:
    return np.where(np.isfinite(score_Ak), score_Ak, 0.0).mean(axis=1).astype(np.float64)


def cosine(left: NDArray[np.float32], right: NDArray[np.float32], a_S: Ints, b_S: Ints) -> Floats:
    """⟨left[a], right[b]⟩ [S], a chunk at a time."""
    parts = [
        np.einsum("sd,sd->s", left[a_S[at : at + CHUNK]], right[b_S[at : at + CHUNK]])
        for at in range(0, len(a_S), CHUNK)
    ]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def largest(num: int, where_E: Ints, value_E: Floats, missing: float = 0.0) -> Floats:
    """The largest value of each candidate's partners [num]; `missing` where it has none."""
    out = np.full(num, -np.inf)
    np.maximum.at(out, where_E, value_E)
    return np.where(np.isneginf(out), missing, out)


def gather(
    items: Items,
    candidate_S2: Ints,
    *,
    verdict_V2: Ints,
    is_match_V: NDArray[np.bool_],
    mutual_S: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """(signals [S, F] in the order of `SIGNALS`, cosine [S]). A candidate's own verdict and its own pair are not used."""
    i, c = candidate_S2[:, 0], candidate_S2[:, 1]
    num, spread = len(i), max(float(items.tail("cross").std()), 1e-9)
    score = cosine(items.image_ND, items.caption_MD, i, c)
    s, own = _others(*items.own(0, i), c)
    t, mate = _others(*items.own(1, c), i)
    words, at = items.words, {}
    at["rarity"] = items.rarity("cross", score)
    own_score = largest(num, s, cosine(items.image_ND, items.caption_MD, i[s], own), np.nan)
    mate_score = largest(num, t, cosine(items.image_ND, items.caption_MD, mate, c[t]), np.nan)
    at["margin"] = np.nan_to_num((score - own_score) / spread)
    at["rank_margin"] = np.nan_to_num((score - mate_score) / spread)
    at["mutual"] = mutual_S.astype(np.float64)
    at["standing"] = items.standing("cross", i, c, score)
    text = cosine(items.caption_MD, items.caption_MD, own, c[s])
    at["caption_standing"] = largest(num, s, items.standing("caption", own, c[s], text), -3.0)
    at["caption_rarity"] = largest(num, s, items.rarity("caption", text))
    at["overlap"] = largest(num, s, words.overlap(own, c[s]))
    at["contained"] = largest(num, s, words.contained(own, c[s]))
    at["conflict"] = -largest(num, s, -words.conflict(own, c[s]))
    at["same_caption"] = largest(num, s, (items.caption_group_M[own] == items.caption_group_M[c[s]]) * 1.0)
    look = cosine(items.image_ND, items.image_ND, mate, i[t])
    at["image_rarity"] = largest(num, t, items.rarity("image", look))
    at["image_standing"] = largest(num, t, items.standing("image", mate, i[t], look), -3.0)
    prints = items.fingerprint_NF
    alike = np.full(len(t), 0.5) if prints is None else hash_similarity(prints, mate, i[t])
    at["hash_similarity"] = largest(num, t, alike, 0.5)
    at["same_image"] = largest(num, t, (items.image_group_N[mate] == items.image_group_N[i[t]]) * 1.0)
    at["figure_standing"] = largest(num, t, items.figure_standing(mate, i[t]))
    at["word_fit"] = items.word_fit(i, c)
    at["entailed"] = largest(num, s, words.entailed(own, c[s]))
    at["reordered"] = -largest(num, s, -words.reordered(own, c[s]))
    at["agreement"] = _agreement(items, candidate_S2, verdict_V2, is_match_V)
    return np.stack([at[name] for name in SIGNALS], axis=1), score


def _others(where_E: Ints, partner_E: Ints, not_S: Ints) -> tuple[Ints, Ints]:
    keep = partner_E != not_S[where_E]
    return where_E[keep], partner_E[keep]


def _agreement(items: Items, candidate_S2: Ints, verdict_V2: Ints, is_match_V: NDArray[np.bool_]) -> Floats:
    """Verdicts on the same image (or caption) and a like caption (or image): their weighted mean, shrunk to 0."""
    num, total, weight = len(candidate_S2), np.zeros(len(candidate_S2)), np.ones(len(candidate_S2))
    for side, other in ((0, items.caption_MD), (1, items.image_ND)):
        group = (items.image_group_N, items.caption_group_M)[side]
        order = np.argsort(group[verdict_V2[:, side]], kind="stable")
        keys, at_S = group[verdict_V2[order, side]], group[candidate_S2[:, side]]
        low, high = np.searchsorted(keys, at_S, "left"), np.searchsorted(keys, at_S, "right")
        count = high - low
        shift = np.repeat(low - np.concatenate(([0], np.cumsum(count)[:-1])), count)
        where, verdict = np.repeat(np.arange(num), count), order[shift + np.arange(count.sum())]
        differs = (verdict_V2[verdict] != candidate_S2[where]).any(axis=1)
        where, verdict = where[differs], verdict[differs]
        near = cosine(other, other, verdict_V2[verdict, 1 - side], candidate_S2[where, 1 - side])
        kernel = np.clip(near, 0, 1) ** 8
        np.add.at(total, where, kernel * np.where(is_match_V[verdict], 1.0, -1.0))
        np.add.at(weight, where, kernel)
    return total / weight


def reasons(items: Items, candidate_S2: Ints, signal_SF: Floats, captions: Sequence[str]) -> list[list[str]]:
    """Short sentences for a person, by candidate."""
    from clipcore.mining.lexical import compare

    i, c = candidate_S2[:, 0], candidate_S2[:, 1]
    s, own = items.own(0, i)
    near = items.words.overlap(own, c[s])
    best = np.full(len(i), -1)
    order = np.argsort(near, kind="stable")
    best[s[order]] = own[order]  # the last written is the largest
    at = {name: signal_SF[:, f] for f, name in enumerate(SIGNALS)}
    found = []
    for n in range(len(i)):
        say = []
        if at["same_caption"][n]:
            say.append("says the same words as the image's own caption")
        if at["same_image"][n]:
            say.append("the caption's own image looks the same")
        if at["margin"][n] > 0:
            say.append("the model ranks it above the image's own caption")
        differ = compare(captions[best[n]], captions[c[n]]) if best[n] >= 0 else None
        if differ and at["overlap"][n] > 0.3 and (differ.only_first or differ.only_second):
            left, right = " ".join(differ.only_first), " ".join(differ.only_second)
            say.append(f"says {right or 'nothing'} instead of {left}" if left else f"adds {right}")
        if at["mutual"][n] and not say:
            say.append("image and caption are each other's nearest")
        found.append(say)
    return found
