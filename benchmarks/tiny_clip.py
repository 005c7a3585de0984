"""A small CLIP that reads the world's captions, as a pretrained one reads ours: the start of the quality benchmarks.

    python benchmarks/tiny_clip.py     four minutes of one core, into benchmarks/downloads/tiny-clip-4711

NEARMISS_BASE_SEED names another base (`value_bases.py` asks how much of a result is that of its base).

It has seen the signs in the Twemoji style, and in the OpenMoji style those of subjects that no world has, each in
renderings of its own with a name drawn as the world draws names. So the things that a world holds out are known to it the
way common things are known to a web-scale CLIP, and their drawings in this style are new.
"""

import argparse
import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from renderings import variant
from world import DOWNLOADS, MOST_A_SUBJECT, Style, families, picture, say

from clipcore import Example, FineTuneData, fine_tune, preset
from clipcore.config import ModelConfig
from clipcore.events import StepDone
from clipcore.example import caption_id_of
from clipcore.towers import load_towers, save_plain

SEED = int(os.environ.get("NEARMISS_BASE_SEED", "4711"))  # of first weights and data; no seed of a world
FOLDER = DOWNLOADS / f"tiny-clip-{SEED}"
RENDERINGS = {
    "twemoji": 5,
    "openmoji": 8,
}  # of each drawing, each with a name of its own: few epochs, much variety
ARCHITECTURE = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 48, "layers": 3, "width": 128, "head_width": 32, "patch_size": 12},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"},
}


def tiny_clip() -> Any:
    """The towers, trained now when there are none yet."""
    if not (FOLDER / "open_clip_model.safetensors").exists():
        train()
    towers = load_towers(ModelConfig(name=f"local-dir:{FOLDER}"))
    towers.model.eval()
    return towers


def examples(rng: Any) -> list[Example]:
    """Renderings of Twemoji's drawings and of the base's own of OpenMoji, each with one true caption."""
    found = []
    for family in families(rng):
        for sign in family[:MOST_A_SUBJECT]:
            styles: tuple[Style, ...] = ("twemoji", "openmoji") if sign.is_of_the_base else ("twemoji",)
            for style in styles:
                plain = picture(sign, style)
                for n in range(RENDERINGS[style]):
                    text, image = say(sign, rng), io.BytesIO()
                    variant(plain, rng, upright=sign.stays_upright).save(image, "png", compress_level=1)
                    found.append(
                        Example(f"{style}-{sign.code}-{n}", caption_id_of(text), image.getvalue(), text)
                    )
    return found


def train(*, epochs: int = 6) -> None:
    """From random weights, with clipcore's own preset."""
    data = FineTuneData(train=examples(np.random.default_rng(SEED)))
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "architecture"
        start.mkdir()
        (start / "open_clip_config.json").write_text(json.dumps(ARCHITECTURE))
        config = preset("scratch").with_values(
            {
                "epochs": epochs,
                "seed": SEED,
                "batch": {"size": 256, "micro_batch": 256, "workers": 0, "augment": False},
                "optimiser": {"lr": 2e-3, "warmup": 0.05, "weight_decay": 0.1},
                "evaluation": {"previews": 0, "sweep": 0},
                "model": {"name": f"local-dir:{start}"},
                "device": "cpu",
            }
        )
        torch.manual_seed(SEED)  # or the first weights depend on what the process drew before
        towers = load_towers(config.model)
        for event in fine_tune(config, data, folder=Path(folder) / "run", towers=towers):
            if isinstance(event, StepDone) and event.step % 25 == 0:
                spent = time.process_time() - began
                print(
                    f"{spent:6.0f} CPU s  step {event.step} of {event.total_steps}  loss {event.loss:.3f}",
                    flush=True,
                )
        save_plain(towers, FOLDER)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    train(epochs=parser.parse_args().epochs)
