"""What the data set's own pictures with a word look like, and how well a caption's words fit a picture so.

A model that has never seen this data knows its words badly, but the pairs themselves say what "leather" or "dark" looks
like here. For each word a ridge regression tells, from a picture's vector and its figure, whether the picture's captions
have it; a caption's fit is the mean over its words, in standard deviations of the word. Pictures that are near duplicates
stand in one fold, and a picture is judged by what the other folds taught, so no pair confirms itself.

N images, M captions, W words, X features of a picture, P pairs, K folds, S candidates. Memory: a word vector a fold and word.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipcore.mining.lexical import CaptionWords

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FOLDS = 5
SEEN = 4  # captions that a word needs
MOST = 3_000  # words, the most frequent first
PENALTY = 30.0  # pictures' worth of doubt against each feature, which have about unit variance
CHUNK = 8_192
MOST_FIT = 5.0
FIGURE = 0.5  # the figure's weight against the model's vector


@dataclass(frozen=True)
class Grounding:
    """`feature_NX` of the pictures, `fold_N`, each fold's words `word_KWX`, and the captions' words `mean_MW` (sparse, each
    row a mean over its words in units of their spread): caption · words · picture is the fit."""

    feature_NX: NDArray[np.float32]
    fold_N: Ints
    word_KWX: NDArray[np.float32]
    mean_MW: Any

    @classmethod
    def learn(
        cls,
        image_ND: NDArray[np.float32],
        figure_NB: NDArray[np.uint8] | None,
        pair_P2: Ints,
        image_group_N: Ints,
        words: CaptionWords,
        *,
        seed: int = 0,
    ) -> "Grounding":
        """From the pairs' own captions."""
        from scipy.sparse import csr_matrix

        feature_NX = _features(image_ND, figure_NB)
        has_MW = (words.word_MV > 0).astype(np.float32)
        count_W = np.asarray(has_MW.sum(axis=0)).ravel()
        often = np.argsort(-count_W, kind="stable")[:MOST]
        has_MW = has_MW[:, np.sort(often[count_W[often] >= SEEN])].tocsr()
        pairs = (pair_P2[:, 0], pair_P2[:, 1])
        said_NM = csr_matrix((np.ones(len(pair_P2), np.float32), pairs), (len(image_ND), has_MW.shape[0]))
        said_NW = ((said_NM @ has_MW) > 0).astype(np.float32).tocsr()
        share_W = np.asarray(said_NW.mean(axis=0)).ravel()
        spread_W = np.sqrt(np.maximum(share_W * (1 - share_W), 1 / len(image_ND)))
        mean_MW = _rows_scaled(has_MW) @ _diagonal(1 / spread_W)
        fold_N = np.random.default_rng(seed).integers(0, FOLDS, len(image_ND))[image_group_N]
        word_KWX = np.zeros((FOLDS, has_MW.shape[1], feature_NX.shape[1]), np.float32)
        both = [_sums(feature_NX, said_NW, fold_N == k) for k in range(FOLDS)]
        for k in range(FOLDS):
            gram_XX = sum(g for n, (g, _) in enumerate(both) if n != k)
            cross_XW = sum(c for n, (_, c) in enumerate(both) if n != k)
            penalty = PENALTY * np.eye(feature_NX.shape[1])
            word_XW = np.linalg.solve(gram_XX + penalty, cross_XW)
            word_XW[-1] -= share_W  # the last feature is the constant
            word_KWX[k] = word_XW.T
        return cls(feature_NX, fold_N, word_KWX, mean_MW.tocsr().astype(np.float32))

    def fit(self, image_S: Ints, caption_S: Ints) -> Floats:
        """How well each caption's words fit the picture [S], about 0 for a random one; 0 without a known word."""
        found = np.zeros(len(image_S))
        for k, word_WX in enumerate(self.word_KWX):
            these = np.flatnonzero(self.fold_N[image_S] == k)
            for at in range(0, len(these), CHUNK):
                some = these[at : at + CHUNK]
                wanted = self.mean_MW[caption_S[some]] @ word_WX
                found[some] = np.einsum("sx,sx->s", self.feature_NX[image_S[some]], wanted)
        return np.clip(found, -MOST_FIT, MOST_FIT)


def _features(image_ND: NDArray[np.float32], figure_NB: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    parts = [image_ND * np.float32(np.sqrt(image_ND.shape[1]))]
    if figure_NB is not None:
        seen = figure_NB.astype(np.float32)
        parts.append(np.float32(FIGURE) * (seen - seen.mean(axis=0)) / max(float(seen.std()), 1.0))
    return np.hstack([*parts, np.ones((len(image_ND), 1), np.float32)])


def _sums(feature_NX: NDArray[np.float32], said_NW: Any, these: Any) -> tuple[Floats, Floats]:
    feature = feature_NX[these]
    return (feature.T @ feature).astype(np.float64), (said_NW[these].T @ feature).T.astype(np.float64)


def _rows_scaled(has_MW: Any) -> Any:
    return _diagonal(1 / np.maximum(np.asarray(has_MW.sum(axis=1)).ravel(), 1)) @ has_MW


def _diagonal(values: Any) -> Any:
    from scipy.sparse import diags

    return diags(values)
