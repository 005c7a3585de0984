"""What the presets do on the demo, without verdicts: mAP@R of held-out drawings before and after, over several seeds.

    python benchmarks/recipes.py --split validation --presets full --set '{"optimiser": {"lr": 3e-4}, "epochs": 3}'
    python benchmarks/recipes.py                 every preset by its defaults, both halves; writes the result

The held-out families are halved by hash: values are chosen on `validation`, `test` is looked at once they stand. All
held-out drawings are new to the base model. The figure is that of the tuned weights alone; of the recommended mix, which
two presets export, it is told too, and flatters a little, because the half that measures it chooses it.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from typing import Any

from result import write_result

from app.demo import BASE_MODEL
from app.demo.openmoji import Drawing, drawings, rasterise
from clipcore import Example, FineTuneData, fine_tune, preset
from clipcore.events import Evaluated, Started, Swept

PX = 64  # what the base model sees
HALVES = ("validation", "test")
PRESETS = ("adapter", "lora", "full", "siglip")


def main() -> int:
    """Measures what is asked for and prints each run as it ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--split", choices=(*HALVES, "both"), default="both")
    parser.add_argument("--set", type=json.loads, default={}, help="changes of the configuration as JSON")
    parser.add_argument("--quick", action="store_true", help="few drawings, two steps: only whether it runs")
    given = parser.parse_args()
    if given.quick:
        given.set = {"max_steps": 2, **given.set}
    pictures = rasterised(num_train=600 if given.quick else None)
    halves = HALVES if given.split == "both" else (given.split,)
    runs = []
    for half in halves:
        data = demo(pictures, half)
        for name in given.presets.split(","):
            for seed in map(int, given.seeds.split(",")):
                runs.append(measured(data, name, seed, given.set) | {"half": half})
                print(json.dumps(runs[-1]), flush=True)
    if given.split == "both" and (given.quick or not given.set):
        sizes = {half: num_pairs(half) for half in halves}
        write_result("recipes", figures_of(runs), quick=given.quick, runs=runs, num_pairs=sizes)
    return 0


def rasterised(*, num_train: int | None = None) -> dict[str, bytes]:
    """Key → PNG of the held-out drawings and of the first `num_train` to train on (None: all)."""
    train = [drawing for drawing in drawings() if drawing.split == "train"][:num_train]
    held_out = [drawing for drawing in drawings() if drawing.split == "held_out"]
    return {drawing.key: rasterise(drawing, image_px=PX) for drawing in (*train, *held_out)}


def half_of(drawing: Drawing) -> str:
    """validation or test, by the hash of the family."""
    return HALVES[hashlib.sha256(repr(drawing.family).encode()).digest()[0] % 2]


def num_pairs(half: str) -> int:
    """Held-out pairs of a half."""
    return sum(d.split == "held_out" and half_of(d) == half for d in drawings())


def demo(pictures: dict[str, bytes], half: str) -> FineTuneData:
    """The demo with one half of its held-out drawings, of what there are pictures of."""
    known = [d for d in drawings() if d.key in pictures]
    chosen = [d for d in known if d.split == "train" or half_of(d) == half]
    examples = [Example(d.key, d.key, pictures[d.key], d.caption, d.split) for d in chosen]
    return FineTuneData(
        train=[x for x in examples if x.split == "train"],
        held_out=[x for x in examples if x.split == "held_out"],
    )


def measured(data: FineTuneData, name: str, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """One run: mAP@R before, of the tuned weights, and of the recommended mix."""
    config = preset(name).with_values(changes).with_values(
        {
            "model": {"name": f"local-dir:{BASE_MODEL}"},
            "seed": seed,
            "evaluation": {"previews": 0, "sweep": 6, "export_mix": "tuned"},
        }
    )  # fmt: skip
    told: dict[str, Any] = {"preset": name, "seed": seed, "changes": changes}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for event in fine_tune(config, data, folder=folder):
            if isinstance(event, Started):
                told["steps"] = event.total_steps
            elif isinstance(event, Evaluated) and event.when in ("before", "after"):
                told[event.when] = round(event.metrics["map_at_r"], 4)
            elif isinstance(event, Swept):
                best = next(mix for mix in event.mixes if mix.share == event.recommended)
                told |= {"mix": event.recommended, "mixed": round(best.metrics["map_at_r"], 4)}
    return told | {"seconds": round(time.monotonic() - began, 1)}


def figures_of(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean gain of each preset in each half over the seeds, and the smallest."""
    figures: dict[str, float] = {}
    for half in HALVES:
        for name in dict.fromkeys(run["preset"] for run in runs):
            gains = [r["after"] - r["before"] for r in runs if (r["preset"], r["half"]) == (name, half)]
            if gains:
                figures[f"{name}_{half}_gain"] = round(statistics.mean(gains), 4)
                figures[f"{name}_{half}_least"] = round(min(gains), 4)
    return figures


if __name__ == "__main__":
    sys.exit(main())
