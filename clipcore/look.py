"""Looking at the model: held-out metrics, retention, and what the probes find. I images, C captions, D embedding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clipcore.data import FineTuneData, Items
from clipcore.evaluate import (
    gallery_loss,
    geometry,
    hard_negative_accuracy,
    rank_queries,
    retrieval_metrics,
    similarity_histograms,
)
from clipcore.events import Previewed, Probe, QueryScores
from clipcore.example import Example
from clipcore.labels import PairLabels
from clipcore.learner import AdapterLearner, Learner
from clipcore.mining.calibrate import components

CHUNK = 256


@dataclass(frozen=True)
class Gallery:
    """Ids of images and captions with their present embeddings [I, D] and [C, D], on the CPU."""

    image_ids: list[str]
    image_ID: Tensor
    caption_ids: list[str]
    caption_CD: Tensor


class Look:
    """Measures a learner on the held-out pairs of the data; verdicts on them are further truths."""

    def __init__(
        self, learner: Learner, data: FineTuneData, items: Items, labels: PairLabels, probes: Sequence[Probe]
    ):
        self.learner, self.items, self.labels, self.probes = learner, items, labels, probes
        self.held_out = list(data.held_out)
        self.retention = list(data.retention) or _untouched(self.held_out, labels)

    def metrics(self) -> tuple[dict[str, float], Gallery]:
        """Retrieval, hard negatives and geometry of the held-out pairs, `retention_map_at_r` of the untouched ones."""
        gallery = self.gallery(self.held_out)
        found = self._retrieval(gallery)
        if len(self.retention) >= 2:
            apart = self.gallery(self.retention)
            own = _places(self.retention, apart)
            found["retention_map_at_r"] = retrieval_metrics(apart.image_ID, apart.caption_CD, own)["map_at_r"]
        return found, gallery

    def histograms(self, gallery: Gallery) -> dict[str, list[int]]:
        """Cosines of held-out pairs, curated hard negatives and random others, counted in `evaluate.HISTOGRAM_EDGES`."""
        image_at = {k: i for i, k in enumerate(gallery.image_ids)}
        caption_at = {k: i for i, k in enumerate(gallery.caption_ids)}
        hard = [
            (image_at[id_], caption_at[x.caption_id])
            for id_ in gallery.image_ids
            for x in self.labels.hard_captions(id_)
            if x.caption_id in caption_at
        ]
        own = _places(self.held_out, gallery)
        return similarity_histograms(gallery.image_ID, gallery.caption_CD, own, hard)

    def queries(self, gallery: Gallery) -> QueryScores:
        """The single queries behind `map_at_r`, with the components that hold them together."""
        _, true = self._truths(gallery)
        images, captions = len(gallery.image_ids), len(gallery.caption_ids)
        of_image, of_caption = [list[int]() for _ in range(images)], [list[int]() for _ in range(captions)]
        for image, caption in true:
            of_image[image].append(caption)
            of_caption[caption].append(image)
        edge = components([i for i, _ in true], [c for _, c in true])
        at_image, at_caption = np.zeros(images, np.int64), np.zeros(captions, np.int64)
        for (image, caption), cluster in zip(true, edge.tolist(), strict=True):
            at_image[image] = at_caption[caption] = cluster
        i2t = rank_queries(gallery.image_ID, gallery.caption_CD, of_image)
        t2i = rank_queries(gallery.caption_CD, gallery.image_ID, of_caption)
        return QueryScores(
            ids=[f"image:{gallery.image_ids[q]}" for q in i2t.query]
            + [f"caption:{gallery.caption_ids[q]}" for q in t2i.query],
            map_at_r=np.concatenate([i2t.map_at_r, t2i.map_at_r]).round(5).tolist(),
            cluster=np.concatenate([at_image[i2t.query], at_caption[t2i.query]]).tolist(),
        )

    def gallery(self, examples: Sequence[Example]) -> Gallery:
        """The images and captions of these pairs, each once."""
        image_ids = list(dict.fromkeys(x.image_id for x in examples))
        caption_ids = list(dict.fromkeys(x.caption_id for x in examples))
        self.learner.train(False)
        image = _chunked(self.learner.images, [self.items.image_number[i] for i in image_ids])
        caption = _chunked(self.learner.captions, [self.items.caption_number[c] for c in caption_ids])
        return Gallery(image_ids, image, caption_ids, caption)

    def previews(self, step: int, gallery: Gallery | None, *, top_k: int) -> Iterator[Previewed]:
        """What each probe finds in the held-out gallery; a probe whose image is not in the data is passed over."""
        if not self.probes:
            return
        gallery = gallery or self.gallery(self.held_out)
        for probe in self.probes:
            query, places, ids = self._query(probe, gallery)
            if query is None:
                continue
            top = (places @ query).topk(min(top_k, len(ids)))
            found = [ids[i] for i in top.indices.tolist()]
            yield Previewed(step, probe.id, found, [round(v, 4) for v in top.values.tolist()])

    def _truths(self, gallery: Gallery) -> tuple[set[tuple[int, int]], list[tuple[int, int]]]:
        """The own pairs, and all that is true, as places (image, caption) in order."""
        overlay = self.labels.for_batch(gallery.image_ids, gallery.caption_ids)
        own = set(_places(self.held_out, gallery))
        listed = zip(overlay.row.tolist(), overlay.col.tolist(), overlay.target.tolist(), strict=True)
        return own, sorted(own | {(r, c) for r, c, target in listed if target > 0})

    def _retrieval(self, gallery: Gallery) -> dict[str, float]:
        image_at = {k: i for i, k in enumerate(gallery.image_ids)}
        caption_at = {k: i for i, k in enumerate(gallery.caption_ids)}
        own, true = self._truths(gallery)
        triples = [
            (image_at[x.image_id], caption_at[x.caption_id], caption_at[label.caption_id])
            for x in self.held_out
            for label in self.labels.hard_captions(x.image_id)
            if label.caption_id in caption_at
        ]
        pairs = torch.tensor(sorted(own))
        image, caption = gallery.image_ID, gallery.caption_CD
        metrics = retrieval_metrics(image, caption, true)
        metrics |= geometry(image[pairs[:, 0]], caption[pairs[:, 1]])
        scale = float(self.learner.towers.model.logit_scale.detach().exp())
        metrics["gallery_loss"] = gallery_loss(image, caption, true, scale=scale)
        return metrics | {"hard_negative_accuracy": hard_negative_accuracy(image, caption, triples)}

    @torch.no_grad()
    def _query(self, probe: Probe, gallery: Gallery) -> tuple[Tensor | None, Tensor, list[str]]:
        if probe.text is not None:
            return self._text(probe.text), gallery.image_ID, gallery.image_ids
        number = self.items.image_number.get(probe.image_id or "")
        query = None if number is None else self.learner.images([number])[0].float().cpu()
        return query, gallery.caption_CD, gallery.caption_ids

    def _text(self, text: str) -> Tensor:
        if text in self.items.captions:
            return self.learner.captions([self.items.captions.index(text)])[0].float().cpu()
        towers = self.learner.towers
        query = towers.captions(towers.tokens([text]).to(self.learner.device))
        if isinstance(self.learner, AdapterLearner):
            query = self.learner.adapter.captions(query)
        return query[0].float().cpu()


def _places(examples: Sequence[Example], gallery: Gallery) -> list[tuple[int, int]]:
    image_at = {k: i for i, k in enumerate(gallery.image_ids)}
    caption_at = {k: i for i, k in enumerate(gallery.caption_ids)}
    return sorted({(image_at[x.image_id], caption_at[x.caption_id]) for x in examples})


def _untouched(examples: Sequence[Example], labels: PairLabels) -> list[Example]:
    """Pairs whose image and caption stand in no verdict."""
    images = {image for image, _ in labels.touched()}
    captions = {caption for _, caption in labels.touched()}
    return [x for x in examples if x.image_id not in images and x.caption_id not in captions]


@torch.no_grad()
def _chunked(encode: Callable[[Sequence[int]], Tensor], numbers: list[int]) -> Tensor:
    parts = [numbers[i : i + CHUNK] for i in range(0, len(numbers), CHUNK)]
    return torch.cat([encode(part).float().cpu() for part in parts])
