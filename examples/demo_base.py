"""Makes the demo's base checkpoint (app/demo/openmoji-tiny) with clipcore, from random weights. One command, seeded.

    python examples/demo_base.py [FOLDER]

A few epochs only, so that there is something left to fix. Prints the held-out figures and writes them beside it.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from app.demo import BASE_MODEL
from app.demo.openmoji import rows
from clipcore import Example, FineTuneData, fine_tune, preset
from clipcore.events import Evaluated, StepDone
from clipcore.example import caption_id_of
from clipcore.towers import load_towers, save_plain

ARCHITECTURE = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
        # open_clip's tokeniser has 49,408 entries: 64 wide and stored as float16 they take 6.3 MB
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 4},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"},
}
SETTINGS = {
    "epochs": 6,
    "seed": 7,
    "batch": {"size": 256, "micro_batch": 256},
    "optimiser": {"lr": 2e-3, "warmup": 0.1, "weight_decay": 0.05},
    "evaluation": {"every_epochs": 2, "previews": 0},
}


def main(target: Path) -> None:
    """Trains in a temporary folder and puts the plain checkpoint (float16) and its log into `target`."""
    pairs = [Example(r.key, caption_id_of(r.caption), r.image, r.caption, r.split) for r in rows()]
    data = FineTuneData([x for x in pairs if x.split == "train"], [x for x in pairs if x.split == "held_out"])
    began, log = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "architecture"
        start.mkdir()
        (start / "open_clip_config.json").write_text(json.dumps(ARCHITECTURE))
        config = preset("scratch").with_values({**SETTINGS, "model": {"name": f"local-dir:{start}"}})
        towers = load_towers(config.model)
        for event in fine_tune(config, data, folder=Path(folder) / "run", towers=towers):
            if isinstance(event, Evaluated):
                log.append({"step": event.step, **{k: round(v, 4) for k, v in event.metrics.items()}})
                figures = {k: log[-1][k] for k in ("map_at_r", "i2t_r@1", "i2t_r@10", "t2i_r@1")}
                print(f"{time.monotonic() - began:6.0f} s  step {event.step:4d}  {figures}", flush=True)
            elif isinstance(event, StepDone) and event.step % 10 == 0:
                print(
                    f"{time.monotonic() - began:6.0f} s  step {event.step:4d}  loss {event.loss:.3f}",
                    flush=True,
                )
        shutil.rmtree(target / "open_clip_model.safetensors", ignore_errors=True)
        save_plain(towers, target, half=True)
    record = {
        "settings": SETTINGS,
        "num_train": len(data.train),
        "num_held_out": len(data.held_out),
        "held_out": log,
    }
    (target / "training_log.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else BASE_MODEL)
