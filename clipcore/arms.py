"""The arms of a controlled comparison: the labels as given, none of them, or as many on random candidates.

A gain of `given` over `none` may come from seeing anything labelled at all; the sham arm says how much. Numpy only.
"""

from dataclasses import replace

import numpy as np

from clipcore.config import Use
from clipcore.labels import Label, PairLabels


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

    A label that calls a pair broken falls on a random pair instead. Where (nearly) all candidates are judged, the few
    that are left are all there is, and the list is shorter.
    """
    rng = np.random.default_rng([seed, 0x5AA])
    own = list(labels.pairs)
    taken = set(own) | labels.touched()
    images, captions = [i for i, _ in own], [c for _, c in own]
    spare = [pair for pair in own if pair not in labels.touched()]
    found = []
    for label in labels.labels:
        if label.verdict == "broken_pair":
            candidate = spare.pop(int(rng.integers(len(spare)))) if spare else None
        else:
            candidate = _draw(images, captions, taken, rng)
        if candidate is not None:
            taken.add(candidate)
            found.append(replace(label, image_id=candidate[0], caption_id=candidate[1]))
    return found


def _draw(
    images: list[str], captions: list[str], taken: set[tuple[str, str]], rng: np.random.Generator
) -> tuple[str, str] | None:
    for _ in range(1000):
        image, caption = rng.integers(len(images)), rng.integers(len(captions))
        candidate = images[image], captions[caption]
        if candidate not in taken:
            return candidate
    return None
