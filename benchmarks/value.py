"""What verdicts buy in retrieval, on OpenMoji with known truth; the protocol is docs/evidence.md.

    python benchmarks/value.py [--seeds 5] [--drawings 1200] [--quick]

Finished (seed, arm) results lie in benchmarks/value-cache and are used again; remove the folder for a fresh start.
Adapters only: full towers, written negatives, soft targets, unsure verdicts and a second style of drawings are not
measured here and say null. --quick: one seed, 800 drawings, nothing written.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mining_quality import World, is_minimal, make_world
from PIL import Image
from result import ROOT, write_result

from app.demo import BASE_MODEL
from app.demo.openmoji import drawings, rasterise
from clipcore import FineTuneData, PairLabels, fine_tune, preset
from clipcore.config import ModelConfig
from clipcore.data import Example, items
from clipcore.evaluate import hard_negative_accuracy, rank_queries
from clipcore.labels import Label
from clipcore.learner import Embeddings
from clipcore.mining import MiningOptions, mine
from clipcore.mining.calibrate import components
from clipcore.mining.lexicon import ENGLISH
from clipcore.mining.orders import mixed
from clipcore.towers import load_towers

HELD_OUT = 0.2  # of the components
STEPS, BATCH = 120, 512
CACHE = ROOT / "benchmarks" / "value-cache"
Verdict = tuple[int, int, bool]  # image, caption, the annotator's answer
PRIMARY = "all@300"


@dataclass
class Setting:
    """One seed's world, split; images and captions are numbered as in the world."""

    world: World
    train: list[tuple[int, int]]  # pairs
    test_image: list[int]
    test_caption: list[int]
    cluster: Any  # [image] its component
    tensors: Any  # held-out pictures as the tower takes them
    other: tuple[Any, list[str]]  # retention: pictures and English names of drawings outside the world


def truth(world: World, image: int, caption: int) -> bool:
    """Whether the caption is true of the image."""
    return bool(world.true[world.drawing_N[image], caption])


def make_setting(seed: int, num: int, towers: Any, kept: dict[str, bytes]) -> Setting:
    """Splits by component over the edges "the caption is true of the image", so nothing true crosses."""
    w = make_world(seed, num, towers, kept)
    image, caption = np.nonzero(w.true[w.drawing_N])
    component = components(image.astype(np.int64), caption.astype(np.int64))
    of_image = np.zeros(len(w.image_ND), dtype=np.int64)
    of_caption = np.zeros(len(w.captions), dtype=np.int64)
    of_image[image], of_caption[caption] = component, component
    names = np.unique(component)
    rng = np.random.default_rng(1000 + seed)
    held = set(rng.permutation(names)[: int(HELD_OUT * len(names))].tolist())
    test_image = [i for i in range(len(of_image)) if of_image[i] in held]
    inside = {d.code for d in sorted(drawings(), key=lambda d: d.code) if d.code in kept}
    outside = [d for d in drawings() if d.code not in inside and d.split == "train"]
    others = [outside[i] for i in rng.permutation(len(outside))[:300]]
    plain_pictures = [
        towers.transform(Image.open(BytesIO(rasterise(d, image_px=128))).convert("RGB")) for d in others
    ]
    return Setting(
        w,
        [(i, c) for i, c in w.pairs if of_image[i] not in held and of_caption[c] not in held],
        test_image,
        [c for c in range(len(w.captions)) if of_caption[c] in held],
        of_image,
        torch.stack([towers.transform(w.pictures[i]) for i in test_image]),
        (torch.stack(plain_pictures), [d.caption for d in others]),
    )


