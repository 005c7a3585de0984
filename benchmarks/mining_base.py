"""The base model of `mining_quality.py`: a small CLIP that can read the captions and has never seen the mined pictures.

    python benchmarks/mining_base.py [FOLDER]

What a person who fine-tunes has is a pretrained model: it knows the words and the things from other pictures. So this
base learns, with clipcore and from random weights, (1) Twemoji, another hand's drawings of the same emoji (npm
`@twemoji/svg` 15.0.0, CC BY 4.0, fetched once), and (2) the OpenMoji drawings of the families that are never mined
(`is_mined`, half of them by hash), each in `VISITS` renderings under the transforms of `renderings.py`, each rendering
with one of the drawing's true names: English, aliases, German, French, Spanish. Trained once, some minutes on two cores,
and kept in FOLDER (default: the user's cache); nothing of it is part of the application.
"""

import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from renderings import FIXED, names_of, variant

from app.demo.openmoji import Drawing, Family, drawings, rasterise
from clipcore import Example, FineTuneData, fine_tune, preset
from clipcore.config import ModelConfig
from clipcore.events import Evaluated, StepDone
from clipcore.example import caption_id_of
from clipcore.towers import load_towers, save_plain

TWEMOJI = "https://registry.npmjs.org/@twemoji/svg/-/svg-15.0.0.tgz"
TWEMOJI_SHA256 = "1d2907557a422c7c4e3feca50ef915c39da1db3d76b4a4d7e73fb59bce4403c3"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nearmiss"
MINED_SHARE = 0.5  # of the families; the others' drawings teach the base OpenMoji's hand
PX = 48
VISITS = 3  # renderings of each drawing, each with one name
EDITION = 1  # raise it when something else changes what the base learns
ARCHITECTURE = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": PX, "layers": 3, "width": 128, "head_width": 32, "patch_size": 12},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"},
}
SETTINGS = {
    "epochs": 4,
    "seed": 7,
    "batch": {"size": 256, "micro_batch": 256},
    "optimiser": {"lr": 2e-3, "warmup": 0.1, "weight_decay": 0.05},
    "evaluation": {"every_epochs": 4, "previews": 0, "sweep": 0},
}


def is_mined(family: Family) -> bool:
    """Whether a family's drawings belong to the mined half, which the base never sees. By hash, not by choice."""
    return hashlib.sha256(repr(family).encode()).digest()[0] < 256 * MINED_SHARE


def base_model(folder: Path = CACHE / "mining-base") -> ModelConfig:
    """The base, trained now if `folder` has none made by these settings."""
    recipe = hashlib.sha256(
        json.dumps([ARCHITECTURE, SETTINGS, MINED_SHARE, PX, VISITS, EDITION]).encode()
    ).hexdigest()
    note = folder / "recipe"
    if not note.exists() or note.read_text() != recipe:
        train(folder)
        note.write_text(recipe)
    return ModelConfig(name=f"local-dir:{folder}")


def train(folder: Path) -> None:
    """Trains and puts the plain checkpoint and its log into `folder`."""
    data = FineTuneData(list(_training_pairs()), list(_pairs(_openmoji(mined=True), 1, every=5)))
    print(
        f"{len(data.train)} renderings to learn, {len(data.held_out)} of the mined half to watch", flush=True
    )
    log: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        start = Path(name) / "architecture"
        start.mkdir()
        (start / "open_clip_config.json").write_text(json.dumps(ARCHITECTURE))
        config = preset("scratch").with_values({**SETTINGS, "model": {"name": f"local-dir:{start}"}})
        towers = load_towers(config.model)
        for event in fine_tune(config, data, folder=Path(name) / "run", towers=towers):
            if isinstance(event, Evaluated):
                log.append({"step": event.step, **{k: round(v, 4) for k, v in event.metrics.items()}})
                print({k: log[-1][k] for k in ("step", "map_at_r", "i2t_r@1", "t2i_r@1")}, flush=True)
            elif isinstance(event, StepDone) and event.step % 20 == 0:
                print(f"step {event.step} loss {event.loss:.3f}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        save_plain(towers, folder)
    (folder / "training_log.json").write_text(json.dumps({"settings": SETTINGS, "watched": log}, indent=1))


def _training_pairs() -> Iterator[Example]:
    yield from _pairs(_twemoji(), VISITS)
    yield from _pairs(_openmoji(mined=False), VISITS)


def _openmoji(*, mined: bool) -> Iterator[tuple[str, Drawing, bytes]]:
    for d in drawings():
        if is_mined(d.family) == mined:
            yield f"openmoji-{d.code}", d, rasterise(d, image_px=128)


def _twemoji() -> Iterator[tuple[str, Drawing, bytes]]:
    """Twemoji's drawings of OpenMoji's emoji."""
    import resvg_py

    svg_of = dict(_twemoji_files())
    for d in drawings():
        code = d.code.lower()
        for name in (code, code.replace("-fe0f", "")):
            name = "-".join(part.lstrip("0") for part in name.split("-"))
            if name in svg_of:
                png = resvg_py.svg_to_bytes(
                    svg_string=svg_of[name], background="white", width=128, height=128
                )
                yield f"twemoji-{d.code}", d, bytes(png)
                break


def _twemoji_files() -> Iterator[tuple[str, str]]:
    path = CACHE / "twemoji-svg-15.0.0.tgz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(TWEMOJI, timeout=60) as answer:
            path.write_bytes(answer.read())
    if hashlib.sha256(path.read_bytes()).hexdigest() != TWEMOJI_SHA256:
        raise SystemExit(
            f"{path} is not the archive that this benchmark was written for; delete it and try again"
        )
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".svg") else None
            if file is not None:
                yield Path(member.name).stem, file.read().decode()


def _pairs(
    pictures: Iterator[tuple[str, Drawing, bytes]], visits: int, *, every: int = 1
) -> Iterator[Example]:
    rng = np.random.default_rng(11)
    for n, (key, drawing, png) in enumerate(pictures):
        if n % every:
            continue
        names = names_of(drawing)
        for visit in range(visits):
            name = names[0] if visit == 0 else names[rng.integers(len(names))]
            plain = Image.open(io.BytesIO(png)).convert("RGB")
            picture = variant(plain, rng, upright=bool(FIXED.search(drawing.caption))).resize((PX, PX))
            out = io.BytesIO()
            picture.save(out, "PNG")
            split = "train" if visits > 1 else "held_out"
            yield Example(f"{key}-{visit}", caption_id_of(name), out.getvalue(), name, split)


if __name__ == "__main__":
    train(Path(sys.argv[1]) if len(sys.argv) > 1 else CACHE / "mining-base")
