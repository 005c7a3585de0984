"""Import: pictures end to end against a bare decoding loop; a million metadata rows into SQLite and Postgres.

    python benchmarks/ingest.py            100,000 pictures, 1,000,000 rows (about a quarter of an hour on 2 quiet cores)
    python benchmarks/ingest.py --quick    2,000 and 20,000

A pair brings an image and a caption of its own, so `rows_per_s` counts three table rows, with all their indexes;
`pairs_per_s` is a third of it. The full text is indexed after the rows, as an import does it: `words_captions_per_s`.
`decode_share`: pictures a second of the import (read, hash, decode, two thumbnails, store, rows) over those of a loop
that decodes, makes the same thumbnails and encodes them as WebP, with the same number of processes.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from result import write_result
from servers import Postgres
from sqlalchemy import func, select, text

from app.actions.add_rows import MAX_ROWS, NewRow, add_rows
from app.actions.import_data_set import import_data_set
from app.jobs import lease
from app.media.pictures import QUALITY, THUMBNAILS_PX, thumbnail_key
from app.media.store import MediaStore
from app.settings import Settings
from app.store.database import Database
from app.store.models import DataSet, Image, Pair
from app.store.reads.pairs import page_of_pairs
from app.store.schema import migrate
from app.store.words import index_words

WORDS = [
    "a",
    "red",
    "blue",
    "small",
    "large",
    "cat",
    "dog",
    "house",
    "tree",
    "on",
    "under",
    "beside",
    "table",
    "sky",
]
NUM_PROCESSES = 2


def draw(job: tuple[Path, int, int]) -> None:
    """JPEGs of 256 px with the detail of photographs, about 20 kB each."""
    folder, start, stop = job
    generator = np.random.default_rng(start)
    for i in range(start, stop):
        grid = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        picture = Picture.fromarray(grid).resize((256, 256), Picture.Resampling.BICUBIC)
        noise = generator.integers(-12, 13, (256, 256, 3), dtype=np.int16)
        pixels = np.clip(np.asarray(picture, np.int16) + noise, 0, 255).astype(np.uint8)
        place = folder / f"{i // 1000:03d}"
        place.mkdir(exist_ok=True)
        Picture.fromarray(pixels).save(place / f"{i:06d}.jpg", quality=90)


def caption(i: int) -> str:
    """A caption of about 40 characters, unlike all others."""
    return " ".join(WORDS[(i >> (3 * k)) % len(WORDS)] for k in range(6)) + f" number {i}"


def bare(paths: list[str]) -> None:
    """Decode, the same thumbnails, WebP: what no import can do without."""
    for path in paths:
        image = Picture.open(path)
        image = image.convert("RGB")
        for px in sorted(THUMBNAILS_PX, reverse=True):
            if max(image.size) > px:
                image.thumbnail((px, px), Picture.Resampling.LANCZOS, reducing_gap=2.0)
        image.save(io.BytesIO(), "WEBP", quality=QUALITY, method=2)


class Memory(threading.Thread):
    """The largest memory of this process and its children together, in MB, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak_mb, self._over = pid, 0.0, threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            self.peak_mb = max(self.peak_mb, sum(_rss_mb(pid) for pid in _family(self.pid)))

    def stop(self) -> float:
        self._over.set()
        return self.peak_mb


def _family(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        for tasks in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in tasks.read_text().split()]
            except OSError:
                continue
    return found


