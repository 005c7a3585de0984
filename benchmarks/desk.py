"""The desk under load: key to paint in a real browser, first page, fifty annotators; beside it Label Studio's hand-over.

    python benchmarks/desk.py [--quick] [--no-peer]

Two instances with synthetic pairs on 300 drawings: 200,000 pairs on SQLite and a million on Postgres, 200,000 open
suggestions each. The first page is there when the first question stands on the screen with its pictures and takes keys;
the whole page, when Gradio's tabs stand around it. A key's time runs from keydown to after the paint of the frame that shows the next decoded picture.
Fifty simulated annotators, each with an account, lease a queue page and save one verdict every 3 s, each with a ledger
that is compared with the database at the end (a tenth of the images is asked twice, four in a hundred are controls). The peer is Label Studio (a temporary environment, its API and page): from the key that
submits to the next task's picture painted, the same drawings.
"""

import argparse
import asyncio
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clock import percentile, wait_for_page
from desk_annotators import ANNOTATORS, load, lost
from desk_browser import browse
from desk_routes import lists, meaning
from desk_world import add_people, fill
from label_studio import label_studio
from result import ROOT, write_result
from servers import Postgres, free_port
from sqlalchemy import func, select

sys.path.insert(0, str(ROOT))
from app.settings import Settings
from app.store.database import Database
from app.store.models import Verdict


def main() -> None:
    """Measures, prints, writes benchmarks/results/desk.json (with --quick only prints)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small data sets, short load; writes no result")
    parser.add_argument("--no-peer", action="store_true")
    given = parser.parse_args()
    small = given.quick
    folder = Path(tempfile.mkdtemp(prefix="nm-desk-", dir="/tmp"))
    try:
        sqlite = desk(folder / "sqlite", "", 5_000 if small else 200_000, 10 if small else 120)
        server = Postgres()
        try:
            postgres = desk(
                folder / "postgres", server.url, 5_000 if small else 1_000_000, 10 if small else 120
            )
        finally:
            server.close()
        peer = {} if given.no_peer else label_studio(folder / "peer", 20 if small else 100)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = {
        **{name: sqlite[name] for name in ("key_to_paint_p50_ms", "key_to_paint_p95_ms")},
        "first_page_p95_ms": sqlite["first_page_p95_ms"],
        "whole_page_p95_ms": sqlite["whole_page_p95_ms"],
        **{name: sqlite[name] for name in ("search_text_p95_ms", "search_image_p95_ms")},
        "verdict_p95_ms_50_annotators": sqlite["verdict_p95_ms"],
        "errors": sqlite["errors"] + postgres["errors"],
        "lost": sqlite["lost"] + postgres["lost"],
        "peer_handover_p50_ms": peer.get("p50_ms"),
        "peer": peer.get("name"),
    }
    details = {"sqlite_200k": sqlite, "postgres_1m": postgres, "peer_details": peer}
    write_result("desk", figures, quick=small, **details)


def desk(home: Path, url: str, num_pairs: int, load_s: float) -> dict[str, Any]:
    """All figures of one instance."""
    port = free_port()
    home.mkdir(parents=True)
    database = Database(Settings(home=home, database_url=url, port=port, demo=False))
    began = time.monotonic()
    fill(database, num_pairs)
    print(f"{num_pairs} pairs in {time.monotonic() - began:.0f} s")
    env = {"NEARMISS_HOME": str(home), "NEARMISS_PORT": str(port), "NEARMISS_DEMO": "false"}
    env |= {"NEARMISS_DATABASE_URL": url} if url else {}
    with started(env, f"http://127.0.0.1:{port}") as address:
        found = browse(address) | lists(address) | meaning(address)
        ledger, times, errors = asyncio.run(load(address, load_s, add_people(database, ANNOTATORS)))
    with database.reading() as session:
        found["verdicts_saved"] = session.scalar(select(func.count()).select_from(Verdict))
    num_lost = lost(database, ledger)
    database.close()
    return found | {
        "verdict_p50_ms": round(statistics.median(times), 1),
        "verdict_p95_ms": percentile(times, 95),
        "verdicts_under_load": len(ledger),
        "errors": errors,
        "lost": num_lost,
    }


@contextmanager
def started(env: dict[str, str], address: str) -> Iterator[str]:
    """`nearmiss up` until the block ends."""
    command = [sys.executable, "-m", "app.cli.main", "up"]
    with (Path(env["NEARMISS_HOME"]) / "up.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | env, stdout=log, stderr=log)
        try:
            wait_for_page(f"{address}/healthz")
            time.sleep(15)  # the workers' imports are over
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


if __name__ == "__main__":
    main()
