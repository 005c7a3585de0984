"""Batch X-ray: the cosines of some pairs of one batch and what the labels say about them. R rows, C columns.

The same rows at every look, those first about which the labels say something, so that two looks compare.
"""

from collections.abc import Sequence

import numpy as np
import torch

from clipcore.assemble import Batch
from clipcore.data import Items
from clipcore.events import BatchSeen, Relation
from clipcore.labels import Overlay
from clipcore.learner import Learner

MOST_ROWS = 24
MOST_FURTHER = 12  # appended negatives shown beside them


@torch.no_grad()
def look_at_batch(learner: Learner, items: Items, batch: Batch, step: int) -> BatchSeen:
    """The cosines of at most 24 pairs of the batch and of negatives appended for them; the learner in evaluation mode."""
    places = chosen_rows(batch)
    further = _appended(batch, places)
    images = [batch.images[p] for p in places]
    captions = [batch.captions[p] for p in places] + [number for _, number in further]
    learner.train(False)
    cosine_RC = learner.images(images).float() @ learner.captions(captions).float().T
    place_of = {p: n for n, p in enumerate(places)}
    relations = [
        Relation(place_of[r], place_of[c], kind)
        for r, c, kind in _listed(batch.overlay)
        if r in place_of and c in place_of
    ]
    relations += [Relation(place_of[row], len(places) + n, "appended") for n, (row, _) in enumerate(further)]
    return BatchSeen(
        step=step,
        image_ids=[items.image_ids[n] for n in images],
        caption_ids=[items.caption_ids[n] for n in captions],
        cosine=[[round(v, 3) for v in row] for row in cosine_RC.cpu().tolist()],
        relations=relations,
    )


def chosen_rows(batch: Batch) -> list[int]:
    """At most 24 places of the batch, in its order: pairs that a label links to each other, then the first others."""
    linked = [(r, c) for r, c, kind in _listed(batch.overlay) if kind != "own"]
    pairs = len(batch.examples)
    wanted = [place for r, c in linked if r < pairs and c < pairs for place in (r, c)]
    owners = batch.further_captions.owner if batch.further_captions else []
    chosen = list(dict.fromkeys([*wanted, *owners, *range(pairs)]))
    return sorted(chosen[:MOST_ROWS])


def _appended(batch: Batch, places: Sequence[int]) -> list[tuple[int, int]]:
    """(row, caption number) of the negatives that were appended for these rows."""
    found = batch.further_captions
    if found is None:
        return []
    shown = set(places)
    owned = [(row, found.numbers[at]) for row, at in zip(found.owner, found.at, strict=True) if row in shown]
    return owned[:MOST_FURTHER]


def _listed(overlay: Overlay) -> list[tuple[int, int, str]]:
    """(row, column, kind) of every listed entry."""
    masked = np.isneginf(overlay.log_lambda_i2t)
    kinds = np.where(
        overlay.target > 0,
        np.where(overlay.row == overlay.col, "own", "positive"),
        np.where(masked, "masked", "hard"),
    )
    return list(zip(overlay.row.tolist(), overlay.col.tolist(), kinds.tolist(), strict=True))