def _rss_mb(pid: int) -> float:
    """Shared pages are counted once a process, so the sum is an upper bound."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def pictures(place: Path, num: int) -> dict[str, Any]:
    source, settings = place / "source", Settings(home=place / "home", lease_s=600)
    source.mkdir()
    settings.home.mkdir()
    steps = [(source, i, min(i + 500, num)) for i in range(0, num, 500)]
    with multiprocessing.Pool(NUM_PROCESSES) as pool:
        pool.map(draw, steps, chunksize=1)
    paths = sorted(str(path) for path in source.rglob("*.jpg"))
    rows = (f"{Path(p).relative_to(source)}\t{caption(i)}\n" for i, p in enumerate(paths))
    (source / "pairs.tsv").write_text("filepath\ttitle\n" + "".join(rows))
    rates = [_bare_rate(paths)]
    database = Database(settings)
    migrate(database.engine)
    with database.transaction() as session:
        job_id = import_data_set(session, name="x", source=str(source / "pairs.tsv"), trusted=True).id
    with database.transaction() as session:
        token = lease.claim(session, job_id, worker="benchmark")
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.job"],
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "NEARMISS_HOME": str(settings.home), "NEARMISS_LEASE_S": "600"},
    )
    memory = Memory(process.pid)
    memory.start()
    assert process.stdin is not None
    process.stdin.write(f"{job_id} {token}\n")
    process.stdin.close()
    process.wait()
    elapsed = time.perf_counter() - began
    peak = memory.stop()
    rates.append(_bare_rate(paths))
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Pair)) == num
    larger = _larger_thumbnails(settings, database, source)
    database.close()
    return {
        "decode_share": num / elapsed / statistics.mean(rates),
        "pictures_per_s": num / elapsed,
        "bare_pictures_per_s": statistics.mean(rates),
        "import_peak_mb": peak,
        "thumbnails_larger_than_source_px": larger[0],
        "thumbnails_larger_than_source_bytes": larger[1],
    }


def _bare_rate(paths: list[str]) -> float:
    """Before and after the import, so that a machine that slows down slows both."""
    some = paths[: max(2000, len(paths) // 5)]
    chunks = [some[i : i + 32] for i in range(0, len(some), 32)]
    with multiprocessing.Pool(NUM_PROCESSES) as pool:
        pool.map(bare, chunks[:2], chunksize=1)
        began = time.perf_counter()
        pool.map(bare, chunks, chunksize=4)
        return len(some) / (time.perf_counter() - began)


def _larger_thumbnails(settings: Settings, database: Database, source: Path) -> tuple[int, int]:
    store, by_px, by_bytes = MediaStore(settings.resolved_media_url), 0, 0
    with database.reading() as session:
        rows = session.execute(select(Image.sha256, Image.key, Image.width, Image.height).limit(2000)).all()
    for row in rows:
        for px in THUMBNAILS_PX:
            if not store.exists(thumbnail_key(row.sha256, px=px)):
                continue  # the same as the smaller one
            data = store.get(thumbnail_key(row.sha256, px=px))
            with Picture.open(io.BytesIO(data)) as small:
                by_px += small.width > row.width or small.height > row.height
            by_bytes += len(data) > (source / row.key).stat().st_size
    return by_px, by_bytes


def metadata(settings: Settings, num: int) -> dict[str, float]:
    database = Database(settings)
    migrate(database.engine)
    with database.transaction() as session:
        session.add(DataSet(id=1, name="x"))
    added = 0.0
    began = time.perf_counter()
    for start in range(0, num, MAX_ROWS):
        rows = [
            NewRow(f"{i:07d}.jpg", hashlib.sha256(b"%d" % i).hexdigest(), 256, 256, caption(i))
            for i in range(start, min(start + MAX_ROWS, num))
        ]
        before = time.perf_counter()
        with database.transaction() as session:
            add_rows(session, data_set_id=1, rows=rows)
        added += time.perf_counter() - before
    found = {
        "all_s": time.perf_counter() - began,
        "rows_per_s": 3 * num / added,  # an image, a caption and a pair each
        "pairs_per_s": num / added,
    }
    found["words_captions_per_s"] = num / _index_words(database)
    with database.transaction() as session:
        session.connection().exec_driver_sql("ANALYZE")  # what Postgres's autovacuum does within a minute
    with database.reading() as session:
        found |= _latencies_ms(session, num)
    if not settings.database_url:
        with database.engine.connect() as connection:
            found["explain_page"] = str(
                connection.execute(
                    text(
                        "EXPLAIN QUERY PLAN SELECT id FROM pairs WHERE data_set_id = 1 AND retired_at IS NULL"
                        " AND id > 500 ORDER BY id LIMIT 61"
                    )
                ).all()
            )  # type: ignore[assignment]
    database.close()
    return found


def _index_words(database: Database) -> float:
    """Seconds of the full-text build, which follows the rows."""
    began = time.perf_counter()
    while True:
        with database.transaction() as session:
            if not index_words(session):
                return time.perf_counter() - began


def _latencies_ms(session: Any, num: int) -> dict[str, float]:
    times = []
    for after in range(0, num, max(1, num // 50)):
        began = time.perf_counter()
        page_of_pairs(session, 1, after=after)
        times.append(1000 * (time.perf_counter() - began))
    times.sort()
    return {"page_ms_p50": times[len(times) // 2], "page_ms_p95": times[int(len(times) * 0.95)]}


def api_latency_ms(settings: Settings) -> dict[str, float]:
    from fastapi.testclient import TestClient

    from app.api import create_app

    headers = {"X-Nearmiss": "1"}
    found = {}
    with TestClient(create_app(settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        paths = {
            "data_sets": "/api/data-sets",
            "pairs": "/api/data-sets/1/pairs?after=9000",
            "pair": "/api/pairs/9",
            "words": "/api/data-sets/1/explore?words=number%209",
        }
        for name, path in paths.items():
            times = []
            for _ in range(30):
                began = time.perf_counter()
                assert client.get(path).status_code == 200
                times.append(1000 * (time.perf_counter() - began))
            found[f"api_{name}_ms_p95"] = sorted(times)[28]
    return found


def postgres(stack: ExitStack) -> str:
    server = Postgres()
    stack.callback(server.close)
    return server.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 pictures and 20,000 rows")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--part", choices=["metadata"], help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    num_pictures, num_rows = (2_000, 20_000) if asked.quick else (asked.pictures, asked.rows)
    if asked.part:
        found = metadata(Settings(home=asked.home, database_url=asked.url), asked.rows)
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    place = Path(tempfile.mkdtemp(prefix="nearmiss-ingest-"))
    try:
        with ExitStack() as stack:
            (place / "pictures").mkdir()
            figures: dict[str, Any] = pictures(place / "pictures", num_pictures)
            peaks = [figures["import_peak_mb"]]
            for name in ("sqlite", "postgres"):
                home = place / name
                home.mkdir()
                url = postgres(stack) if name == "postgres" else ""
                found = _in_own_process(home, url, num_rows)
                peaks.append(found.pop("peak_mb"))
                figures |= {f"{key}_{name}": value for key, value in found.items()}
                figures |= {
                    f"{key}_{name}": v
                    for key, v in api_latency_ms(Settings(home=home, database_url=url)).items()
                }
            figures["peak_mb"] = max(peaks)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    explain = {key: figures.pop(key) for key in list(figures) if key.startswith("explain")}
    if asked.no_write:
        for key, value in figures.items():
            print(f"{key:<40} {value:.4g}")
        return
    write_result(
        "ingest",
        figures,
        quick=asked.quick,
        num_pictures=num_pictures,
        num_rows=num_rows,
        processes=NUM_PROCESSES,
        **explain,
    )


def _in_own_process(home: Path, url: str, num: int) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--part",
        "metadata",
        "--home",
        str(home),
        "--url",
        url,
        "--rows",
        str(num),
    ]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
