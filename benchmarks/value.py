"""What verdicts buy in retrieval, with known truth; question, protocol and result are docs/evidence.md.

    python benchmarks/value.py [--seeds 5] [--drawings 1400] [--first-seed 0] [--only ARM,ARM] [--quick]

Needs the network once (see world.py) and trains its base once (tiny_clip.py). Finished (seed, arm) results lie in
benchmarks/value-cache and are used again, so a stopped run goes on; remove the folder for a fresh start. --quick: one
development seed, fewer drawings, a few arms, nothing written. Seeds from 100 are for development: never reported.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import value_labels as given
from result import ROOT
from tiny_clip import FOLDER, SEED, tiny_clip
from value_measure import TOKENS, Weights, by_projection, by_towers, measure, prepare, weights_of
from value_report import report
from value_world import World, cache_file, density, make_world

from clipcore import FineTuneData, PairLabels, fine_tune, preset
from clipcore.config import ModelConfig
from clipcore.data import items
from clipcore.example import Example
from clipcore.labels import Label
from clipcore.learner import Embeddings
from clipcore.towers import load_towers

CACHE = ROOT / "benchmarks" / "value-cache" / str(SEED)  # results are those of a base
ADAPTER_STEPS, ADAPTER_BATCH, ADAPTER_LR = 60, 512, 1e-3  # about the preset's 30 epochs
FULL_STEPS, FULL_BATCH, FULL_LR = 60, 256, 2e-4
DEVELOPMENT_SEED = 100
REPORTED, DRAWINGS = range(5), 800  # what docs/evidence.md fixed; nothing else is written
Labels = tuple[list[Label], dict[str, str]]
QUICK = ("base", "plain", "gist", "attract@300", "all@300", "sham_all@300", "full_plain", "full_all@300")


def train(world: World, base: Any, seed: int, labels: Labels, *, batch: int, full: bool) -> Weights:
    """The weights after a fixed number of steps; every arm of a seed has the same start, order and number of steps."""
    examples = [
        Example(f"i{i}", f"c{c}", world.pictures[i] if full else f"i{i}".encode(), world.captions[c])
        for i, c in world.pairs
    ]
    data = FineTuneData(train=examples, extra_captions=labels[1])
    steps = FULL_STEPS if full else ADAPTER_STEPS
    config = preset("full" if full else "adapter").with_values(
        {
            "model": {"name": f"local-dir:{FOLDER}"},
            "batch": {"size": batch, "micro_batch": batch, "workers": 0},
            "optimiser": {"lr": FULL_LR if full else ADAPTER_LR},
            "evaluation": {"sweep": 0, "previews": 0},
            "epochs": 2 + steps * batch // max(1, len(examples) - batch),
            "max_steps": steps,
            "seed": seed,
            "device": "cpu",
            "save_every_s": 1e9,
        }
    )
    folder = Path(tempfile.mkdtemp(prefix="nm-value-"))
    try:
        done = list(
            fine_tune(
                config,
                data,
                PairLabels.for_data(data, labels[0]),
                folder=folder,
                embeddings=None if full else _embeddings(world, base, data),
            )
        )
        if done[-1].step != steps:
            raise SystemExit(f"the run made {done[-1].step} of {steps} steps")
        return weights_of(load_towers(ModelConfig(name=f"local-dir:{folder / 'checkpoint'}")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@torch.inference_mode()
def _embeddings(world: World, base: Any, data: FineTuneData) -> Embeddings:
    known = items(data)
    image = world.image_ID[[int(x[1:]) for x in known.image_ids]]
    own = [int(x[1:]) for x in known.caption_ids if x.startswith("c")]
    caption = [torch.from_numpy(world.caption_CD[own]).float()]
    if data.extra_captions:  # they stand behind the captions of pairs
        caption.append(base.captions(base.tokens(list(data.extra_captions.values()))).clone())
    return Embeddings(torch.from_numpy(image).float(), torch.cat(caption))


def arms(world: World, seed: int) -> dict[str, tuple[Callable[[], Labels], int, bool]]:
    """Name → its labels, its batch, whether whole towers learn."""
    kept: dict[Any, list[given.Verdict]] = {}

    def asked(how: str, budget: int | None = None, **person: Any) -> list[given.Verdict]:
        key = (how, budget, *sorted(person.items()))
        if key not in kept:
            who = given.Person(world, seed, **person)
            kept[key] = who.outside(getattr(who, how)(budget))
        return kept[key]

    def real(way: str, budget: int | None, how: str = "queue", **person: Any) -> Callable[[], Labels]:
        return lambda: (given.labels_of(world, asked(how, budget, **person), way), {})

    def false(way: str) -> Callable[[], Labels]:
        return lambda: (given.sham(world, seed, real(way, 300)()[0]), {})

    def text(budget: int) -> Callable[[], Labels]:
        return lambda: given.written(world, seed, budget)

    def false_text() -> Labels:
        labels, extra = given.written(world, seed, 300)
        return given.sham_written(world, seed, labels), extra

    found: dict[str, Callable[[], Labels]] = {
        "plain": lambda: ([], {}),
        "gist": lambda: (given.model_mined(world, "gist"), {}),
        "nv_retriever": lambda: (given.model_mined(world, "nv"), {}),
    }
    for way in ("mask", "attract", "soft", "hard", "all"):
        found |= {f"{way}@300": real(way, 300), f"sham_{way}@300": false(way)}
    found |= {"written@300": text(300), "sham_written@300": false_text}
    found |= {f"all@{b}": real("all", b) for b in (100, 1000)} | {"all@pool": real("all", None, "pool")}
    found |= {f"{way}@pool": real(way, None, "pool") for way in ("mask", "attract", "hard")}
    found |= {"attract@1000": real("attract", 1000), "hard@1000": real("hard", 1000)}
    found |= {f"all@300_wrong{w:.0%}": real("all", 300, wrong=w) for w in (0.05, 0.15)}
    found["all@300_unsure"] = real("all", 300, hesitates=True)
    found |= {f"all@{b}_random_in_pool": real("all", b, "pool") for b in (100, 300, 1000)}
    found["all@300_random_of_all"] = real("all", 300, "anywhere")
    found["bulk@300"] = real("all", 300, "bulk")
    # added after the second protocol's result was known, so exploratory: what the best labels of all could buy
    found |= {
        f"{way}@truth": lambda way=way: (given.labels_of(world, given.truth(world), way), {})
        for way in ("mask", "attract")
    }
    listed = {name: (make, ADAPTER_BATCH, False) for name, make in found.items()}
    small = {"plain": found["plain"], "hard@300": found["hard@300"], "hard@pool": found["hard@pool"]}
    small["written@300"] = found["written@300"]
    listed |= {f"{name}_batch64": (make, 64, False) for name, make in small.items()}
    for name in ("plain", "sham_all@300", "all@300", "all@pool", "attract@pool", "attract@truth"):
        listed[f"full_{name}"] = (found[name], FULL_BATCH, True)
    return listed


def run_seed(seed: int, num: int, base: Any, cache: Path, only: tuple[str, ...]) -> dict[str, Any]:
    """All arms of one seed, those that lie in the cache from there."""
    files = {name: cache_file(cache, num, seed, name) for name in ("base", *arms_names())}
    wanted = [name for name in files if not only or name in only]
    if any(not files[name].exists() for name in wanted):
        world = make_world(seed, num, base, {})
        prepare(world, base)
        TOKENS[:] = [base]
        start, worn = weights_of(base), load_towers(ModelConfig(name=f"local-dir:{FOLDER}"))
        listed = arms(world, seed)
        for name in wanted:
            if files[name].exists():
                continue
            began = time.process_time()
            if name == "base":
                found, counts = measure(world, by_projection(start, start)), {}
            else:
                make, batch, full = listed[name]
                labels = make()
                counts = {v: sum(x.verdict == v for x in labels[0]) for v in ("match", "no_match", "unsure")}
                tuned = train(world, base, seed, labels, batch=batch, full=full)
                embed = by_towers(worn, start, tuned) if full else by_projection(start, tuned)
                found = measure(world, embed)
            about = {
                "labels": counts,
                "density": density(world),
                "cpu_s": round(time.process_time() - began, 1),
            }
            files[name].write_text(json.dumps(found | about))
            print(f"seed {seed}  {name:<24} {line(found | about)}", flush=True)
    return {name: json.loads(files[name].read_text()) for name in wanted}


def line(found: dict[str, Any]) -> str:
    """One arm in a line."""
    ap, mix = np.mean(found["ap"]), found["mix"]
    return (
        f"mAP@R {ap:.4f}  R@1 {found['i2t_r@1']:.3f}  kept {found['retention_map_at_r']:.3f}  new things "
        f"{np.mean(found['new_things']['ap']):.3f}  other style "
        f"{np.mean(found['other_style']['ap']):.3f}  mix {mix['share']}: {np.mean(mix['ap']):.4f} kept "
        f"{mix['retention_map_at_r']:.3f}  {found['labels']}  {found['cpu_s']} s"
    )


def arms_names() -> list[str]:
    """Every trained arm, in the order of the table."""
    return list(arms(None, 0))  # type: ignore[arg-type]  # nothing is labelled before a name is called


def main() -> None:
    """Measures what is missing, prints tables, writes benchmarks/results/value.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--drawings", type=int, default=DRAWINGS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of arms, with commas; nothing is written then")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    only = tuple(x for x in options.only.split(",") if x)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    num, cache = options.drawings, CACHE
    if options.quick:
        seeds, num, only = range(DEVELOPMENT_SEED, DEVELOPMENT_SEED + 1), 500, only or QUICK
        cache = Path(tempfile.mkdtemp(prefix="nm-value-quick-"))
    cache.mkdir(exist_ok=True, parents=True)
    base = tiny_clip()
    rows = [run_seed(seed, num, base, cache, only) for seed in seeds]
    report(rows, write=not only and seeds == REPORTED and num == DRAWINGS, drawings=num)


if __name__ == "__main__":
    main()
