"""What verdicts buy where a set holds many pictures of few things: the third protocol of docs/evidence.md.

    python benchmarks/value_many.py [--seeds 0,1,2,3,4] [--report]

Whole towers, base and names of value.py (`tiny_clip.py`, `world.py`). Finished (seed, arm) results lie in
benchmarks/value-cache and are used again; two processes may take different seeds, and `--report` then makes the tables.
Seeds from 100 are for development: never reported.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import value
import value_labels as given
from result import write_result
from tiny_clip import FOLDER, tiny_clip
from value import CACHE, Labels, train
from value_measure import Embed, by_projection, by_towers, prepare, retrieval, weights_of
from value_report import DRAWS, compare, holm
from value_world import NEW_THINGS, World, density, gallery, rendered, world_of
from world import Sign, Style, families, picture, truths

from clipcore.config import ModelConfig
from clipcore.towers import load_towers

SUBJECTS, DRAWINGS, PICTURES = 120, 2, 8  # subjects trained on, drawings of each, renderings of each drawing
NUM_KEPT = 300
STEPS, BATCH, LR = 80, 256, 2e-4
REPORTED = (0, 1, 2, 3, 4)
PRIMARY = ("attract@300", "plain")
CONFIRM = (
    PRIMARY,
    ("attract@300", "sham_attract@300"),
    ("attract@300", "gist"),
    ("attract@300", "nv_retriever"),
    ("attract@300", "attract@300_random_in_pool"),
    ("sham_attract@300", "plain"),
    ("mask@300", "plain"),
    ("all@300", "plain"),
    ("sham_all@300", "plain"),
    ("attract@100", "plain"),
    ("attract@1000", "plain"),
    ("attract@1000_random_in_pool", "plain"),
    ("attract@truth", "plain"),
)
FURTHER = ("other_drawings", "new_things")


def make_world(seed: int, towers: Any) -> World:
    """The seed's subjects, `PICTURES` renderings of each of their drawings, each with one true name; new renderings to test."""
    rng = np.random.default_rng(seed)
    drawn: dict[tuple[str, str], Any] = {}

    def of(sign: Sign, style: Style) -> Any:
        if (sign.code, style) not in drawn:
            drawn[sign.code, style] = picture(sign, style)
        return drawn[sign.code, style]

    train_: list[Sign] = []
    parts: dict[str, list[Sign]] = {name: [] for name in (*FURTHER, "kept")}
    num = 0
    for family in families(rng):
        if family[0].is_of_the_base or num >= SUBJECTS:
            parts["kept"] += family[:6]
        elif rng.random() < NEW_THINGS:
            parts["new_things"] += family[: DRAWINGS + 5]
        else:
            num += 1
            train_ += family[:DRAWINGS]
            parts["other_drawings"] += family[DRAWINGS : DRAWINGS + 5]
    trained = rendered(train_, rng, of, copies=PICTURES)
    known = {of(s, "openmoji").tobytes() for s in train_}
    fresh = {name: [s for s in parts[name] if of(s, "openmoji").tobytes() not in known] for name in FURTHER}
    shown = {"known_things": rendered(train_, rng, of, copies=2)}
    shown |= {name: rendered(fresh[name], rng, of, copies=2) for name in FURTHER}
    alike: dict[bytes, set[str]] = {}
    for s in (*train_, *fresh["other_drawings"], *fresh["new_things"]):
        alike.setdefault(of(s, "openmoji").tobytes(), set()).update(truths(s))

    def true(some: list[Sign], texts: list[str]) -> Any:
        return np.array([[t in alike[of(s, "openmoji").tobytes()] for t in texts] for s in some])

    galleries = {}
    for name, part in shown.items():
        texts = sorted({*part.said, *(trained.said if name == "known_things" else ())})
        is_true = true(part.signs, texts)
        some = is_true.any(axis=0)
        texts = [t for t, keep in zip(texts, some, strict=True) if keep]
        galleries[name] = gallery(towers, part.signs, part.pictures, texts, is_true[:, some])
    pick = rng.permutation(len(parts["kept"]))[:NUM_KEPT]
    kept = rendered([parts["kept"][i] for i in pick], rng, of, copies=1, style="twemoji")
    texts = sorted(set(kept.said))
    is_true = np.array([[t in truths(s) for t in texts] for s in kept.signs])
    galleries["kept"] = gallery(towers, kept.signs, kept.pictures, texts, is_true)
    return world_of(towers, rng, trained, true, galleries)


