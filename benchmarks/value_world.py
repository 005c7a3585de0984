"""A seed's world for value.py: signs, renderings, captions, truth, and what is trained, chosen by, and measured on.

I images, C captions of the world; D embedding, F features before a tower's last projection.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from renderings import variant
from world import MOST_A_SUBJECT, Sign, Style, families, picture, say, truths

from clipcore.mining import fingerprint

NUM_RETENTION = 500
SWAPPED = 0.03  # of the pairs: broken
NEW_THINGS = 0.2  # of the subjects: nothing of them is trained on
NUM_TEST, NUM_CHOICE = 5, 2  # further drawings of a trained subject: measured on, and to choose the mix by
TRIES = 8  # to say something of a test picture that no training pair says


@dataclass
class Gallery:
    """Images and captions that are searched in each other, with the truth between them."""

    pixels: Any
    tokens: Any
    true_IC: Any
    image_cluster: Any  # [I]
    caption_cluster: Any  # [C]
    captions: list[str]
    labels: list[str]  # [I] the sign's Unicode label
    features: tuple[Any, Any] | None = None  # before the last projections


@dataclass
class World:
    """One seed's."""

    captions: list[str]
    pictures: list[Image.Image]
    image_ID: Any
    caption_CD: Any
    true_IC: Any
    pairs: list[tuple[int, int]]  # for training, broken ones among them
    sign_of: list[Sign]  # [I]
    hashes: list[str]
    prints: Any
    galleries: dict[str, Gallery]  # test, choice, new_things, other_style, retention, retention_choice


@dataclass
class Part:
    """Some renderings, what was said of each, and the subject that each shows."""

    signs: list[Sign]
    pictures: list[Image.Image]
    said: list[str]


def make_world(seed: int, num: int, towers: Any, kept: dict[tuple[str, str], Image.Image]) -> World:
    """Subjects in an order that the seed fixes until `num` drawings are trained on, two renderings of each drawing."""
    rng = np.random.default_rng(seed)
    train, test, choice, new, outside = _divided(rng, num)

    def drawn(sign: Sign, style: Style) -> Image.Image:
        if (sign.code, style) not in kept:
            kept[sign.code, style] = picture(sign, style)
        return kept[sign.code, style]

    trained = rendered(train, rng, drawn, copies=2)
    taken, known = {drawn(s, "openmoji").tobytes() for s in train}, set(trained.said)
    fresh = [[s for s in some if drawn(s, "openmoji").tobytes() not in taken] for some in (test, choice, new)]
    parts = {
        name: rendered(some, rng, drawn, copies=2, unsaid=known)
        for name, some in zip(("test", "choice", "new_things"), fresh, strict=True)
    }
    alike: dict[bytes, set[str]] = {}
    for s in (*train, *(x for some in fresh for x in some)):
        alike.setdefault(drawn(s, "openmoji").tobytes(), set()).update(truths(s))

    def true(some: list[Sign], captions: list[str]) -> Any:
        return np.array([[t in alike[drawn(s, "openmoji").tobytes()] for t in captions] for s in some])

    galleries = {}
    for name, part in parts.items():
        texts = sorted(set(part.said))
        galleries[name] = gallery(towers, part.signs, part.pictures, texts, true(part.signs, texts))
    once, texts = parts["test"].signs[::2], galleries["test"].captions
    other = [variant(drawn(s, "fluent"), rng, upright=s.stays_upright) for s in once]
    galleries["other_style"] = gallery(towers, once, other, texts, true(once, texts))
    order = rng.permutation(len(outside))[:NUM_RETENTION]
    half = len(order) // 2
    for name, numbers in (("retention", order[:half]), ("retention_choice", order[half:])):
        part = rendered([outside[i] for i in numbers], rng, drawn, copies=1, style="twemoji")
        texts = sorted(set(part.said))
        is_true = np.array([[t in truths(s) for t in texts] for s in part.signs])
        galleries[name] = gallery(towers, part.signs, part.pictures, texts, is_true)
    return world_of(towers, rng, trained, true, galleries)


def world_of(towers: Any, rng: Any, trained: Part, true: Any, galleries: dict[str, Gallery]) -> World:
    """The world whose training pairs are `trained`, SWAPPED of them broken; `true(signs, captions)` is the truth."""
    captions = sorted(set(trained.said))
    at = {text: n for n, text in enumerate(captions)}
    own = np.array([at[text] for text in trained.said])
    swap = rng.choice(len(own), int(SWAPPED * len(own)), replace=False)
    own[swap] = np.roll(own[swap], 1)
    with torch.inference_mode():
        image = torch.cat([towers.images(x) for x in _pixels(towers, trained.pictures).split(256)])
        caption = torch.cat([towers.captions(x) for x in towers.tokens(captions).split(256)])
    return World(
        captions, trained.pictures, image.numpy(), caption.numpy(), true(trained.signs, captions),
        [(i, int(c)) for i, c in enumerate(own)], trained.signs,
        [hashlib.sha256(p.tobytes()).hexdigest() for p in trained.pictures],
        np.stack([fingerprint(p) for p in trained.pictures]), galleries,
    )  # fmt: skip


def _divided(rng: Any, num: int) -> tuple[list[Sign], ...]:
    """Signs to train on, to measure on, to choose by (other drawings of the same subjects), new subjects, and the rest."""
    train: list[Sign] = []
    test: list[Sign] = []
    choice: list[Sign] = []
    new: list[Sign] = []
    outside: list[Sign] = []
    for family in families(rng):
        if family[0].is_of_the_base or len(train) >= num:
            outside += family[:MOST_A_SUBJECT]
        elif rng.random() < NEW_THINGS:
            new += family[:MOST_A_SUBJECT]
        else:
            ends = np.cumsum([MOST_A_SUBJECT, NUM_TEST, NUM_CHOICE])
            for some, (start, end) in zip((train, test, choice), zip((0, *ends), ends), strict=False):
                some += family[start:end]
    return train, test, choice, new, outside


def rendered(
    some: list[Sign], rng: Any, drawn: Any, *, copies: int, unsaid: Any = (), style: Style = "openmoji"
) -> Part:
    """Renderings with a caption each; those of which nothing but what is in `unsaid` was said are left out."""
    part = Part([], [], [])
    for sign in some:
        for _ in range(copies):
            tried = (say(sign, rng) for _ in range(TRIES))
            said = next((text for text in tried if text not in unsaid), None)
            if said is not None:
                part.signs.append(sign)
                part.pictures.append(variant(drawn(sign, style), rng, upright=sign.stays_upright))
                part.said.append(said)
    return part


def _pixels(towers: Any, pictures: list[Image.Image]) -> Any:
    return torch.stack([towers.transform(p) for p in pictures])


def gallery(
    towers: Any, some: list[Sign], shown: list[Image.Image], texts: list[str], true_IC: Any
) -> Gallery:
    """Clusters are subjects: of an image its own, of a caption that of the first image that it is true of."""
    number = {s: n for n, s in enumerate(dict.fromkeys(x.subject for x in some))}
    image = np.array([number[s.subject] for s in some])
    return Gallery(
        _pixels(towers, shown), towers.tokens(texts), true_IC, image, image[true_IC.argmax(axis=0)], texts,
        [s.label for s in some],
    )  # fmt: skip


def density(world: World) -> dict[str, float]:
    """How many truths there are, and how many of a batch of 512 pairs are called wrong without labels."""
    images, texts = sorted({i for i, _ in world.pairs}), [c for _, c in world.pairs]
    among = world.true_IC[np.ix_(images, sorted(set(texts)))]
    paired = world.true_IC[np.ix_([i for i, _ in world.pairs], texts)]
    off = paired.sum() - np.trace(paired)
    return {
        "images": len(images),
        "captions": among.shape[1],
        "true_captions_an_image": float(among.sum(axis=1).mean()),
        "true_images_a_caption": float(among.sum(axis=0).mean()),
        "truths_without_a_pair": float(
            among.sum() - len({(i, c) for i, c in world.pairs if world.true_IC[i, c]})
        ),
        "false_negatives_a_row_of_512": float(off / len(texts) / max(1, len(texts) - 1) * 511),
    }


def cache_file(folder: Path, num: int, seed: int, arm: str) -> Path:
    """Where an arm's finished result lies."""
    return folder / f"{num}-{seed}-{arm}.json"
