"""Every Python block of docs/api-client.md runs, in order, against a running Nearmiss with its workers."""

import csv
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.demo.openmoji import drawings, rasterise

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(400)
def test_every_python_block_of_the_api_page_runs(nearmiss, tmp_path):
    (tmp_path / "shop").mkdir()
    with (tmp_path / "shop" / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["pic", "words", "split"])
        for i, drawing in enumerate(drawings()[:80]):
            (tmp_path / "shop" / drawing.key).write_bytes(rasterise(drawing, image_px=64))
            rows.writerow([drawing.key, drawing.caption, "test" if i >= 64 else "train"])
        rows.writerow(["none.png", "a picture that is not there", "train"])
    page = (ROOT / "docs" / "api-client.md").read_text(encoding="utf-8")
    code = "\n".join(BLOCK.findall(page)).replace("http://127.0.0.1:7860", nearmiss.address)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:] + nearmiss.logs()
    said = done.stdout
    assert "finished  1" in said and "none.png" in said and "404 there is no data set 999" in said
    assert any(name.endswith(".tar") for name in zipfile.ZipFile(tmp_path / "shop.zip").namelist())
    assert any(
        name.endswith(".safetensors") for name in zipfile.ZipFile(tmp_path / "shop-model.zip").namelist()
    )