def arms(world: World, seed: int) -> dict[str, Callable[[], Labels]]:
    """Name → its labels."""

    def asked(how: str, budget: int, way: str) -> list[Any]:
        person = given.Person(world, seed)
        return given.labels_of(world, person.outside(getattr(person, how)(budget)), way)

    def false(way: str) -> Callable[[], Labels]:
        return lambda: (given.sham(world, seed, asked("queue", 300, way)), {})

    found: dict[str, Callable[[], Labels]] = {
        "plain": lambda: ([], {}),
        "gist": lambda: (given.model_mined(world, "gist"), {}),
        "nv_retriever": lambda: (given.model_mined(world, "nv"), {}),
        "sham_attract@300": false("attract"),
        "sham_all@300": false("all"),
        "attract@truth": lambda: (given.labels_of(world, given.truth(world), "attract"), {}),
    }
    for how, suffix, some in (
        ("queue", "", (("attract", 100), ("attract", 300), ("attract", 1000), ("mask", 300), ("all", 300))),
        ("pool", "_random_in_pool", (("attract", 300), ("attract", 1000))),
    ):
        for way, budget in some:
            found[f"{way}@{budget}{suffix}"] = lambda h=how, b=budget, w=way: (asked(h, b, w), {})  # type: ignore[misc]
    return found


def measured(world: World, embed: Embed) -> dict[str, Any]:
    """mAP@R per query on the known things; beside it the other drawings, the new things and what is kept."""

    def mean(name: str, share: float) -> float:
        found = retrieval(world.galleries[name], *embed(world.galleries[name], share))
        return float(np.mean(found["ap"]))

    found = retrieval(world.galleries["known_things"], *embed(world.galleries["known_things"], 1.0))
    for name in FURTHER:
        part = retrieval(world.galleries[name], *embed(world.galleries[name], 1.0))
        found[name] = {key: part[key] for key in ("ap", "cluster")}
    return found | {
        "kept": mean("kept", 1.0),
        "half_mix": mean("known_things", 0.5),
        "half_mix_kept": mean("kept", 0.5),
    }


