"""A batch: which images and captions pass the towers, how they relate, and the negatives that are appended.

R rows (images), C columns (captions), K appended negatives, U unique items among them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipcore.config import LabelsConfig
from clipcore.data import Items
from clipcore.example import Example
from clipcore.labels import Label, Overlay, PairLabels
from clipcore.logits import Further


@dataclass(frozen=True)
class Appended:
    """Negatives that only their owner meets: `numbers` are unique items to embed, `at` places among them [K]."""

    numbers: list[int]
    at: list[int]
    owner: list[int]  # rows for captions, columns for images
    weight: list[float]
    margin: list[float]


@dataclass(frozen=True)
class Batch:
    """Numbers of the images [R] and captions [C] of a step; those beyond the pairs are negatives that all meet."""

    examples: list[Example]
    images: list[int]
    captions: list[int]
    overlay: Overlay
    further_captions: Appended | None
    further_images: Appended | None


class Assembler:
    """Builds batches from pairs and labels; curated negatives that are not in the batch are appended."""

    def __init__(self, items: Items, labels: PairLabels, config: LabelsConfig):
        self.items, self.labels, self.config = items, labels, config

    def batch(self, examples: Sequence[Example], epoch: int) -> Batch:
        """The batch of these pairs; in each epoch the next of an anchor's many negatives take their turn."""
        images, captions = [x.image_id for x in examples], [x.caption_id for x in examples]
        found = {
            "captions": self._chosen(images, self.labels.hard_captions, set(captions), epoch, of_images=True),
            "images": self._chosen(captions, self.labels.hard_images, set(images), epoch, of_images=False),
        }
        shared_captions = dict.fromkeys(x.caption_id for _, x in found["captions"] if x.visible == "all")
        shared_images = dict.fromkeys(x.image_id for _, x in found["images"] if x.visible == "all")
        rows, columns = [*images, *shared_images], [*captions, *shared_captions]
        image_number, caption_number = self.items.image_number, self.items.caption_number
        owned_c = [(owner, x) for owner, x in found["captions"] if x.caption_id not in shared_captions]
        owned_i = [(owner, x) for owner, x in found["images"] if x.image_id not in shared_images]
        return Batch(
            examples=list(examples),
            images=[image_number[i] for i in rows],
            captions=[caption_number[c] for c in columns],
            overlay=self.labels.for_batch(rows, columns),
            further_captions=_appended(owned_c, lambda x: caption_number[x.caption_id]),
            further_images=_appended(owned_i, lambda x: image_number[x.image_id]),
        )

    def coverage(self, batches: Sequence[Sequence[Example]], epoch: int) -> float:
        """The share of curated negatives that meet their image in an epoch, in the batch or appended; 1 without any."""
        met: set[tuple[str, str]] = set()
        for examples in batches:
            images, captions = [x.image_id for x in examples], {x.caption_id for x in examples}
            chosen = self._chosen(images, self.labels.hard_captions, captions, epoch, of_images=True)
            met |= {(x.image_id, x.caption_id) for _, x in chosen}
            for image in images:
                hard = self.labels.hard_captions(image)
                met |= {(x.image_id, x.caption_id) for x in hard if x.caption_id in captions}
        anchors = {x.image_id for examples in batches for x in examples}
        wanted = {(x.image_id, x.caption_id) for image in anchors for x in self.labels.hard_captions(image)}
        return len(met) / len(wanted) if wanted else 1.0

    def _chosen(
        self,
        anchors: Sequence[str],
        negatives: Callable[[str], list[Label]],
        present: set[str],
        epoch: int,
        *,
        of_images: bool,
    ) -> list[tuple[int, Label]]:
        """(place of the anchor, label) of the negatives to append; those that stand in the batch are listed there."""
        most = self.config.hard_negatives_per_row if of_images else self.config.hard_images_per_caption
        known = self.items.caption_number if of_images else self.items.image_number
        chosen: list[tuple[int, Label]] = []
        for place, anchor in enumerate(anchors if most else ()):
            hard = [(x.caption_id if of_images else x.image_id, x) for x in negatives(anchor)]
            usable = [x for id_, x in hard if id_ in known and id_ not in present]
            turn = epoch * most % len(usable) if len(usable) > most else 0
            chosen += [(place, x) for x in (usable[turn:] + usable[:turn])[:most]]
        return chosen


def further(appended: Appended | None, embeddings: Iterator[Tensor]) -> Further | None:
    """Appended negatives with the next of `embeddings` [U, D]; None, and none taken, where nothing is appended."""
    if appended is None:
        return None
    embedding_UD = next(embeddings)
    device, dtype = embedding_UD.device, embedding_UD.dtype
    return Further(
        embedding_UD[torch.as_tensor(appended.at, device=device)],
        torch.as_tensor(appended.owner, device=device),
        torch.as_tensor(appended.weight, dtype=dtype, device=device).log(),
        torch.as_tensor(appended.margin, dtype=dtype, device=device),
    )


def _appended(chosen: list[tuple[int, Label]], number: Callable[[Label], int]) -> Appended | None:
    if not chosen:
        return None
    numbers = list(dict.fromkeys(number(x) for _, x in chosen))
    place = {n: at for at, n in enumerate(numbers)}
    return Appended(
        numbers=numbers,
        at=[place[number(x)] for _, x in chosen],
        owner=[owner for owner, _ in chosen],
        weight=[x.weight for _, x in chosen],
        margin=[x.margin for _, x in chosen],
    )


def hard_partners(examples: Sequence[Example], labels: PairLabels) -> list[list[int]]:
    """For each pair, the pairs whose caption is a curated negative of its image: what the composer brings together."""
    by_caption: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        by_caption.setdefault(example.caption_id, []).append(i)
    return [
        [j for label in labels.hard_captions(x.image_id) for j in by_caption.get(label.caption_id, [])]
        for x in examples
    ]
