"""Top-50 both directions: clipcore's exact search against sentence-transformers and faiss flat, and faiss IVF at 1 M × 1 M.

    python benchmarks/mining_speed.py [--quick] [--device cuda] [--no-million]

The exact part: N × N, D = 512, every contestant in a process of its own on the same two files, one after the other in
each round. sentence-transformers gets an encoder that returns the stored vectors (encoding is excluded) and is called
twice, once a direction; faiss flat searches twice. Peak memory is the process's, inputs included.

The approximate part: vectors in clusters with a modality gap. 1,000 topics, 20 themes in each; an item is its theme + 0.5
noise; its image and its caption are that + 0.35 noise each and the modality's own offset, normalised, float16 files,
memory-mapped. Queries are of the other modality; recall is taken over 512 of them against the exact answer.
--quick runs reduced sizes and writes nothing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from result import write_result

D, K = 512, 50
CONTESTANTS = ("ours", "faiss_flat", "sentence_transformers", "sentence_transformers_faiss")


def make_plain(folder: Path, n: int) -> None:
    """Two float32 files of normalised random vectors; caption i is a noisy copy of image i."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((n, D), dtype=np.float32)
    caption = image + 1.5 * rng.standard_normal((n, D), dtype=np.float32)
    for name, vectors in (("image", image), ("caption", caption)):
        np.save(folder / f"{name}.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def make_clustered(folder: Path, n: int) -> None:
    """Two float16 files as the docstring of this file describes them."""
    rng = np.random.default_rng(1)
    topics = rng.standard_normal((1000, D), dtype=np.float32)
    themes = np.repeat(topics, 20, axis=0) + 0.7 * rng.standard_normal((20_000, D), dtype=np.float32)
    gap = 20 * rng.standard_normal((2, D), dtype=np.float32) / np.sqrt(D)
    files = [
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (n, D))
        for name in ("image", "caption")
    ]
    for at in range(0, n, 50_000):
        rows = min(50_000, n - at)
        item = themes[rng.integers(0, len(themes), rows)] + 0.5 * rng.standard_normal((rows, D), np.float32)
        for file, offset in zip(files, gap, strict=True):
            x = item + 0.35 * rng.standard_normal((rows, D), np.float32) + offset
            file[at : at + rows] = x / np.linalg.norm(x, axis=1, keepdims=True)
    for file in files:
        file.flush()


def ours(image: Any, caption: Any, device: str) -> tuple[Any, Any]:
    """Top-51 of clipcore without the own partner."""
    from clipcore.mining.topk import exact_top_k

    top = exact_top_k(image, caption, k=K + 1, device=device)
    return _without_own(top.caption_Nk), _without_own(top.image_Mk)


def faiss_flat(image: Any, caption: Any, device: str) -> tuple[Any, Any]:
    """Two flat inner-product searches."""
    import faiss

    found = []
    for queries, items in ((image, caption), (caption, image)):
        index = faiss.IndexFlatIP(D)
        index.add(items)
        found.append(_without_own(index.search(queries, K + 1)[1]))
    return found[0], found[1]


