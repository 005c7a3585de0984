"""A pair as all readers bring it, and the id of a caption that has none."""

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """A pair: `image` is a path, encoded bytes, a callable that returns either, or a PIL image."""

    image_id: str
    caption_id: str
    image: Any
    caption: str
    split: str = "train"


def caption_id_of(text: str) -> str:
    """The stable id of a caption that brought none: a hash of its text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
