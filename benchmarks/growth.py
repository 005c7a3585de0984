"""How times grow, and the limits that the machine sets: batch, items to mine, data set, annotators.

    python benchmarks/growth.py [--quick]

Each curve is measured in one process, the contestants of a size in turn; the limits are measured in the same run, before
and after, and the better is kept. Writes benchmarks/results/growth.json; `python docs/make_tables.py` draws it.
"""

import argparse
import io
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import timed
from result import ROOT, write_result
from step import in_child, one_matrix, ours
from torch.nn.functional import normalize

sys.path.insert(0, str(ROOT))
from app.actions.decide import Decision, decide
from app.settings import Settings
from app.store.database import Database
from app.store.reads.pairs import page_of_pairs
from app.store.reads.queue import next_items

DISK_MB = 512
Curve = list[dict[str, float]]


def limits() -> dict[str, float]:
    """What the machine can do at best: float32 matrix product, disk through the file system, WebP-less JPEG decoding."""
    a, b = torch.randn(2048, 512), torch.randn(512, 8192)
    product = min(timed(lambda: a @ b) for _ in range(6))
    return {
        "matmul_gflops": 2 * 2048 * 8192 * 512 / product / 1e9,
        "memory_gb_s": 2 * 2**28 / min(timed(lambda: np.copyto(TO, FROM)) for _ in range(3)) / 1e9,
        **_disk(),
        "jpeg_256_per_s_core": _decoding(),
    }


FROM, TO = np.ones(2**26, np.float32), np.zeros(2**26, np.float32)


def batch_curve(sizes: list[int]) -> Curve:
    """Seconds and MB of the loss, forward and backward, D = 512: tiled against one dense matrix under autograd."""
    found = []
    for n in sizes:
        torch.manual_seed(0)
        x, y = (normalize(torch.randn(n, 512), dim=1).requires_grad_() for _ in "xy")
        scale = torch.tensor(100.0, requires_grad=True)
        row = {"n": n, "ours_s": _median(partial(_both_ways, ours, x, y, scale))}
        if n <= 16_384:  # 4 bytes · N² several times over
            row["dense_s"] = _median(partial(_both_ways, one_matrix, x, y, scale))
        row["ours_mb"] = in_child(n, 512)[1]
        row["product_s"] = 8 * n * n * 512 / LIMIT["flops"]
        found.append(row)
        print("batch", row, flush=True)
    return found


def mining_curve(sizes: list[int]) -> Curve:
    """Seconds of the exact top 50 in both directions, D = 512, beside the bare product and faiss flat."""
    import faiss

    from clipcore.mining.topk import exact_top_k

    faiss.omp_set_num_threads(torch.get_num_threads())
    found = []
    for n in sizes:
        rng = np.random.default_rng(0)
        x, y = (rng.standard_normal((n, 512), dtype=np.float32) for _ in "xy")
        x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))

        def flat(x: Any = x, y: Any = y) -> None:
            for queries, items in ((x, y), (y, x)):
                index = faiss.IndexFlatIP(512)
                index.add(items)
                index.search(queries, 50)

        row = {
            "n": n,
            "ours_s": _median(lambda x=x, y=y: exact_top_k(x, y, k=50), 3),
            "faiss_s": _median(flat, 3),
        }
        row["product_s"] = 2 * n * n * 512 / LIMIT["flops"]
        found.append(row)
        print("mining", row, flush=True)
    return found


def data_set_curve(sizes: list[int]) -> Curve:
    """Milliseconds of a page of pairs, of the next of the queue, and of a verdict, on SQLite."""
    found = []
    for n in sizes:
        with _filled(n) as database:
            with database.reading() as session:
                page = _median(partial(page_of_pairs, session, 1, after=n // 2), 20)
                queue = _median(partial(next_items, session, 1), 20)
            verdict = statistics.median(_decide(database, k) for k in range(30))
        found.append({"n": n, "page_ms": 1e3 * page, "queue_ms": 1e3 * queue, "verdict_ms": 1e3 * verdict})
        print("data set", found[-1], flush=True)
    return found


def annotators_curve(numbers: list[int], *, num_pairs: int, seconds: float) -> Curve:
    """Verdicts a second and their p95 when so many people save without a pause, on SQLite: one writer at a time."""
    found = []
    with _filled(num_pairs) as database:
        for people in numbers:
            times: list[float] = []
            until = time.monotonic() + seconds

            def person(number: int, times: list[float] = times, until: float = until) -> None:
                turn = number
                while time.monotonic() < until:
                    times.append(_decide(database, turn))
                    turn += 97

            threads = [threading.Thread(target=person, args=(i,)) for i in range(people)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            ordered = sorted(times)
            row = {"people": people, "verdicts_per_s": len(times) / seconds}
            found.append(row | {"p95_ms": 1e3 * ordered[int(0.95 * len(ordered))]})
            print("annotators", found[-1], flush=True)
    return found


class _filled:
    """A SQLite database with `num` pairs and suggestions in a folder that goes away."""

    def __init__(self, num: int) -> None:
        self.num = num

    def __enter__(self) -> Database:
        from desk_world import fill

        self.folder = Path(tempfile.mkdtemp(prefix="nm-growth-"))
        self.database = Database(Settings(home=self.folder))
        fill(self.database, self.num)
        return self.database

    def __exit__(self, *_: object) -> None:
        self.database.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _decide(database: Database, turn: int) -> float:
    """Seconds of one verdict from the open transaction to the commit."""
    began = time.perf_counter()
    with database.transaction() as session:
        one = Decision(
            str(uuid.uuid4()), image_id=1 + turn % 500, caption_id=1 + (turn * 7 + 3) % 500, answer="no_match"
        )
        decide(session, decisions=[one], person=f"person {turn % 50}")
    return time.perf_counter() - began


def _disk() -> dict[str, float]:
    """MB/s of writing 512 MB and forcing it to the disk; reading is left out, it would measure the page cache."""
    block = os.urandom(2**20)
    with tempfile.NamedTemporaryFile(dir=ROOT) as file:

        def write() -> None:
            file.seek(0)
            for _ in range(DISK_MB):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())

        return {"disk_write_mb_s": DISK_MB / min(timed(write) for _ in range(2))}


def _decoding() -> float:
    from PIL import Image

    grid = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(grid).resize((256, 256)).save(data, "jpeg", quality=90)
    return 200 / min(timed(lambda: [Image.open(data).convert("RGB") for _ in range(200)]) for _ in range(3))


def _both_ways(loss: Callable[..., Any], *inputs: Any) -> None:
    loss(*inputs).backward()


def _median(call: Callable[[], Any], rounds: int = 3) -> float:
    call()
    return statistics.median(timed(call) for _ in range(rounds))


LIMIT: dict[str, float] = {}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    before = limits()
    LIMIT["flops"] = before["matmul_gflops"] * 1e9
    curves: dict[str, Curve] = {
        "batch": batch_curve([512, 2048] if quick else [1024, 2048, 4096, 8192, 16_384]),
        "mining": mining_curve([1000, 4000] if quick else [5000, 10_000, 20_000, 40_000]),
        "data_set": data_set_curve([5000, 10_000] if quick else [10_000, 100_000, 1_000_000]),
        "annotators": annotators_curve(
            [1, 8] if quick else [1, 2, 4, 8, 16, 32, 64], num_pairs=5000 if quick else 100_000,
            seconds=1 if quick else 10,
        ),
    }  # fmt: skip
    after = limits()
    figures = {name: max(before[name], after[name]) for name in before}
    write_result("growth", figures, quick=quick, threads=torch.get_num_threads(), **curves)


if __name__ == "__main__":
    main()