def sentence_transformers(
    image: Any, caption: Any, device: str, use_faiss: bool = False, batch: int = 4096
) -> tuple[Any, Any]:
    """Two calls of mine_hard_negatives. Its similarities are taken 4,096 queries at a time (its default of 16,384
    would form matrices of 6.5 GB at 100 k)."""
    import torch
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    names = [[f"{side}{i}" for i in range(len(image))] for side in ("i", "c")]
    vectors = {"i": image, "c": caption}

    class Stored:
        """An encoder that knows its vectors."""

        device = torch.device("cpu")

        def encode_query(self, texts: list[str], **_: Any) -> Any:
            side = vectors[texts[0][0]]
            return side[[int(text[1:]) for text in texts]]

        encode_document = encode_query

        def get_embedding_dimension(self) -> int:
            return D

        def similarity(self, a: Any, b: Any) -> Any:
            return torch.as_tensor(a) @ torch.as_tensor(b).T

        def similarity_pairwise(self, a: Any, b: Any) -> Any:
            return (torch.as_tensor(a) * torch.as_tensor(b)).sum(1)

    found = []
    for anchor, other in ((0, 1), (1, 0)):
        pairs = Dataset.from_dict({"anchor": names[anchor], "positive": names[other]})
        mined = mine_hard_negatives(
            pairs, Stored(), range_max=K, num_negatives=K, output_format="n-tuple", verbose=False,
            use_faiss=use_faiss, faiss_batch_size=batch,
        )  # fmt: skip
        table = mined.to_pandas()
        found.append(
            np.stack([table[f"negative_{j}"].str[1:].astype(np.int64) for j in range(1, K + 1)], axis=1)
        )
    return found[0], found[1]


def sentence_transformers_faiss(image: Any, caption: Any, device: str) -> tuple[Any, Any]:
    """The same with use_faiss=True."""
    return sentence_transformers(image, caption, device, use_faiss=True)


def _without_own(number_Nk: Any) -> Any:
    own = number_Nk == np.arange(len(number_Nk))[:, None]
    order = np.argsort(own, axis=1, kind="stable")
    return np.take_along_axis(number_Nk, order, 1)[:, :K]


def child(name: str, folder: Path, device: str) -> None:
    """Runs one contestant and prints seconds, peak MB and the matrix-product rate just before, as JSON."""
    import torch

    image, caption = (np.load(folder / f"{side}.npy") for side in ("image", "caption"))
    rate = _matmul_rate(image, caption, device)
    run: Callable[..., tuple[Any, Any]] = globals()[name]
    run(image[:256], caption[:256], device)  # imports and first calls are not measured
    began, cpu = time.perf_counter(), time.process_time()
    found = run(image, caption, device)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    for side, numbers in zip(("rows", "columns"), found, strict=True):
        np.save(folder / f"{name}-{side}.npy", numbers)
    gpu = torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else None
    print("\n" + json.dumps({"s": elapsed, "cpu_s": cpu, "mb": _peak_mb(), "gpu_mb": gpu, "rate": rate}))


def child_million(folder: Path, kind: str) -> None:
    """faiss on the clustered files, read as memory maps."""
    from clipcore.mining.approximate import approximate_top_k

    image, caption = (np.load(folder / f"{side}.npy", mmap_mode="r") for side in ("image", "caption"))
    began, last = time.perf_counter(), [0.0]

    def say(done: int, total: int) -> None:
        if time.perf_counter() - last[0] > 30:
            last[0] = time.perf_counter()
            print(f"  {done:,} of {total:,} after {last[0] - began:.0f} s", file=sys.stderr, flush=True)

    top, recall = approximate_top_k(image, caption, k=K, kind=kind, progress=say)  # type: ignore[arg-type]
    own = float((top.caption_Nk == np.arange(len(image))[:, None]).any(axis=1).mean())
    row = {"s": time.perf_counter() - began, "mb": _peak_mb(), "own_among_top_50": own}
    print(
        "\n" + json.dumps(row | {"recall": [r.found for r in recall], "effort": [r.effort for r in recall]})
    )


