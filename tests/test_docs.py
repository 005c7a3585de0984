"""The documentation is true: its Python blocks run, its reference is what the docstrings say, its links exist."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.demo import BASE_MODEL
from app.demo.openmoji import drawings, rasterise
from clipcore.example import caption_id_of

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LIVE = {"api-client.md"}  # needs a server: tests/live runs it
PAGES = sorted(
    p
    for p in (ROOT / "docs").glob("*.md")
    if p.name not in LIVE and "```python" in p.read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of 60 pairs with pictures, verdicts on them, and a checkpoint in `base/`."""
    folder = tmp_path_factory.mktemp("docs")
    chosen = drawings()[:60]
    with (folder / "pairs.tsv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["filepath", "title", "split"])
        for i, drawing in enumerate(chosen):
            (folder / drawing.key).write_bytes(rasterise(drawing, image_px=64))
            rows.writerow([drawing.key, drawing.caption, "held_out" if i >= 48 else "train"])
    said = [(0, 5, "match"), (1, 6, "no_match"), (2, 7, "unsure")]
    lines = [
        {"image_id": chosen[i].key, "caption_id": caption_id_of(chosen[j].caption), "verdict": verdict}
        for i, j, verdict in said
    ]
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    (folder / "base").symlink_to(BASE_MODEL)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_python_block_runs(page, folder):
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    (folder / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "page.py"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", ["robustness.md", "hostile-files.md"])
def test_every_test_that_a_table_names_exists(page):
    named = re.findall(
        r"`((?:tests/|test_)[\w/]+\.py)(?:::(\w+))?", (ROOT / "docs" / page).read_text("utf-8")
    )
    assert named or page != "robustness.md"
    for path, test in named:
        files = list((ROOT / "tests").rglob(Path(path).name))
        assert len(files) == 1 and str(files[0]).endswith(path), path
        assert not test or f"def {test}" in files[0].read_text("utf-8"), (path, test)


def test_reference_is_what_the_docstrings_say():
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs/make_api.py")
    assert spec is not None and spec.loader is not None
    make_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_api)
    written = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert make_api.reference() == written, "run python docs/make_api.py"


def test_links_between_pages_lead_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    broken = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []
