"""The smallest open_clip model that tests train: pictures of 16 pixels, a width of 16, real tokens."""

import json
from pathlib import Path

TOWERS = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
}


def tiny_towers(folder: Path) -> str:
    """Writes it as a local folder; its name for a configuration or a model."""
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(TOWERS))
    return f"local-dir:{folder}"
