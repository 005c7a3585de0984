"""`python -m clipcore`: a YAML and tables in, a plain checkpoint out; torchrun's two processes end with one's weights."""

import csv
import json
import os
import runpy
import signal
import subprocess
import sys

import pytest
import safetensors.torch
import torch
import yaml

from app.demo import BASE_MODEL
from app.demo.openmoji import drawings, rasterise
from clipcore.__main__ import main
from clipcore.example import caption_id_of
from clipcore.step import Stepper
from tests.tiny_towers import tiny_towers

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


@pytest.mark.parametrize("change", ["epochs: 0", "batch: {size: 25}", "max_steps: -1", "no rows"])
def test_a_command_that_would_make_no_step_does_not_end_with_0(change, table, tmp_path, monkeypatch, capsys):
    pairs = table
    if change == "no rows":
        pairs = tmp_path / "pairs.tsv"
        pairs.write_text("filepath\ttitle\tsplit\n")
    settings = yaml.safe_load(YAML % BASE_MODEL) | (yaml.safe_load(change) if ":" in change else {})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    command = ["clipcore", str(tmp_path / "run.yaml"), "--pairs", str(pairs), "--out", str(tmp_path / "out")]
    for more in ([], ["--dry-run"]):
        monkeypatch.setattr(sys, "argv", command + more)
        monkeypatch.delitem(sys.modules, "clipcore.__main__", raising=False)
        with pytest.raises(SystemExit) as end:
            runpy.run_module("clipcore", run_name="__main__")
        assert end.value.code == 2 and capsys.readouterr().err.startswith("clipcore: ")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_in_the_middle_of_a_step_saves_and_the_same_command_ends_with_the_same_bits(
    table, tmp_path, monkeypatch, capsys
):
    torch.set_num_threads(1)
    model = {"model": {"name": tiny_towers(tmp_path), "from_scratch": True, "train": "all"}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(yaml.safe_load(YAML % BASE_MODEL) | model))
    command = [str(tmp_path / "run.yaml"), "--pairs", str(table), "--out"]
    assert main([*command, str(tmp_path / "undisturbed")]) == 0
    take, steps = Stepper.take, iter(range(1, 9))

    def interrupted(self, batch):
        if next(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return take(self, batch)

    monkeypatch.setattr(Stepper, "take", interrupted)
    command.append(str(tmp_path / "stopped"))
    assert main(command) == 0 and "stopped at step 3" in capsys.readouterr().out
    assert not (tmp_path / "stopped" / "checkpoint").exists()
    assert main(command) == 0 and next(steps) == 7, "it began anew"
    one, other = weights(tmp_path / "undisturbed"), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(autouse=True)
def own_signals():
    """The command's handlers end with the test: it runs in the tests' own process here."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("ranks", [2, 4])
def test_processes_end_with_the_weights_of_one_after_twenty_steps(ranks, alone, table, tmp_path):
    """float64, labels with appended negatives, an EMA, a last batch of fewer rows: 1e-9 relative."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    run(*torchrun, "-m", "clipcore", *exact(table, tmp_path / "many"))
    one, many = weights(alone), weights(tmp_path / "many")
    before = safetensors.torch.load_file(next(BASE_MODEL.glob("*.safetensors")))
    moved = 0
    for name, value in one.items():
        if value.is_floating_point():
            assert value.dtype == torch.float64
            moved += bool((value - before[name]).norm() > 1e-6)
            assert (value - many[name]).norm() <= 1e-9 * value.norm(), name
    assert moved > 20


@pytest.fixture(scope="module")
def alone(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    said = run(sys.executable, "-m", "clipcore", *exact(table, out))
    assert "step 20/20" in said and "local-dir:" in said
    return out


def exact(table, out):
    """The command's arguments for twenty steps in float64 with verdicts."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    said = [
        {"image_id": rows[i]["filepath"], "caption_id": caption_id_of(rows[j]["title"]), "verdict": verdict}
        for i, j, verdict in [(0, 20, "no_match"), (1, 9, "match"), (2, 21, "no_match"), (3, 8, "unsure")]
    ]
    verdicts = table.parent / "verdicts.jsonl"
    verdicts.write_text("".join(json.dumps(x) + "\n" for x in said), encoding="utf-8")
    settings = yaml.safe_load(YAML % BASE_MODEL) | {
        "precision": "fp64",
        "max_steps": 20,
        "optimiser": {"lr": 1e-4, "ema": 0.9},
        "batch": {"size": 11, "micro_batch": 4, "num_resident": 1},
        "evaluation": {"every_epochs": 1, "keep": "best"},
    }
    (table.parent / "exact.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    files = [str(table.parent / "exact.yaml"), "--pairs", str(table), "--verdicts", str(verdicts)]
    return [*files, "--out", str(out)]