def annotate(
    s: Setting, seed: int, budget: int, *, wrong: float = 0.0, order: str = "queue"
) -> list[Verdict]:
    """A simulated person's answers: in our queue's order, refitted every 100, or at random (in the pool, of all)."""
    w, rng = s.world, np.random.default_rng(seed + 7)
    images = sorted({i for i, _ in s.train})
    captions = sorted({c for _, c in s.train})
    place_i, place_c = ({x: n for n, x in enumerate(known)} for known in (images, captions))
    own = {(place_i[i], place_c[c]) for i, c in s.train}

    def answer(i: int, c: int) -> bool:
        return truth(w, images[i], captions[c]) != (rng.random() < wrong)

    given: list[Verdict] = []
    while len(given) < budget:
        if order == "everything":
            known = {(i, c) for i, c, _ in given}
            i, c = int(rng.integers(len(images))), int(rng.integers(len(captions)))
            if (i, c) not in own and (i, c) not in known:
                given.append((i, c, answer(i, c)))
            continue
        found = mine(
            w.image_ND[images],
            w.caption_MD[captions],
            pairs=sorted(own),
            captions=[w.captions[c] for c in captions],
            image_hashes=[w.hashes[i] for i in images],
            fingerprints=w.prints[images],
            verdicts=given if order == "queue" else [],
            options=MiningOptions(seed=seed),
        )
        asked = np.flatnonzero([p != "broken_pair" for p in found.proposed])
        if order == "queue":
            turn = mixed(found.impact[asked], found.probability[asked], seed=seed)[
                : min(100, budget - len(given))
            ]
        else:
            turn = rng.permutation(len(asked))[:budget]
        new = [(int(found.image[n]), int(found.caption[n])) for n in asked[turn]]
        given += [(i, c, answer(i, c)) for i, c in new]
        if not new or len(asked) <= len(turn):
            break
    return [(images[i], captions[c], yes) for i, c, yes in given[:budget]]


def scores_above_own(s: Setting) -> tuple[Any, Any, Any]:
    """Training images × training captions: cosine, the image's own, and whether they are a pair."""
    images = sorted({i for i, _ in s.train})
    captions = sorted({c for _, c in s.train})
    score = s.world.image_ND[images] @ s.world.caption_MD[captions].T
    own = np.zeros(score.shape, dtype=bool)
    at_i, at_c = ({x: n for n, x in enumerate(known)} for known in (images, captions))
    for i, c in s.train:
        own[at_i[i], at_c[c]] = True
    best = np.where(own, score, -np.inf).max(axis=1)
    return score, best, own


def model_mined(s: Setting, rule: str) -> list[Label]:
    """No person: GISTEmbed masks what scores above the own pair; NV-Retriever takes the top 4 under 0.95 of it."""
    images = sorted({i for i, _ in s.train})
    captions = sorted({c for _, c in s.train})
    score, best, own = scores_above_own(s)
    if rule == "gist":
        rows, columns = np.nonzero((score > best[:, None]) & ~own)
        return [
            Label(f"i{images[r]}", f"c{captions[c]}", "match", treatment="mask")
            for r, c in zip(rows, columns)
        ]
    safe = np.where(own | (score > 0.95 * best[:, None]), -np.inf, score)
    top = np.argsort(-safe, axis=1)[:, :4]
    return [Label(f"i{images[r]}", f"c{captions[c]}", "no_match") for r in range(len(images)) for c in top[r]]


def labels_of(verdicts: list[Verdict], treatment: str) -> list[Label]:
    """What the arm makes of the verdicts: mask, attract, hard, or all (attract and hard)."""
    found = []
    for image, caption, yes in verdicts:
        if yes and treatment in ("mask", "attract", "all"):
            way = "mask" if treatment == "mask" else "attract"
            found.append(Label(f"i{image}", f"c{caption}", "match", treatment=way))
        elif not yes and treatment in ("hard", "all"):
            found.append(Label(f"i{image}", f"c{caption}", "no_match"))
    return found