def _matmul_rate(image: Any, caption: Any, device: str) -> float:
    """Multiply-adds a second, times two, of a plain product: the best of five, of numpy's and torch's."""
    import torch

    best = 0.0
    for library in ("numpy", "torch") if device == "cpu" else ("torch",):
        a, b = image[:2048], caption[:8192]
        out = np.empty((len(a), len(b)), np.float32)
        if library == "torch":
            a, b, out = (torch.from_numpy(x).to(device) for x in (a, b, out))
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(4):
                np.matmul(a, b.T, out=out) if library == "numpy" else torch.matmul(a, b.T, out=out)
            if device != "cpu":
                torch.cuda.synchronize()
            best = max(best, 4 * 2 * len(a) * len(b) * D / (time.perf_counter() - began))
    return best


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def in_child(*arguments: str) -> dict[str, Any]:
    """The JSON line that a child prints last."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{arguments} failed")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def same_share(folder: Path, name: str) -> float:
    """The share of (anchor, place) at which a contestant has the item that ours has."""
    sides = ("rows", "columns")
    ours_is = [np.load(folder / f"ours-{side}.npy") for side in sides]
    theirs = [np.load(folder / f"{name}-{side}.npy") for side in sides]
    return float(np.mean([np.mean(a == b) for a, b in zip(ours_is, theirs, strict=True)]))


def exact_part(n: int, rounds: int, device: str) -> dict[str, Any]:
    """Median seconds, peak MB and agreement of each contestant over the rounds."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_plain(folder, n)
        for _ in range(rounds):
            for contestant, found in rows.items():
                found.append(in_child("--child", contestant, str(folder), "--device", device))
                print(
                    f"{n:,}: {contestant:<28} {found[-1]['s']:7.1f} s  {found[-1]['mb']:7.0f} MB", flush=True
                )
        equal = {contestant: same_share(folder, contestant) for contestant in CONTESTANTS}
    out: dict[str, Any] = {"n": n, "rounds": rounds}
    for contestant, found in rows.items():
        out[contestant] = {
            "s": statistics.median(r["s"] for r in found),
            "cpu_s": statistics.median(r["cpu_s"] for r in found),  # on a busy machine seconds mislead
            "rounds_s": [r["s"] for r in found],
            "mb": max(r["mb"] for r in found),
            "same_as_ours": equal[contestant],
        }
    work = 2 * n * n * D
    shares = [work / r["s"] / r["rate"] for r in rows["ours"]]
    rates = [r["rate"] / 1e9 for found in rows.values() for r in found]
    return out | {"matmul_share": statistics.median(shares), "matmul_gflops": statistics.median(rates)}


def main() -> None:
    """Measures, prints, writes benchmarks/results/mining_speed.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-million", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kind", default="ivf")
    parser.add_argument("--child", nargs=2)
    given = parser.parse_args()
    if given.child and given.child[0] == "million":
        return child_million(Path(given.child[1]), given.kind)
    if given.child:
        return child(given.child[0], Path(given.child[1]), given.device)
    if find_spec("sentence_transformers") is None:
        raise SystemExit("sentence-transformers, a contestant, is not installed: pip install -e '.[bench]'")
    small, large = (2_000, 4_000) if given.quick else (20_000, 100_000)
    checks = exact_part(small, 1 if given.quick else 3, given.device)
    full = exact_part(large, 1, given.device)
    report(full, checks, None, given)
    if not given.no_million:
        with tempfile.TemporaryDirectory() as name:
            make_clustered(Path(name), 20_000 if given.quick else 1_000_000)
            report(full, checks, in_child("--child", "million", name, "--kind", given.kind), given)


def report(
    full: dict[str, Any], checks: dict[str, Any], million: dict[str, Any] | None, given: argparse.Namespace
) -> None:
    """Prints the figures; a whole run also writes them (before the long last part, and after it)."""
    figures = {
        "matmul_share": full["matmul_share"],
        "speedup_vs_sentence_transformers": min(full[name]["s"] for name in CONTESTANTS[2:])
        / full["ours"]["s"],
        "speedup_vs_faiss_flat": full["faiss_flat"]["s"] / full["ours"]["s"],
        "recall_at_50_1m": min(million["recall"]) if million else None,
        "peak_mb": full["ours"]["mb"],
    }
    name = "mining_speed" if given.device == "cpu" else f"mining_speed_{given.device}"
    write_result(
        name, figures, quick=given.quick, device=given.device, exact=full, interleaved=checks, million=million
    )


if __name__ == "__main__":
    main()
