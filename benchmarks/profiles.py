"""Where the time goes on the four hot paths: the step's loss, the top-k, a verdict, a picture's import.

    python benchmarks/profiles.py [--quick] [--before COMMIT]

The loss by torch's own profiler; the others by looking, every 2 ms, which Python function each working thread is in. The
largest first, as shares of the whole, and the seconds that the work took unwatched. Beside it, in the same run, the code
of an earlier commit under the same script (all but the verdict). Writes benchmarks/results/profiles.json, from which docs/performance.md is made.
"""

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from clock import timed
from growth import _decide, _filled
from result import git, write_result
from step import ours
from torch.nn.functional import normalize
from torch.profiler import ProfilerActivity, profile

SHOWN = 8
WAITING = ("wait", "_worker", "_wait_for_tstate_lock", "result", "acquire")
PACKAGE = re.compile(r"(?:site-packages|lib/python3\.\d+)/(?!site-packages)([^/]+)")
FIRST = "f91103f"  # the walking whole: the last commit before the issues on speed
Shares = list[tuple[str, float]]
Seen = tuple[float, Shares]  # seconds unwatched, where the time went


def of_step(n: int) -> Seen:
    """The loss, forward and backward, by torch operator."""
    x, y = (normalize(torch.randn(n, 512), dim=1).requires_grad_() for _ in "xy")
    scale = torch.tensor(100.0, requires_grad=True)
    seconds = min(timed(lambda: ours(x, y, scale).backward()) for _ in range(3))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        ours(x, y, scale).backward()
    return seconds, _largest({e.key: e.self_cpu_time_total for e in seen.key_averages()})


def of_mining(n: int) -> Seen:
    """The exact top 50 of both directions, by function: it is numpy on the CPU."""
    from clipcore.mining.topk import exact_top_k

    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((n, 512), dtype=np.float32) for _ in "xy")
    exact_top_k(x[:500], y[:500], k=50)
    return _by_function(lambda: exact_top_k(x, y, k=50))


def of_verdict(num: int) -> Seen:
    """A verdict from the open transaction to the commit on SQLite, by package; without HTTP, which runs beside it."""
    with _filled(5000) as database:
        for turn in range(20):
            _decide(database, turn)
        return _by_package(lambda: [_decide(database, turn) for turn in range(20, 20 + num)])


def of_picture(num: int) -> Seen:
    """Reading, hashing, two thumbnails and keeping a JPEG of 256 px, by function."""
    from PIL import Image

    from app.media.pictures import check_picture, keep_picture
    from app.media.store import MediaStore
    from app.settings import Settings

    rng = np.random.default_rng(0)
    sources = []
    for _ in range(num):
        data = io.BytesIO()
        grid = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(grid).resize((256, 256)).save(data, "jpeg", quality=90)
        sources.append(data.getvalue())
    folder = Path(tempfile.mkdtemp(prefix="nm-profile-"))
    store = MediaStore(Settings(home=folder).resolved_media_url)

    def work() -> None:
        for source in sources:
            keep_picture(store, check_picture(source))

    try:
        return _by_function(work)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _by_package(work: Callable[[], Any]) -> Seen:
    def package(frame: FrameType) -> str:
        found = PACKAGE.search(frame.f_code.co_filename)
        return found[1].removesuffix(".py") if found else "ours"

    return _sampled(work, package)


def _by_function(work: Callable[[], Any]) -> Seen:
    return _sampled(work, lambda frame: f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}")


def _sampled(work: Callable[[], Any], name: Callable[[FrameType], str]) -> Seen:
    """Once unwatched for its seconds, once watched: the innermost Python function of each working thread, looked at every 2 ms: C counts for who called it."""
    seconds = timed(work)
    seen: Counter[str] = Counter()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.002):
            for thread, frame in sys._current_frames().items():
                if thread != watcher.ident and frame.f_code.co_name not in WAITING:
                    seen[name(frame)] += 1

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    work()
    over.set()
    watcher.join()
    return seconds, _largest(seen)


def _largest(times: Any) -> Shares:
    whole = sum(times.values()) or 1.0
    return [(name, t / whole) for name, t in sorted(times.items(), key=lambda x: -x[1])[:SHOWN]]


def of_commit(commit: str, quick: bool) -> dict[str, Seen]:
    """The same of the code as it stood at a commit: these scripts, laid into a checkout of it."""
    folder = Path(tempfile.mkdtemp(prefix="nm-before-"))
    code = folder / "code"
    git("worktree", "add", "--detach", str(code), commit)
    try:
        for script in Path(__file__).parent.glob("*.py"):
            shutil.copy(script, code / "benchmarks")
        said = subprocess.run(
            [sys.executable, code / "benchmarks" / "profiles.py", "--bare", *(["--quick"] if quick else [])],
            env=os.environ | {"PYTHONPATH": str(code)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found: dict[str, Seen] = json.loads(said.stdout.splitlines()[-1])
        return found
    finally:
        git("worktree", "remove", "--force", str(code))
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Profiles and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--before", default=FIRST, help="the commit to hold it against; empty for none")
    parser.add_argument("--bare", action="store_true", help="only print what was seen, as JSON")
    given = parser.parse_args()
    quick = given.quick
    paths = {
        "step": of_step(1024 if quick else 6144),
        "mining": of_mining(2000 if quick else 20_000),
        "picture": of_picture(50 if quick else 500),
    }
    if given.bare:  # an earlier commit has not the tables that a filled database needs
        return print(json.dumps(paths))
    paths["verdict"] = of_verdict(50 if quick else 500)
    before = of_commit(given.before, quick) if given.before else {}
    for name, (seconds, shares) in paths.items():
        print(f"{name}: {seconds:.3f} s", *(f"  {share:6.1%}  {what}" for what, share in shares), sep="\n")
        if name in before:
            then, there = before[name]
            print(
                f"  before: {then:.3f} s", *(f"  {share:6.1%}  {what}" for what, share in there[:3]), sep="\n"
            )
    figures = {name: shares[0][1] for name, (_, shares) in paths.items()}
    figures |= {f"{name}_times_before": before[name][0] / paths[name][0] for name in before}
    write_result(
        "profiles", figures, quick=quick, paths=paths, before={"commit": given.before, "paths": before}
    )


if __name__ == "__main__":
    main()
