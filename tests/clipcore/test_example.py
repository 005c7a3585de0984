"""The example of the README runs as a newcomer would run it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from app.demo import BASE_MODEL

ROOT = Path(__file__).parents[2]


def test_example_trains_from_a_table_and_a_verdicts_file(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["filepath\ttitle\timage_id\tcaption_id\tsplit"]
    for i in range(24):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png\ta thing number {i}\ti{i}\tc{i}\t{'held_out' if i % 6 == 0 else 'train'}")
    (tmp_path / "pairs.tsv").write_text("\n".join(lines))
    verdict = {"image_id": "i1", "caption_id": "c2", "verdict": "no_match"}
    (tmp_path / "verdicts.jsonl").write_text(json.dumps(verdict))
    arguments = [
        tmp_path / "pairs.tsv",
        tmp_path / "verdicts.jsonl",
        f"local-dir:{BASE_MODEL}",
        tmp_path / "run",
    ]
    done = subprocess.run(
        [sys.executable, ROOT / "examples/finetune.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "before" in done.stdout and "open_clip loads the result" in done.stdout
    assert (tmp_path / "run/checkpoint/open_clip_model.safetensors").is_file()
