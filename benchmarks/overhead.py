"""What the application adds to a run: its wall time from the first step to the end against plain clipcore's.

    python benchmarks/overhead.py [--pairs 1000 --steps 150 --rounds 3] [--no-write | --quick]

The same snapshot, configuration and threads in both. Through the application means: queued by the route, taken by the
worker, watched by a page that asks once a second, events and checkpoints written, result kept and registered. Plain
means `nearmiss finetune` on the run's folder in a process of its own. Start-up (imports, reading the snapshot) is left
out of both; the export of the result is in both. Rounds alternate; the median ratio counts, and both results must have
the same weights.
"""

import argparse
import csv
import hashlib
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from installation import Installation, processor_s
from result import write_result

from app.demo.openmoji import drawings, rasterise

SAVE_EVERY_S = 10.0


def main() -> int:
    """The exit code is 1 when the weights differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one short round; writes no result")
    given = parser.parse_args()
    if given.quick:
        given.pairs, given.steps, given.rounds = 200, 30, 1
    nearmiss = Installation()
    try:
        prepare(nearmiss, given.pairs)
        ratios, through, plain, same = [], [], [], True
        for _ in range(given.rounds):
            wait_until_idle(nearmiss)
            app_s, folder, weights = through_the_application(nearmiss, given.steps)
            wait_until_idle(nearmiss)  # the worker's next process imports torch meanwhile
            plain_s, plain_weights = plainly(nearmiss, folder)
            through.append(round(app_s, 2))
            plain.append(round(plain_s, 2))
            ratios.append(app_s / plain_s)
            same = same and weights == plain_weights
            print(f"application {app_s:.2f} s, plain {plain_s:.2f} s, ratio {ratios[-1]:.3f}", flush=True)
    finally:
        nearmiss.close()
    figures = {"wall_ratio": round(statistics.median(ratios), 4), "same_weights": same}
    if given.no_write:
        print(figures)
    else:
        write_result(
            "overhead", figures, quick=given.quick, application_s=through, plain_s=plain,
            pairs=given.pairs, steps=given.steps,
        )  # fmt: skip
    return int(not same)


def prepare(nearmiss: Installation, num_pairs: int) -> None:
    """A data set of OpenMoji's drawings, a tenth held out, and the demo's base model; nothing else is left running."""
    folder = nearmiss.home / "pictures"
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text", "split"])
        for i, drawing in enumerate(drawings()[:num_pairs]):
            (folder / drawing.key).write_bytes(rasterise(drawing, image_px=128))
            table.writerow([drawing.key, drawing.caption, "held_out" if i % 10 == 0 else "train"])
    nearmiss.command("import", str(folder), "--name", "drawings")
    nearmiss.command("add-model", "demo:openmoji-tiny", "--name", "base")


def through_the_application(nearmiss: Installation, steps: int) -> tuple[float, Path, str]:
    """(seconds from the training's start to the finished row, the run's folder, hash of the weights)."""
    overrides = {
        "epochs": 1000,
        "max_steps": steps,
        "save_every_s": SAVE_EVERY_S,
        "batch": {"size": 64, "micro_batch": 32},
    }
    body = {"data_set_id": 1, "model_id": 1, "preset": "full", "overrides": overrides}
    run_id = nearmiss.post("/api/runs", body)["run"]["id"]
    after = 0
    while True:  # as the page does
        page = nearmiss.get(f"/api/runs/{run_id}/events?after={after}")
        after = page["events"][-1]["id"] if page["events"] else after
        if page["state"] == "finished":
            break
        if page["state"] in ("failed", "cancelled"):
            raise SystemExit(f"the run {page['state']}: {page['reason']}\n{nearmiss.logs()}")
        time.sleep(1)
    folder = nearmiss.home / "runs" / f"run-{run_id}"
    log = (folder / "train.log").read_text(encoding="utf-8").splitlines()
    began = datetime.fromisoformat(next(line for line in log if "started at step" in line).split()[0])
    ended = _finished_at(nearmiss, run_id)
    weights = hashlib.sha256(nearmiss.weights(run_id)).hexdigest()
    return (ended - began).total_seconds(), folder, weights


def wait_until_idle(nearmiss: Installation, *, limit_s: float = 120.0) -> None:
    """Returns once the processes of `nearmiss` have used less than a tenth of a core for two seconds."""
    give_up, before = time.monotonic() + limit_s, _processor_s(nearmiss)
    while time.monotonic() < give_up:
        time.sleep(2)
        now = _processor_s(nearmiss)
        if now - before < 0.2:
            return
        before = now
    print("the installation did not come to rest", flush=True)


def _processor_s(nearmiss: Installation) -> float:
    used = 0.0
    for pid in nearmiss.pids(""):
        with suppress(OSError):  # it has just ended
            used += processor_s(pid)
    return used


def _finished_at(nearmiss: Installation, run_id: int) -> datetime:
    """When the last transaction was written, to the microsecond: SQLite's own clock gives whole seconds only."""
    log = (nearmiss.home / "runs" / f"run-{run_id}" / "train.log").read_text(encoding="utf-8").splitlines()
    return datetime.fromisoformat(next(line for line in log if line.endswith("kept")).split()[0])


def plainly(nearmiss: Installation, folder: Path) -> tuple[float, str]:
    """(seconds from the training's start to the written result, hash of the weights)."""
    out = folder.with_name(folder.name + "-plain")
    command = [sys.executable, "-m", "worker.by_hand", str(folder / "config.yaml"), "--out", str(out)]
    process = subprocess.Popen(command, env=nearmiss.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    began = ended = 0.0
    for line in process.stdout:
        if line.startswith("started at step"):
            began = time.monotonic()
        elif line.startswith("open_clip loads"):
            ended = time.monotonic()
    if process.wait() != 0 or not began or not ended:
        raise SystemExit("plain clipcore did not finish")
    weights = next((out / "checkpoint").glob("*.safetensors")).read_bytes()
    return ended - began, hashlib.sha256(weights).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
