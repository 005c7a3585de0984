"""How much of the third protocol's result is that of its base: the same comparison from bases with other first weights and data.

    python benchmarks/value_bases.py [--bases 1,2,3]

Worlds, steps and arms are those of `value_many.py`; each base (NEARMISS_BASE_SEED of `tiny_clip.py`) runs in a process of
its own, can be stopped and goes on. When all are there: a table and benchmarks/results/value_bases.json.
"""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import torch
import value
from result import write_result
from tiny_clip import tiny_clip
from value import CACHE
from value_many import LR, PRIMARY, REPORTED, STEPS, run_seed
from value_report import DRAWS, compare

BASES = (1, 2, 3)
ARMS = ("plain", "attract@300", "attract@truth")
COMPARED = (PRIMARY, ("attract@truth", "plain"))
Rows = list[dict[str, Any]]


def of_this_base() -> Rows:
    """The arms on the reported worlds from the base that the environment names; a finished one is only read."""
    CACHE.mkdir(exist_ok=True, parents=True)
    base = tiny_clip()
    return [run_seed(seed, base, only=ARMS) for seed in REPORTED]


def averaged(bases: list[Rows]) -> Rows:
    """Each world's results with its queries' mAP@R averaged over the bases: the queries are the same whatever the base."""

    def one(world: int, arm: str) -> dict[str, Any]:
        of = [rows[world][arm] for rows in bases]
        return {"ap": np.mean([f["ap"] for f in of], axis=0).tolist(), "cluster": of[0]["cluster"]}

    return [{arm: one(world, arm) for arm in ("base", *ARMS)} for world in range(len(REPORTED))]


def report(bases: dict[int, Rows]) -> None:
    """A line a base and one of their mean."""
    lines = [
        "| base | its mAP@R | plain | attract@300 − plain | 95 % | the truth − plain | 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    found: dict[str, Any] = {}
    for name, rows in (
        {str(n): rows for n, rows in bases.items()} | {"mean": averaged([*bases.values()])}
    ).items():
        levels = [float(np.mean([np.mean(row[arm]["ap"]) for row in rows])) for arm in ("base", "plain")]
        gains = [compare(rows, a, b) for a, b in COMPARED]
        cells = [f"{g['gain']:+.4f} | {g['low']:+.4f} … {g['high']:+.4f}" for g in gains]
        lines.append(f"| {name} | {levels[0]:.4f} | {levels[1]:.4f} | {' | '.join(cells)} |")
        found[name] = {"base": levels[0], "plain": levels[1], "gain": gains[0], "truth": gains[1]}
    print("\n".join(lines))
    mean = found["mean"]
    figures = {
        "gain_300_queue": mean["gain"]["gain"], "gain_300_queue_ci_low": mean["gain"]["low"],
        "gain_300_queue_ci_high": mean["gain"]["high"], "gain_truth": mean["truth"]["gain"],
        "gain_truth_ci_low": mean["truth"]["low"], "gain_truth_ci_high": mean["truth"]["high"],
        "least_gain_of_a_base": min(found[str(n)]["gain"]["gain"] for n in bases),
        "most_gain_of_a_base": max(found[str(n)]["gain"]["gain"] for n in bases),
    }  # fmt: skip
    write_result("value_bases", figures, bases=found, draws=DRAWS, seeds=len(REPORTED), table=lines)


def main() -> None:
    """Runs what is missing, a process a base, then reads all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bases", default=",".join(map(str, BASES)))
    parser.add_argument("--this", action="store_true", help="only the base of NEARMISS_BASE_SEED; no table")
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    value.FULL_STEPS, value.FULL_LR = STEPS, LR
    if given.this:
        of_this_base()
        return
    bases = [int(x) for x in given.bases.split(",")]
    for base in bases:
        env = os.environ | {"NEARMISS_BASE_SEED": str(base)}
        subprocess.run([sys.executable, __file__, "--this"], env=env, check=True)
    report({base: stored(base) for base in bases})


def stored(base: int) -> Rows:
    """What the processes left."""
    folder = CACHE.parent / str(base)
    return [
        {arm: json.loads((folder / f"many-{seed}-{arm}.json").read_text()) for arm in ("base", *ARMS)}
        for seed in REPORTED
    ]


if __name__ == "__main__":
    main()