def sham(s: Setting, seed: int, verdicts: list[Verdict], treatment: str) -> list[Label]:
    """As many labels of each kind as the real arm has, on random candidates."""
    real = labels_of(verdicts, treatment)
    kinds = [x.verdict == "match" for x in real]
    rng = np.random.default_rng(seed + 99)
    images, captions = sorted({i for i, _ in s.train}), sorted({c for _, c in s.train})
    pairs = set(s.train)
    found: dict[tuple[int, int], Verdict] = {}
    while len(found) < len(kinds):
        i, c = int(rng.choice(images)), int(rng.choice(captions))
        if (i, c) not in pairs and (i, c) not in found:
            found[i, c] = (i, c, kinds[len(found)])
    return labels_of(list(found.values()), treatment)


def train(s: Setting, seed: int, labels: list[Label], *, batch: int = BATCH) -> Any:
    """Towers after the adapter preset with a fixed number of steps."""
    w = s.world
    examples = [Example(f"i{i}", f"c{c}", f"i{i}".encode(), w.captions[c]) for i, c in s.train]
    data = FineTuneData(train=examples)
    known = items(data)
    embeddings = Embeddings(
        torch.from_numpy(w.image_ND[[int(x[1:]) for x in known.image_ids]]).float(),
        torch.from_numpy(w.caption_MD[[int(x[1:]) for x in known.caption_ids]]).float(),
    )
    config = preset("adapter").with_values(
        {
            "model": {"name": f"local-dir:{BASE_MODEL}"},
            "batch": {"size": batch, "workers": 0},
            "evaluation": {"sweep": 0, "previews": 0},
            "epochs": 1 + STEPS * batch // max(1, len(examples) - batch),
            "max_steps": STEPS,
            "seed": seed,
            "device": "cpu",
            "save_every_s": 1e9,
        }
    )
    folder = Path(tempfile.mkdtemp(prefix="nm-value-", dir="/tmp"))
    try:
        done = list(
            fine_tune(config, data, PairLabels.for_data(data, labels), folder=folder, embeddings=embeddings)
        )
        if done[-1].step != STEPS:
            raise SystemExit(f"the run made {done[-1].step} of {STEPS} steps")
        return load_towers(ModelConfig(name=f"local-dir:{folder / 'checkpoint'}"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@torch.inference_mode()
def evaluate(s: Setting, towers: Any) -> dict[str, Any]:
    """Per query mAP@R with all truths, both ways; R@1, hard-negative accuracy, and retention."""
    towers.model.eval()
    w = s.world
    image = towers.images(s.tensors)
    caption = towers.captions(towers.tokens([w.captions[c] for c in s.test_caption]))
    by_image = [[n for n, c in enumerate(s.test_caption) if truth(w, i, c)] for i in s.test_image]
    by_caption = [[n for n, i in enumerate(s.test_image) if truth(w, i, c)] for c in s.test_caption]
    i2t, t2i = rank_queries(image, caption, by_image), rank_queries(caption, image, by_caption)
    value_of = ENGLISH.value_of()
    triples = []
    for m, i in enumerate(s.test_image):
        mine_name = w.english[w.drawing_N[i]]
        own = next((n for n, c in enumerate(s.test_caption) if w.captions[c] == mine_name), None)
        wrong = [
            n
            for n, c in enumerate(s.test_caption)
            if not truth(w, i, c) and is_minimal(mine_name, w.captions[c], value_of)
        ]
        triples += [(m, own, n) for n in wrong[:10] if own is not None]
    pictures, names = s.other
    kept_i, kept_c = towers.images(pictures), towers.captions(towers.tokens(names))
    same = [[n for n, other in enumerate(names) if other == name] for name in names]
    caption_cluster = [int(s.cluster[s.test_image[found[0]]]) for found in by_caption]
    return {
        "ap": [*i2t.map_at_r.tolist(), *t2i.map_at_r.tolist()],
        "cluster": [
            *[int(s.cluster[s.test_image[q]]) for q in i2t.query],
            *[caption_cluster[q] for q in t2i.query],
        ],
        "i2t_r@1": float((i2t.best_rank <= 1).mean()),
        "hard_negative_accuracy": hard_negative_accuracy(image, caption, triples),
        "num_triples": len(triples),
        "retention_map_at_r": float(rank_queries(kept_i, kept_c, same).map_at_r.mean()),
    }


def arms(s: Setting, seed: int, base: Any) -> dict[str, Callable[[], tuple[Any, dict[str, Any]]]]:
    """Name → what trains it and what its labels were."""
    made: dict[tuple[Any, ...], list[Verdict]] = {}

    def person(budget: int, wrong: float = 0.0, order: str = "queue") -> list[Verdict]:
        key = (budget, wrong, order)
        if key not in made:
            made[key] = annotate(s, seed, budget, wrong=wrong, order=order)
        return made[key]

    def with_labels(labels: list[Label], batch: int = BATCH) -> tuple[Any, dict[str, Any]]:
        counts = {v: sum(x.verdict == v for x in labels) for v in ("match", "no_match")}
        return train(s, seed, labels, batch=batch), counts

    found: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
        "base": lambda: (base, {}),
        "plain": lambda: with_labels([]),
        "gist": lambda: with_labels(model_mined(s, "gist")),
        "nv_retriever": lambda: with_labels(model_mined(s, "nv")),
    }
    for way in ("mask", "attract", "hard", "all"):
        found[f"{way}@300"] = lambda way=way: with_labels(labels_of(person(300), way))
        found[f"sham_{way}@300"] = lambda way=way: with_labels(sham(s, seed, person(300), way))
    for budget in (100, 1000, 10**9):
        name = "everything" if budget == 10**9 else str(budget)
        if name == "everything":
            found["all@everything"] = lambda: with_labels(labels_of(everything(s, seed), "all"))
        else:
            found[f"all@{name}"] = lambda budget=budget: with_labels(labels_of(person(budget), "all"))
    for wrong in (0.05, 0.15):
        found[f"all@300_wrong{wrong:.0%}"] = lambda wrong=wrong: with_labels(
            labels_of(person(300, wrong), "all")
        )
    for budget in (300, 1000):
        found[f"all@{budget}_random_in_pool"] = lambda budget=budget: with_labels(
            labels_of(person(budget, order="pool"), "all")
        )
    found["all@300_random_of_all"] = lambda: with_labels(labels_of(person(300, order="everything"), "all"))
    found["plain_batch64"] = lambda: with_labels([], 64)
    found["hard@300_batch64"] = lambda: with_labels(labels_of(person(300), "hard"), 64)
    found["hard@1000_batch64"] = lambda: with_labels(labels_of(person(1000), "hard"), 64)
    found["hard@1000"] = lambda: with_labels(labels_of(person(1000), "hard"))
    return found


def everything(s: Setting, seed: int) -> list[Verdict]:
    """The whole mined pool, answered from the truth."""
    return annotate(s, seed, 10**6, order="pool")


def compare(rows: list[dict[str, Any]], arm: str, against: str) -> dict[str, float]:
    """Mean gain in mAP@R with a bootstrap over seeds and clusters within them, paired per query; two-sided p."""
    rng = np.random.default_rng(0)
    seeds = []
    for row in rows:
        gain = np.array(row[arm]["ap"]) - np.array(row[against]["ap"])
        _, at = np.unique(row[arm]["cluster"], return_inverse=True)
        seeds.append((np.bincount(at, weights=gain), np.bincount(at)))
    mean = float(np.mean([total.sum() / size.sum() for total, size in seeds]))
    draws = []
    for _ in range(4000):
        means = []
        for n in rng.integers(len(seeds), size=len(seeds)):
            total, size = seeds[n]
            pick = rng.integers(len(total), size=len(total))
            means.append(total[pick].sum() / size[pick].sum())
        draws.append(np.mean(means))
    low, high = np.quantile(draws, [0.025, 0.975])
    p = 2 * min((np.array(draws) <= 0).mean(), (np.array(draws) >= 0).mean())
    return {"gain": mean, "low": float(low), "high": float(high), "p": float(max(p, 1 / 4000))}


def holm(found: dict[str, dict[str, float]]) -> None:
    """Adds `p_holm` to each comparison."""
    order = sorted(found, key=lambda name: found[name]["p"])
    largest = 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * found[name]["p"]))
        found[name]["p_holm"] = largest