def run_seed(seed: int, base: Any, *, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """The base and the arms of one seed (`only` some, or all), those that lie in the cache from there."""
    names = only or tuple(arms(None, 0))  # type: ignore[arg-type]
    files = {name: CACHE / f"many-{seed}-{name}.json" for name in ("base", *names)}
    if not all(path.exists() for path in files.values()):
        world = make_world(seed, base)
        prepare(world, base)
        start, worn = weights_of(base), load_towers(ModelConfig(name=f"local-dir:{FOLDER}"))
        made = arms(world, seed)
        for name, path in files.items():
            if path.exists():
                continue
            began = time.process_time()
            labels: Labels = made[name]() if name in made else ([], {})
            if name == "base":
                found = measured(world, by_projection(start, start))
            else:
                tuned = train(world, base, seed, labels, batch=BATCH, full=True)
                found = measured(world, by_towers(worn, start, tuned))
            counts = {v: sum(x.verdict == v for x in labels[0]) for v in ("match", "no_match")}
            spent = round(time.process_time() - began, 1)
            path.write_text(json.dumps(found | {"labels": counts, "density": density(world), "cpu_s": spent}))
            print(f"seed {seed}  {name:<28} {np.mean(found['ap']):.4f}  {counts}  {spent} s", flush=True)
    return {name: json.loads(path.read_text()) for name, path in files.items()}


def report(rows: list[dict[str, Any]]) -> None:
    """Tables, and benchmarks/results/value_many.json."""
    confirm = {f"{a} − {b}": compare(rows, a, b) for a, b in CONFIRM}
    holm(confirm)
    beside = {at: {f"{a} − {b}": compare(rows, a, b, at=at) for a, b in CONFIRM} for at in FURTHER}
    lines = [
        "| comparison | known things: gain in mAP@R | 95 % | p (Holm) | other drawings | new things |",
        "|---|---|---|---|---|---|",
    ]
    for name, c in confirm.items():
        others = (beside[at][name] for at in FURTHER)
        cells = [f"{o['gain']:+.4f} ({o['low']:+.4f} … {o['high']:+.4f})" for o in others]
        p = "< 0.01" if c["p_holm"] < 0.01 else f"{c['p_holm']:.2f}"
        lines.append(
            f"| {name} | {c['gain']:+.4f} | {c['low']:+.4f} … {c['high']:+.4f} | {p} | {' | '.join(cells)} |"
        )
    lines += [
        "",
        "| arm | known things | R@1 | other drawings | new things | kept | half mix: known things | kept | labels of the first seed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    means = {}
    for arm in rows[0]:
        of = [row[arm] for row in rows]
        m = {
            "map_at_r": float(np.mean([np.mean(f["ap"]) for f in of])),
            "r@1": float(np.mean([(f["i2t_r@1"] + f["t2i_r@1"]) / 2 for f in of])),
            **{at: float(np.mean([np.mean(f[at]["ap"]) for f in of])) for at in FURTHER},
            **{key: float(np.mean([f[key] for f in of])) for key in ("kept", "half_mix", "half_mix_kept")},
        }
        means[arm] = m
        said = f"{of[0]['labels']['match']} / {of[0]['labels']['no_match']}"
        lines.append("| " + " | ".join([arm, *(f"{v:.4f}" for v in m.values()), said]) + " |")
    print("\n".join(lines))
    first, sham = confirm[" − ".join(PRIMARY)], confirm["sham_attract@300 − plain"]
    figures = {
        "gain_300_queue": first["gain"], "gain_300_queue_ci_low": first["low"], "gain_300_queue_ci_high": first["high"],
        "gain_sham_ci": [sham["low"], sham["high"]],
        "gain_vs_model_mined_ci_low": min(confirm[f"attract@300 − {r}"]["low"] for r in ("gist", "nv_retriever")),
        "retention_loss_tuned_end": means["base"]["kept"] - means["attract@300"]["kept"],
        **{f"{arm}.map_at_r": m["map_at_r"] for arm, m in means.items()},
    }  # fmt: skip
    path = write_result(
        "value_many", figures, arms=means, confirmatory=confirm, beside=beside, draws=DRAWS, seeds=len(rows), table=lines,
        density=[row["plain"]["density"] for row in rows],
    )  # fmt: skip
    print(f"wrote {path}")


def main() -> None:
    """Measures what is missing; the tables when all reported seeds are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default=",".join(map(str, REPORTED)))
    parser.add_argument(
        "--report", action="store_true", help="tables of the reported seeds; writes the result"
    )
    given_ = parser.parse_args()
    seeds = tuple(int(x) for x in given_.seeds.split(","))
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    value.FULL_STEPS, value.FULL_LR = STEPS, LR
    CACHE.mkdir(exist_ok=True, parents=True)
    base = tiny_clip()
    rows = [run_seed(seed, base) for seed in seeds]
    if given_.report or seeds == REPORTED:
        if seeds != REPORTED:
            raise SystemExit(f"A report is of the seeds {REPORTED}, not {seeds}.")
        report(rows)


if __name__ == "__main__":
    main()
