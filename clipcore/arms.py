"""The arms of a controlled comparison: the labels as given, none of them, or as many on random candidates.

A gain of `given` over `none` may come from seeing anything labelled at all; the sham arm says how much. Numpy only.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from clipcore.config import Use
from clipcore.labels import Label, PairLabels

Candidate = tuple[str, str]  # image id and caption id


def labels_of_arm(labels: PairLabels, use: Use, *, seed: int) -> PairLabels:
    """What the loss gets in an arm; the data set's own pairs and its identical items stay known in all of them."""
    if use == "given" or not labels.labels:
        return labels
    return PairLabels(
        labels=[] if use == "none" else sham(labels, seed=seed),
        pairs=list(labels.pairs),
        image_groups=labels.image_groups,
        caption_groups=labels.caption_groups,
        kappa=labels.kappa,
    )


def sham(labels: PairLabels, *, seed: int) -> list[Label]:
    """As many labels of each kind, on candidates drawn at random: never on an own pair or on one that was judged.

    A match that the data says already (of identical items) changes nothing and gets no counterpart. A label that calls
    a pair broken falls on a random pair instead. Where (nearly) all candidates are judged, the few that are left are
    all there is, and the list is shorter.
    """
    rng = np.random.default_rng([seed, 0x5AA])
    own = list(labels.pairs)
    known = {_groups(labels, *pair) for pair in own}
    taken = set(own) | labels.touched()
    images, captions = [i for i, _ in own], [c for _, c in own]
    spare = [pair for pair in own if pair not in labels.touched()]
    found = []
    for label in labels.labels:
        if label.verdict == "match" and _groups(labels, label.image_id, label.caption_id) in known:
            continue
        if label.verdict == "broken_pair":
            candidate = spare.pop(int(rng.integers(len(spare)))) if spare else None
        else:
            candidate = _draw(
                images, captions, lambda pair: pair in taken or _groups(labels, *pair) in known, rng
            )
        if candidate is not None:
            taken.add(candidate)
            found.append(replace(label, image_id=candidate[0], caption_id=candidate[1]))
    return found


def _groups(labels: PairLabels, image_id: str, caption_id: str) -> tuple[Any, Any]:
    return labels.image_group(image_id), labels.caption_group(caption_id)


def _draw(
    images: list[str], captions: list[str], is_known: Callable[[Candidate], bool], rng: np.random.Generator
) -> Candidate | None:
    for _ in range(1000):
        candidate = images[rng.integers(len(images))], captions[rng.integers(len(captions))]
        if not is_known(candidate):
            return candidate
    return None
