"""Exact and near duplicates of images and captions, and the groups that one decision settles.

N images. A picture's fingerprint is a 9 × 8 difference hash (64 bits: what is brighter than its neighbour), its 8 × 8
thumbnail in colour, because a difference hash alone takes two skin tones or two colours of a flat drawing for one, and its
figure (`clipcore.mining.figure`), which margins and ground do not change.
Groups have a leader and no chains: each member is near its leader, so likeness does not creep along.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipcore.errors import ClipcoreError
from clipcore.mining import figure
from clipcore.mining.lexical import plain

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
AT_FIGURE = 8 + 192  # where the figure begins
WIDTH = AT_FIGURE + figure.BYTES  # bytes of a fingerprint
NEAR_BITS = 2  # of 64
NEAR_COLOUR = 6  # of 255, at any of the 64 places and three channels
PAIRS = tuple(
    combinations(range(4), 2)
)  # of 16-bit quarters of the hash: where 2 bits differ, two quarters are equal
SHELF = 2_000  # pictures looked at behind one key; alone one blank quarter would gather a set of drawings


def fingerprint(picture: Any) -> Bytes:
    """The fingerprint [308] of a PIL image; transparent parts are laid on white."""
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "P"):
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture)
    colour = picture.convert("RGB")
    grey = np.asarray(colour.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    hash_8 = np.packbits((grey[:, 1:] > grey[:, :-1]).ravel())
    small = np.asarray(colour.resize((8, 8), Image.Resampling.BOX), dtype=np.uint8)
    return np.concatenate((hash_8, small.ravel(), figure.figure(colour)))


def hash_similarity(fingerprint_NF: Bytes, first_S: Ints, second_S: Ints) -> NDArray[np.float64]:
    """1 − the share of the hash's 64 bits that differ [S]."""
    different = np.bitwise_xor(fingerprint_NF[first_S, :8], fingerprint_NF[second_S, :8])
    return 1.0 - np.bitwise_count(different).sum(axis=1) / 64.0


def near(fingerprint_NF: Bytes, first_S: Ints, second_S: Ints) -> NDArray[np.bool_]:
    """Whether two pictures are near duplicates [S]: hash and colours."""
    alike = hash_similarity(fingerprint_NF, first_S, second_S) >= 1 - NEAR_BITS / 64
    at = np.flatnonzero(alike)  # few, and their colours are most of the bytes
    a, b = (fingerprint_NF[x[at], 8:AT_FIGURE].astype(np.int16) for x in (first_S, second_S))
    alike[at] = np.abs(a - b).max(axis=1) <= NEAR_COLOUR
    return alike


def image_groups(hashes: Sequence[str], fingerprint_NF: Bytes | None = None) -> Ints:
    """Each image's leader [N]: the first image with the same bytes or, with fingerprints, a near duplicate of it.

    Raises `ClipcoreError` for fingerprints of another shape.
    """
    first: dict[str, int] = {}
    leader_N = np.array([first.setdefault(h, i) for i, h in enumerate(hashes)], dtype=np.int64)
    if fingerprint_NF is None:
        return leader_N
    if fingerprint_NF.shape != (len(hashes), WIDTH):
        raise ClipcoreError(
            f"fingerprints are {fingerprint_NF.shape} for {len(hashes)} images; give {WIDTH} bytes each"
        )
    shelves: dict[tuple[int, int, bytes], list[int]] = {}
    for i in range(len(hashes)):
        if leader_N[i] != i:
            leader_N[i] = leader_N[leader_N[i]]
            continue
        keys = list(_keys(fingerprint_NF[i]))
        around = [(light + step, n, key) for light, n, key in keys for step in (-1, 0, 1)]
        known = np.array(sorted({x for key in around for x in shelves.get(key, ())[:SHELF]}), dtype=np.int64)
        if len(known):
            close = known[near(fingerprint_NF, known, np.full(len(known), i))]
            if len(close):
                leader_N[i] = close[0]
                continue
        for key in keys:
            shelves.setdefault(key, []).append(i)
    return leader_N


def _keys(print_F: Bytes) -> Iterator[tuple[int, int, bytes]]:
    """(lightness in steps that near duplicates never differ by more than one of, which quarters, their bits)."""
    light = int(print_F[8:AT_FIGURE].mean()) // (NEAR_COLOUR + 1)
    bits = print_F[:8].tobytes()
    for n, (a, b) in enumerate(PAIRS):
        yield light, n, bits[2 * a : 2 * a + 2] + bits[2 * b : 2 * b + 2]


def caption_groups(captions: Sequence[str]) -> Ints:
    """Each caption's leader [M]: the first that says the same words in the same order, articles and case aside."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(plain(text), i) for i, text in enumerate(captions)], dtype=np.int64)


def group_key(image_hash: str, caption: str) -> str:
    """32 hex digits of a group: its leading image's hash and its leading caption's words."""
    return hashlib.blake2b(f"{image_hash}\0{plain(caption)}".encode(), digest_size=16).hexdigest()
