"""Perceptual hashes of a data set's pictures: taken once, from their thumbnails, by all cores, and kept beside them.

I images. A thumbnail is decoded in a millisecond or two where an original of 12 megapixels takes a tenth of a second.
"""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.errors import NotFound
from app.media.pictures import THUMBNAILS_PX, fingerprint_key, thumbnail_key
from app.media.store import MediaStore
from clipcore.mining import fingerprint
from clipcore.mining.duplicates import WIDTH
from worker.context import JobContext

CHUNK = 1_000


def fingerprints_of(context: JobContext, image_hashes: Sequence[str]) -> NDArray[np.uint8]:
    """[I, 308] in the order given, with progress; a picture that cannot be read has one of its own. Raises Stopped."""
    found = np.zeros((len(image_hashes), WIDTH), np.uint8)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # Pillow decodes outside Python's lock
        for start in range(0, len(image_hashes), CHUNK):
            some = image_hashes[start : start + CHUNK]
            for place, data in enumerate(pool.map(partial(_kept_or_made, context.media), some), start):
                found[place] = np.frombuffer(data, np.uint8)
            context.progress(start + len(some), len(image_hashes), "pictures compared")
            context.check()
    return found


def _kept_or_made(media: MediaStore, sha256: str) -> bytes:
    from PIL import Image

    key = fingerprint_key(sha256)
    try:
        kept = media.get(key)
        if len(kept) == WIDTH:
            return kept
    except NotFound:
        pass
    try:
        data = media.get(thumbnail_key(sha256, px=THUMBNAILS_PX[0]))
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
            made = fingerprint(picture).tobytes()
    except (NotFound, OSError):
        return np.resize(np.frombuffer(bytes.fromhex(sha256), np.uint8), WIDTH).tobytes()
    media.put_at(key, made, flush=False)
    return made
