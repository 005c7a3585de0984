"""Drawings under transforms that keep what is said of them true; OpenMoji's true names, its own and the more general ones."""

import re
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from PIL import Image

from app.demo.openmoji import GENDER, LOOK, Drawing, drawings

FIXED = re.compile(r"arrow|o’clock|thirty|clock|left|right|up|down|north|south|east|west")
GROUNDS = ((255, 255, 255), (250, 246, 236), (238, 243, 250), (242, 242, 242))
LANGUAGES = ("de", "fr", "es")
ONE = re.compile(r"^(woman|man|person)\b")
TWO = re.compile(
    r" and |\b(?:woman|man|person|women|men|people)\b.*\b(?:woman|man|person|women|men|people)\b"
)


def names_of(drawing: Drawing) -> list[str]:
    """The English name, then aliases, then translations; each once."""
    import emoji

    for language in LANGUAGES:
        emoji.config.load_language(language)  # without it EMOJI_DATA knows English only
    about = emoji.EMOJI_DATA.get("".join(chr(int(c, 16)) for c in drawing.code.split("-")), {})
    found = [drawing.caption, *about.get("alias", ()), *(about.get(x, "") for x in LANGUAGES)]
    found = [name.strip(":").replace("_", " ") for name in found]
    return list({name.casefold(): name for name in reversed(found) if name}.values())[::-1]


def wider_names(drawing: Drawing) -> list[str]:
    """All names of the drawings of which this one is a special case: a woman mechanic with dark skin is a mechanic, a
    mechanic with dark skin, a woman, a person. Of several people no single one's look is dropped, or it would no longer
    say who looks how."""
    return [name for wider in sorted(_wider(drawing.caption)) for name in names_of(_by_caption()[wider])]


def variant(plain: Image.Image, rng: Any, *, upright: bool) -> Image.Image:
    """One rendering under changes that keep every caption true: pale ground, size, place, at most 12 degrees."""
    if not upright:
        plain = plain.rotate(rng.uniform(-12, 12), fillcolor="white", resample=Image.Resampling.BICUBIC)
    size = int(rng.uniform(0.75, 1.0) * plain.width)
    small = plain.resize((size, size), Image.Resampling.LANCZOS)
    ground = np.array(GROUNDS[rng.integers(len(GROUNDS))], dtype=np.float32)
    out = np.broadcast_to(ground, (plain.height, plain.width, 3)).copy()
    x, y = rng.integers(0, plain.width - size + 1, 2)
    out[y : y + size, x : x + size] = np.asarray(small, np.float32) * ground / 255
    return Image.fromarray(out.astype(np.uint8))


@cache
def _by_caption() -> dict[str, Drawing]:
    return {d.caption: d for d in drawings()}


def _wider(caption: str) -> set[str]:
    look = [] if re.search("o’clock|thirty", caption) else LOOK.findall(caption)
    subject = " ".join(LOOK.sub(" ", caption).split()) if look else caption
    subjects, several = {subject}, bool(TWO.search(subject))
    if GENDER.search(subject) and not several:
        bare = " ".join(GENDER.sub(" ", subject).split())
        subjects |= {bare, f"person {bare}".strip(), f"people {bare}".strip()}
        one = ONE.match(subject)
        subjects |= {one.group(1), "person"} if one else set()
    is_hair = all("hair" in x or x == "bald" for x in look[1:])
    kept = range(len(look) + 1) if is_hair else (0, len(look))
    looks = [some for num in kept for some in combinations(look, num)]
    return ({" ".join((s, *some)) for s in subjects for some in looks} - {caption}) & _by_caption().keys()
