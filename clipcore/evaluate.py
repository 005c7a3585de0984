"""Retrieval, many to many by id: mAP@R, R-Precision, R@k, median rank, both ways, chunked.

Q queries, G gallery items, D embedding, R relevant items. mAP@R is ECCV-Caption's measure (Chun et al. 2022,
equation 1). Ties: mAP@R and R-Precision are the mean over all orders of the tied items; a rank counts half of them
as before. So no order of the gallery matters, and a collapsed model gets what chance gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipcore.interval import paired_interval

__all__ = [
    "HISTOGRAM_EDGES",
    "PerQuery",
    "gallery_loss",
    "geometry",
    "hard_negative_accuracy",
    "paired_interval",
    "rank_queries",
    "retrieval_metrics",
    "similarity_histograms",
]
CHUNK = 1024
HISTOGRAM_EDGES = np.linspace(-1.0, 1.0, 51)  # 50 bins of cosine
Ints = NDArray[np.int64]
Floats = NDArray[Any]


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
        top_QR = score_QG.topk(most, dim=1).values.cpu().numpy()
        for i, q in enumerate(part):
            places = torch.as_tensor(sorted(set(relevant[q])), device=score_QG.device)
            results.append((q, *_one_query(score_QG[i], top_QR[i, : len(places)], places)))
    table = np.array(results, dtype=np.float64).reshape(-1, 4)
    return PerQuery(table[:, 0].astype(np.int64), table[:, 1], table[:, 2], table[:, 3])


def _one_query(score_G: Tensor, top_R: Floats, places_R: Tensor) -> tuple[float, float, float]:
    own_R = score_G[places_R].sort(descending=True).values
    last, best = float(top_R[-1]), own_R[0]
    precision, hit = _expected(top_R, own_R.cpu().numpy(), int((score_G == last).sum()))
    greater, equal = int((score_G > best).sum()), int((score_G == best).sum())
    return float((precision * hit).mean()), float(hit.mean()), 1 + greater + (equal - 1) / 2


def _expected(top_R: Floats, own_R: Floats, num_last: int) -> tuple[Floats, Floats]:
    """At each place: the precision there if it is a hit, and the chance that it is, over all orders of tied items.

    Source: McSherry & Najork 2008. `top_R` are the R best scores, `own_R` those of the relevant items, both falling;
    `num_last` is how many items of the whole gallery have the last score.
    """
    above = np.searchsorted(-top_R, -top_R, side="left")
    tied = np.searchsorted(-top_R, -top_R, side="right") - above
    tied[top_R == top_R[-1]] = num_last
    hits_above = np.searchsorted(-own_R, -top_R, side="left")
    hits_tied = np.searchsorted(-own_R, -top_R, side="right") - hits_above
    place = np.arange(len(top_R))
    before_in_tie = (place - above) * (hits_tied - 1) / np.maximum(tied - 1, 1)
    return (hits_above + 1 + before_in_tie) / (place + 1), hits_tied / tied


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


def similarity_histograms(
    image_ID: Tensor,
    caption_CD: Tensor,
    own: Sequence[tuple[int, int]],
    hard: Sequence[tuple[int, int]] = (),
    *,
    num_random: int = 10_000,
) -> dict[str, list[int]]:
    """Counts of cosines in the bins of HISTOGRAM_EDGES: `positive` (own), `hard_negative`, and `random` others.

    `own` and `hard` list (image place, caption place); the random ones are drawn by a fixed seed, the same for the
    same sizes, so histograms of two models compare.
    """
    drawn = np.random.default_rng(0).integers((len(image_ID), len(caption_CD)), size=(num_random, 2))
    known = set(own) | set(hard)
    others = [pair for pair in map(tuple, drawn.tolist()) if pair not in known]
    return {
        name: _histogram(image_ID, caption_CD, pairs)
        for name, pairs in (("positive", own), ("hard_negative", hard), ("random", others))
    }


def _histogram(image_ID: Tensor, caption_CD: Tensor, pairs: Sequence[tuple[int, ...]]) -> list[int]:
    cosine: list[Floats] = [np.zeros(0)]
    for start in range(0, len(pairs), CHUNK):
        image, caption = torch.as_tensor(pairs[start : start + CHUNK]).T
        cosine.append((image_ID[image].float() * caption_CD[caption].float()).sum(1).cpu().numpy())
    inside = np.clip(np.concatenate(cosine), -1.0, 1.0)  # rounding leaves a little beyond
    counts: list[int] = np.histogram(inside, bins=HISTOGRAM_EDGES)[0].tolist()
    return counts


@torch.no_grad()
def gallery_loss(
    image_ID: Tensor, caption_CD: Tensor, relevant: Sequence[tuple[int, int]], *, scale: float
) -> float:
    """InfoNCE in nats of every image against all captions and back, whatever the batch size; nan without pairs.

    `scale` is exp(log-scale). With many truths a query's target is spread evenly over them, as in losses.info_nce,
    whose value over the whole gallery in one batch this is. It grows with the gallery (log G at chance): compare models on one
    gallery. Tiled, O(CHUNK · G) memory; computed on one process alone, where the loss would wait for the others.
    """
    if not relevant:
        return float("nan")
    pairs = torch.as_tensor(sorted(set(relevant)), device=image_ID.device)
    both = (
        _direction(image_ID, caption_CD, pairs[:, 0], pairs[:, 1], scale),
        _direction(caption_CD, image_ID, pairs[:, 1], pairs[:, 0], scale),
    )
    return sum(both) / 2


def _direction(query_QD: Tensor, gallery_GD: Tensor, query_L: Tensor, place_L: Tensor, scale: float) -> float:
    """mean over queries with a truth of log Σ e^z − mean of their truths' z."""
    cosine_L = (query_QD[query_L].double() * gallery_GD[place_L].double()).sum(1)
    count_Q = torch.bincount(query_L, minlength=len(query_QD))
    positive_Q = torch.zeros_like(count_Q, dtype=torch.float64).index_add(0, query_L, scale * cosine_L)
    parts = [
        (scale * (query_QD[i : i + CHUNK].float() @ gallery_GD.float().T)).logsumexp(1)
        for i in range(0, len(query_QD), CHUNK)
    ]
    kept = count_Q > 0
    return float((torch.cat(parts).double() - positive_Q / count_Q)[kept].mean())
