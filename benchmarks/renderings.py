"""OpenMoji's drawings under transforms that keep their names true, and all their true names."""

import io
import re
from typing import Any

import numpy as np
from PIL import Image

from app.demo.openmoji import Drawing

FIXED = re.compile(r"arrow|o’clock|thirty|clock|left|right|up|down|north|south|east|west")
GROUNDS = ((255, 255, 255), (250, 246, 236), (238, 243, 250), (242, 242, 242))
LANGUAGES = ("de", "fr", "es")


def names_of(drawing: Drawing) -> list[str]:
    """The English name, then aliases, then translations; each once."""
    import emoji

    for language in LANGUAGES:
        emoji.config.load_language(language)  # without it EMOJI_DATA knows English only
    about = emoji.EMOJI_DATA.get("".join(chr(int(c, 16)) for c in drawing.code.split("-")), {})
    found = [drawing.caption, *about.get("alias", ()), *(about.get(x, "") for x in LANGUAGES)]
    found = [name.strip(":").replace("_", " ") for name in found]
    return list({name.casefold(): name for name in reversed(found) if name}.values())[::-1]


def variant(png: bytes, rng: Any, fixed: bool) -> Any:
    """One rendering: ground, size, place, and a rotation of at most 12 degrees unless the name is `fixed`."""
    plain = Image.open(io.BytesIO(png)).convert("RGB")
    if not fixed:
        plain = plain.rotate(rng.uniform(-12, 12), fillcolor="white", resample=Image.Resampling.BICUBIC)
    size = int(rng.uniform(0.75, 1.0) * plain.width)
    small = plain.resize((size, size), Image.Resampling.LANCZOS)
    ground = np.array(GROUNDS[rng.integers(len(GROUNDS))], dtype=np.float32)
    out = np.broadcast_to(ground, (plain.height, plain.width, 3)).copy()
    x, y = rng.integers(0, plain.width - size + 1, 2)
    out[y : y + size, x : x + size] = np.asarray(small, np.float32) * ground / 255
    return Image.fromarray(out.astype(np.uint8))
