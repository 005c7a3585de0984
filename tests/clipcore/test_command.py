"""`python -m clipcore`: a YAML and tables in, a plain checkpoint out; torchrun's two processes end with one's weights."""

import csv
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from app.demo import BASE_MODEL
from app.demo.openmoji import drawings, rasterise

YAML = """
model: {name: "local-dir:%s", train: all}
batch: {size: 12, micro_batch: 4, num_resident: 0}
optimiser: {lr: 1.0e-4}
epochs: 50
max_steps: 6
save_every_s: 1000
device: cpu
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    with (folder / "pairs.tsv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["filepath", "title", "split"])
        for i, drawing in enumerate(drawings()[:30]):
            (folder / drawing.key).write_bytes(rasterise(drawing, image_px=64))
            rows.writerow([drawing.key, drawing.caption, "held_out" if i >= 24 else "train"])
    (folder / "run.yaml").write_text(YAML % BASE_MODEL, encoding="utf-8")
    return folder / "pairs.tsv"


def run(*command):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command], env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def arguments(table, out):
    return [str(table.parent / "run.yaml"), "--pairs", str(table), "--out", str(out)]


def weights(out):
    return safetensors.torch.load_file(next((out / "checkpoint").glob("*.safetensors")))


def test_dry_run_tells_the_steps_and_writes_nothing(table, tmp_path):
    said = run(sys.executable, "-m", "clipcore", *arguments(table, tmp_path / "out"), "--dry-run")
    assert "steps: 6" in said and not (tmp_path / "out").exists()


def test_two_processes_end_with_the_weights_of_one(table, tmp_path):
    said = run(sys.executable, "-m", "clipcore", *arguments(table, tmp_path / "one"))
    assert "step 6/6" in said and "local-dir:" in said
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run(*torchrun, "-m", "clipcore", *arguments(table, tmp_path / "two"))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    before = safetensors.torch.load_file(next(BASE_MODEL.glob("*.safetensors")))
    for name, value in one.items():
        if value.is_floating_point() and value.numel() > 1:
            moved = (value.double() - before[name].double()).norm()
            apart = (value.double() - two[name].double()).norm()
            assert apart <= 2e-2 * moved + 1e-6, (name, float(apart), float(moved))
    assert any(not torch.equal(one[name], before[name]) for name in one)
