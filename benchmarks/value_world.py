"""A seed's world for value.py: signs, renderings, captions, truth, and what is trained, chosen by, and measured on.

I images, C captions of the world; D embedding, F features before a tower's last projection.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from world import Sign, Style, families, picture, say, truths, variant

from clipcore.mining import fingerprint
from clipcore.mining.calibrate import components

NUM_RETENTION = 500
SWAPPED = 0.03  # of the pairs: broken
SHARES = (0.65, 0.10, 0.25)  # of the components: train, choose the mix by, measure on


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
    galleries: dict[str, Gallery]  # test, choice, other_style, retention, retention_choice


def make_world(seed: int, num: int, towers: Any, kept: dict[tuple[str, str], Image.Image]) -> World:
    """`num` drawings of whole subjects in an order that the seed fixes, two renderings of each."""
    rng = np.random.default_rng(seed)
    chosen, outside = _chosen(rng, num)

    def drawn(sign: Sign, style: Style) -> Image.Image:
        if (sign.code, style) not in kept:
            kept[sign.code, style] = picture(sign, style)
        return kept[sign.code, style]

    sign_of = [s for s in chosen for _ in range(2)]
    pictures = [variant(drawn(s, "openmoji"), rng, upright=s.stays_upright) for s in sign_of]
    said = [say(s, rng) for s in sign_of]
    captions = sorted(set(said))
    at = {text: n for n, text in enumerate(captions)}
    own = np.array([at[text] for text in said])
    alike: dict[bytes, set[str]] = {}
    for s in chosen:
        alike.setdefault(drawn(s, "openmoji").tobytes(), set()).update(truths(s))
    true_IC = np.zeros((len(sign_of), len(captions)), dtype=bool)
    for i, s in enumerate(sign_of):
        true_IC[i, [at[t] for t in alike[drawn(s, "openmoji").tobytes()] if t in at]] = True
    image_edge, caption_edge = np.nonzero(true_IC)
    component = components(image_edge.astype(np.int64), caption_edge.astype(np.int64))
    of_image, of_caption = np.zeros(len(sign_of), int), np.zeros(len(captions), int)
    of_image[image_edge], of_caption[caption_edge] = component, component
    names = rng.permutation(np.unique(component))
    cuts = np.cumsum([int(share * len(names)) for share in SHARES[:2]])
    part = [set(p.tolist()) for p in np.split(names, cuts)]
    places = [[i for i in range(len(sign_of)) if of_image[i] in p] for p in part]
    columns = [[c for c in range(len(captions)) if of_caption[c] in p] for p in part]

    def gallery(images: list[int], texts: list[int], shown: list[Image.Image] | None = None) -> Gallery:
        return Gallery(
            torch.stack([towers.transform(x) for x in shown or [pictures[i] for i in images]]),
            towers.tokens([captions[c] for c in texts]),
            true_IC[np.ix_(images, texts)],
            of_image[images],
            of_caption[texts],
            [captions[c] for c in texts],
            [sign_of[i].label for i in images],
        )

    once = places[2][::2]  # in the other style each test sign is shown once
    other = [variant(drawn(sign_of[i], "fluent"), rng, upright=sign_of[i].stays_upright) for i in once]
    galleries = {
        "test": gallery(places[2], columns[2]),
        "choice": gallery(places[1], columns[1]),
        "other_style": gallery(once, columns[2], other),
    }
    order = rng.permutation(len(outside))[:NUM_RETENTION]
    half = len(order) // 2
    for name, some in (("retention", order[:half]), ("retention_choice", order[half:])):
        galleries[name] = _retention([outside[i] for i in some], towers, rng, drawn)
    swap = rng.choice(places[0], int(SWAPPED * len(places[0])), replace=False)
    paired = own.copy()
    paired[swap] = np.roll(paired[swap], 1)
    with torch.inference_mode():
        image = torch.cat(
            [towers.images(torch.stack([towers.transform(p) for p in pictures[k : k + 256]]))
             for k in range(0, len(pictures), 256)]
        )  # fmt: skip
        caption = towers.captions(towers.tokens(captions))
    return World(
        captions, pictures, image.numpy(), caption.numpy(), true_IC,
        [(i, int(paired[i])) for i in places[0]], sign_of,
        [str(hash(p.tobytes())) for p in pictures], np.stack([fingerprint(p) for p in pictures]), galleries,
    )  # fmt: skip


def _chosen(rng: Any, num: int) -> tuple[list[Sign], list[Sign]]:
    """Signs of the world, and signs of subjects outside it."""
    inside: list[Sign] = []
    outside: list[Sign] = []
    for family in families(rng):
        (inside if len(inside) < num and not family[0].is_of_the_base else outside).extend(family)
    return inside, outside


def _retention(some: list[Sign], towers: Any, rng: Any, drawn: Any) -> Gallery:
    """The style that the base learned, in fresh renderings, with a caption each; signs outside the world."""
    texts = sorted({say(s, rng) for s in some})
    true = np.array([[t in truths(s) for t in texts] for s in some])
    keep = true.any(axis=1)
    some = [s for s, k in zip(some, keep, strict=True) if k]
    shown = [variant(drawn(s, "twemoji"), rng, upright=s.stays_upright) for s in some]
    number = np.arange(len(some))
    return Gallery(
        torch.stack([towers.transform(x) for x in shown]), towers.tokens(texts), true[keep], number,
        np.arange(len(texts)), texts, [s.label for s in some],
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