def main() -> None:
    """Measures what is missing, prints a table, writes benchmarks/results/value.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--drawings", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    seeds, num = (1, 800) if given.quick else (given.seeds, given.drawings)
    torch.set_num_threads(1)
    base = load_towers(ModelConfig(name=f"local-dir:{BASE_MODEL}"))
    base.model.eval()
    cache = Path(tempfile.mkdtemp()) if given.quick else CACHE
    cache.mkdir(exist_ok=True)
    rows = []
    for seed in range(seeds):
        setting = make_setting(seed, num, base, {})
        row = {}
        for name, make in arms(setting, seed, base).items():
            path = cache / f"{num}-{seed}-{name}.json"
            if not path.exists():
                towers, counts = make()
                found = evaluate(setting, towers) | {"labels": counts, "train_pairs": len(setting.train)}
                path.write_text(json.dumps(found))
            row[name] = json.loads(path.read_text())
            ap = float(np.mean(row[name]["ap"]))
            print(f"seed {seed}  {name:<26} mAP@R {ap:.4f}  {row[name]['labels']}", flush=True)
        rows.append(row)
    report(rows, given.quick, num)


def report(rows: list[dict[str, Any]], quick: bool, num: int) -> None:
    """Tables of arms and of the comparisons named in the protocol."""
    means = {
        arm: {
            "map_at_r": float(np.mean([np.mean(row[arm]["ap"]) for row in rows])),
            **{
                key: float(np.mean([row[arm][key] for row in rows]))
                for key in ("i2t_r@1", "hard_negative_accuracy", "retention_map_at_r")
            },
            "labels": rows[0][arm]["labels"],
        }
        for arm in rows[0]
    }
    named = [
        (PRIMARY, "plain"),
        (PRIMARY, "gist"),
        (PRIMARY, "nv_retriever"),
        (PRIMARY, "all@300_random_in_pool"),
    ]
    named += [(f"{way}@300", "plain") for way in ("mask", "attract", "hard")]
    named += [(f"sham_{way}@300", "plain") for way in ("mask", "attract", "hard", "all")]
    named += [
        ("hard@300_batch64", "plain_batch64"),
        ("hard@1000_batch64", "plain_batch64"),
        ("hard@1000", "plain"),
    ]
    confirm = {f"{a} - {b}": compare(rows, a, b) for a, b in named}
    holm(confirm)
    explore = {f"{a} - plain": compare(rows, a, "plain") for a in rows[0] if a not in ("plain", "base")}
    explore["plain - base"] = compare(rows, "plain", "base")
    for name, c in confirm.items():
        print(f"{name:<42} {c['gain']:+.4f}  [{c['low']:+.4f}, {c['high']:+.4f}]  p_holm {c['p_holm']:.4f}")
    first = confirm[f"{PRIMARY} - plain"]
    figures = {
        "map_at_r_base": means["base"]["map_at_r"],
        "map_at_r_plain": means["plain"]["map_at_r"],
        "map_at_r_all_300": means[PRIMARY]["map_at_r"],
        "gain_all_300": first["gain"],
        "gain_all_300_low": first["low"],
        "gain_all_300_high": first["high"],
        "retention_all_300_minus_base": means[PRIMARY]["retention_map_at_r"]
        - means["base"]["retention_map_at_r"],
        "full_towers": None,
        "written_negatives": None,
        "out_of_distribution": None,
    }
    if quick:
        print(json.dumps(means, indent=2))
        return
    write_result(
        "value", figures, arms=means, confirmatory=confirm, exploratory=explore, seeds=len(rows), drawings=num,
        steps=STEPS, batch=BATCH,
    )  # fmt: skip


if __name__ == "__main__":
    main()
