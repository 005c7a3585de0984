"""Retrieval, many to many by id: mAP@R, R-Precision, R@k, median rank, both ways, chunked.

Q queries, G gallery items, D embedding. mAP@R is ECCV-Caption's measure (Chun et al. 2022, equation 1).
A tie counts half of the tied items as ranked before (a collapsed model gets no credit).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 1024
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PerQuery:
    """Each query's figures [Q], for intervals; queries without a relevant item are left out."""

    query: Ints
    map_at_r: NDArray[np.float64]
    r_precision: NDArray[np.float64]
    best_rank: NDArray[np.float64]  # 1 is best


def rank_queries(query_QD: Tensor, gallery_GD: Tensor, relevant: Sequence[Sequence[int]]) -> PerQuery:
    """Ranks the gallery for each query; `relevant[q]` are the gallery places that truly match."""
    kept = [q for q, places in enumerate(relevant) if len(places)]
    results: list[tuple[int, float, float, float]] = []
    for start in range(0, len(kept), CHUNK):
        part = kept[start : start + CHUNK]
        score_QG = query_QD[part].float() @ gallery_GD.float().T
        most = min(max(len(set(relevant[q])) for q in part), score_QG.shape[1])
        top_QR = score_QG.topk(most, dim=1).indices.cpu().numpy()
        for i, q in enumerate(part):
            results.append((q, *_one_query(score_QG[i], top_QR[i], set(relevant[q]))))
    table = np.array(results, dtype=np.float64).reshape(-1, 4)
    return PerQuery(table[:, 0].astype(np.int64), table[:, 1], table[:, 2], table[:, 3])


def _one_query(score_G: Tensor, top_R: Ints, places: set[int]) -> tuple[float, float, float]:
    hits = np.array([place in places for place in top_R[: len(places)]], dtype=np.float64)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    best = score_G[list(places)].max()
    greater, equal = int((score_G > best).sum()), int((score_G == best).sum())
    return (
        float((precision * hits).sum() / len(places)),
        float(hits.sum() / len(places)),
        1 + greater + (equal - 1) / 2,
    )


def retrieval_metrics(
    image_ID: Tensor, caption_CD: Tensor, relevant: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """Both directions' figures (fractions in 0 … 1, ranks from 1) and `map_at_r`, their mean.

    `relevant` lists the (image place, caption place) that truly match.
    """
    by_image: list[list[int]] = [[] for _ in range(len(image_ID))]
    by_caption: list[list[int]] = [[] for _ in range(len(caption_CD))]
    for image, caption in relevant:
        by_image[image].append(caption)
        by_caption[caption].append(image)
    metrics: dict[str, float] = {}
    for name, found in (
        ("i2t", rank_queries(image_ID, caption_CD, by_image)),
        ("t2i", rank_queries(caption_CD, image_ID, by_caption)),
    ):
        metrics |= _summary(found, name)
    metrics["map_at_r"] = (metrics["i2t_map_at_r"] + metrics["t2i_map_at_r"]) / 2
    return metrics


def _summary(found: PerQuery, name: str) -> dict[str, float]:
    if len(found.query) == 0:
        return {
            f"{name}_{key}": float("nan")
            for key in ("map_at_r", "r_precision", "r@1", "r@5", "r@10", "median_rank")
        }
    figures = {
        f"{name}_map_at_r": float(found.map_at_r.mean()),
        f"{name}_r_precision": float(found.r_precision.mean()),
        f"{name}_median_rank": float(np.median(found.best_rank)),
    }
    return figures | {f"{name}_r@{k}": float((found.best_rank <= k).mean()) for k in (1, 5, 10)}


def hard_negative_accuracy(
    image_ID: Tensor, caption_CD: Tensor, triples: Sequence[tuple[int, int, int]]
) -> float:
    """The share of (image, own caption, wrong caption) where the own caption is nearer; nan without triples."""
    if not triples:
        return float("nan")
    image, own, wrong = (torch.as_tensor(list(places)) for places in zip(*triples, strict=True))
    right = (image_ID[image] * caption_CD[own]).sum(1) > (image_ID[image] * caption_CD[wrong]).sum(1)
    return float(right.float().mean())


def geometry(image_ND: Tensor, caption_ND: Tensor) -> dict[str, float]:
    """Alignment and uniformity (Wang & Isola 2020) and modality gap (Liang et al. 2022) of N pairs, diagnostics."""
    both = torch.cat((image_ND, caption_ND)).float()
    squared = torch.pdist(both[:2000]).square()
    return {
        "alignment": float((image_ND - caption_ND).square().sum(1).mean()),
        "uniformity": float(squared.mul(-2).exp().mean().log()),
        "modality_gap": float((image_ND.mean(0) - caption_ND.mean(0)).norm()),
    }


def paired_interval(
    before: NDArray[np.float64], after: NDArray[np.float64], cluster: Sequence[int], *, level: float = 0.95
) -> tuple[float, float, float]:
    """(gain, low, high): the mean difference and its bootstrap interval over clusters of queries (scipy, BCa-free)."""
    from scipy.stats import bootstrap

    sums = np.bincount(np.unique(np.asarray(cluster), return_inverse=True)[1], weights=after - before)
    sizes = np.bincount(np.unique(np.asarray(cluster), return_inverse=True)[1])
    gain = float(sums.sum() / sizes.sum())
    if len(sums) < 2:
        return gain, float("nan"), float("nan")
    result = bootstrap(
        (sums, sizes),
        lambda s, n, axis=-1: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=level,
        n_resamples=2000,
        rng=np.random.default_rng(0),
    )
    return gain, float(result.confidence_interval.low), float(result.confidence_interval.high)
