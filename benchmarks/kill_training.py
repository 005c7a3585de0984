"""kill -9 in the middle of training, again and again: do weights and loss trace end with the same bits?

    python benchmarks/kill_training.py --kills 200 [--no-write]

A tiny CLIP with patch dropout and labels trains in a process of its own, which is killed at a random moment and started
again in the same folder until it has finished; then the next run begins. Every loss that any attempt reported must be,
bit by bit, the one that an undisturbed run reported at that step, and the final checkpoint must be the same file.
"""

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from result import write_result

from clipcore import Example, FineTuneConfig, FineTuneData, Label, PairLabels, preset

STEPS = 60
ARCHITECTURE = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 32,
            "patch_size": 8,
            "head_width": 16,
            "patch_dropout": 0.3,
        },
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
}


def setting(model: Path) -> tuple[FineTuneConfig, FineTuneData, PairLabels]:
    """The same configuration, data and labels in every process."""
    rng = np.random.default_rng(0)
    pairs = []
    for k in range(40):
        pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        pairs.append(Example(f"i{k}", f"c{k}", Image.fromarray(pixels), f"a thing number {k}"))
    said = [Label("i1", "c2", "match"), Label("i3", "c4", "no_match"), Label("i6", "c7", "unsure")]
    values = {
        "model": {"name": f"local-dir:{model}"},
        "batch": {"size": 16, "micro_batch": 6, "num_resident": 2},
        "epochs": 1000,
        "max_steps": STEPS,
        "save_every_s": 0.05,
        "device": "cpu",
    }
    labels = PairLabels(said, pairs=[(x.image_id, x.caption_id) for x in pairs])
    return preset("scratch").with_values(values), FineTuneData(pairs, pairs[::4]), labels


def train(model: Path, folder: Path) -> None:
    """A process's work: train on from the newest checkpoint and write every step's loss, as its exact bits."""
    import torch

    from clipcore.finetune import StepDone, fine_tune

    torch.set_num_threads(1)
    config, data, labels = setting(model)
    with (folder / "trace").open("a") as trace:
        for event in fine_tune(config, data, labels, folder=folder):
            if isinstance(event, StepDone):
                trace.write(f"{event.step} {event.loss.hex()}\n")
                trace.flush()


def main() -> int:
    """The exit code is 1 when anything differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-write", action="store_true")
    given = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clipcore.finetune", "open_clip"])  # so that a start takes no seconds
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "architecture"
        model.mkdir()
        (model / "open_clip_config.json").write_text(json.dumps(ARCHITECTURE))
        reference = Path(place) / "reference"
        reference.mkdir()
        warm = context.Process(target=train, args=(model, reference))
        warm.start()
        warm.join()
        expected, length = outcome(reference), duration(context, model, Path(place) / "timed")
        kills = runs = mismatches = 0
        while kills < given.kills:
            folder = Path(place) / f"run-{runs}"
            folder.mkdir()
            kills += disturbed(context, model, folder, chance, length, most=given.kills - kills)
            runs += 1
            mismatches += outcome(folder) != expected
            print(f"\r{kills} kills in {runs} runs, {mismatches} mismatches", end="", flush=True)
    print()
    if not given.no_write:
        write_result(
            "kill_training", {"kills": kills, "mismatches": mismatches, "runs": runs, "steps": STEPS}
        )
    return int(mismatches > 0)


def duration(context: multiprocessing.context.BaseContext, model: Path, folder: Path) -> float:
    """Seconds of an undisturbed run."""
    folder.mkdir()
    began = time.monotonic()
    process = context.Process(target=train, args=(model, folder))  # type: ignore[attr-defined]
    process.start()
    process.join()
    return time.monotonic() - began


def disturbed(
    context: multiprocessing.context.BaseContext,
    model: Path,
    folder: Path,
    chance: random.Random,
    length: float,
    most: int,
) -> int:
    """Trains to the end in `folder`; how many processes were killed on the way."""
    kills = 0
    while True:
        process = context.Process(target=train, args=(model, folder))  # type: ignore[attr-defined]
        process.start()
        process.join(chance.uniform(0.0, length) if kills < most else None)
        if process.exitcode is not None:
            if process.exitcode != 0:
                raise SystemExit(f"training ended with code {process.exitcode} in {folder}")
            return kills
        process.kill()
        process.join()
        kills += 1


def outcome(folder: Path) -> tuple[dict[str, set[str]], bytes]:
    """Every loss that was reported at each step (one, if all is well), and the final weights' bytes."""
    losses: dict[str, set[str]] = {}
    for line in (folder / "trace").read_text().splitlines():
        step, _, bits = line.partition(" ")
        if bits.endswith(("p+0", "p+1", "p+2", "p-1", "p-2", "p-3")):  # a kill may cut the last line
            losses.setdefault(step, set()).add(bits)
    return losses, next((folder / "checkpoint").glob("*.safetensors")).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
