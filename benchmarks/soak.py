"""A team's day in short: fifty annotators without a pause, 200 open pages, broker and database that go away.

    python benchmarks/soak.py --minutes 120 [--outages 10 --outage-s 60] [--idle-s 60] [--no-write]

One `nearmiss up` on a Postgres and a Valkey of its own. First nobody works and 200 pages are open: the processor time of
the web process is read from /proc. Then fifty accounts lease items and save a verdict every 3 s each, as the page does:
what is not answered is sent again, and every acknowledged UUID goes into a ledger. Meanwhile broker and database are
killed in turn, stay away for `--outage-s`, and come back. It has recovered when verdicts are saved, all three workers are
seen, and an export that was asked for during the outage (for the database: right after) is finished; nothing is restarted
by hand. Memory and open files are those of the web process and the three workers, read every 5 s.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
from clock import percentile
from desk_annotators import ANNOTATORS, EVERY_S, lost, verdict
from desk_world import add_people, fill
from installation import Installation, processor_s
from result import write_result
from servers import Broker, Postgres
from sqlalchemy import select, text

from app.actions.credentials import issue
from app.settings import Settings
from app.store.database import Database
from app.store.models import (
    Caption,
    DataSet,
    Image,
    Job,
    Pair,
    PersonRow,
    Run,
    Snapshot,
)
from app.store.text import text_hash

OPEN_PAGES, PANEL_EVERY_S = 200, 60.0
PAGES = (("/api/data-sets/1/desk", PANEL_EVERY_S), ("/api/runs/1/events?after=0&limit=1000", 30.0))
SAMPLE_S = 5.0
KEPT_S = 2.0  # the server ends an unused connection after 5 s; a browser asks again when both do so at once
PROCESSES = {"web": "app.web", "cpu": "-Q cpu", "search": "-Q search", "gpu": "-Q gpu"}
GIVE_UP_S = 300.0


def main() -> int:
    """The exit code is 1 when something was lost or an answer was wrong while nothing was away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0, help="of load; outages lie within")
    parser.add_argument("--outages", type=int, default=10, help="broker and database in turn")
    parser.add_argument("--outage-s", type=float, default=60.0)
    parser.add_argument("--idle-s", type=float, default=60.0, help="how long 200 pages are watched before")
    parser.add_argument("--no-write", action="store_true")
    given = parser.parse_args()
    postgres, broker = Postgres(), Broker()
    media = tempfile.mkdtemp(prefix="nm-soak-")
    settings = Settings(home=Path(media), database_url=postgres.url, media_url=f"file://{media}", demo=False)
    tokens = prepare(Database(settings), num_pairs=max(20_000, round(2_500 * given.minutes) // 5_000 * 5_000))
    nearmiss = Installation(
        NEARMISS_DATABASE_URL=postgres.url,
        NEARMISS_BROKER_URL=broker.url,
        NEARMISS_MEDIA_URL=f"file://{media}",
    )
    try:
        soak = Soak(nearmiss, postgres, broker, tokens)
        nearmiss.wait("the workers", lambda: soak.num_workers() == 3, timeout_s=300)
        time.sleep(20)  # their imports are over
        idle = asyncio.run(soak.idle(given.idle_s))
        asyncio.run(soak.load(given.minutes * 60, given.outages, given.outage_s))
        database = Database(settings)
        num_lost = lost(database, soak.ledger)
        database.close()
    finally:
        nearmiss.close()
        broker.close()
        postgres.close()
        shutil.rmtree(media, ignore_errors=True)
    growth, files = soak.growth()
    recovery = [s for outages in soak.recovery_s.values() for s in outages]
    figures = {
        "minutes": given.minutes,
        "memory_growth": max(growth.values()),
        "errors": len(soak.errors),
        "recovery_s_max": round(max(recovery, default=0.0), 1),
        "idle_pages_core_share": idle["web"],
        "lost": num_lost,
        "verdicts": len(soak.ledger),
        "verdict_p95_ms": percentile(soak.times_ms, 95),
        "outages": len(recovery),
        "outage_s": given.outage_s,
        "open_files_growth": max(files.values()),
    }
    details: dict[str, Any] = {
        "memory_growth_of": growth,
        "open_files_growth_of": files,
        "idle_core_share_of": idle,
        "recovery_s": soak.recovery_s,
        "export_without_outage_s": soak.export_s,
        "refused_while_away": soak.refused,
        "broken_off_while_away": soak.broken_off,
        "first_errors": soak.errors[:20],
        "submit_without_broker_s_max": max(soak.submit_s, default=None),
        "memory_mb": {name: [round(m / 1e6) for m, _ in seen] for name, seen in soak.seen.items()},
    }
    if given.no_write:
        print(json.dumps(figures | details))
    else:
        write_result("soak", figures, **details)
    return int(bool(num_lost or soak.errors))


def prepare(database: Database, *, num_pairs: int) -> list[str]:
    """The desk's data set, a small one to export, and tokens: an admin's, then those of the annotators."""
    fill(database, num_pairs)
    with database.transaction() as session:
        session.add(DataSet(id=2, name="small", num_images=20, num_captions=20, num_pairs=20))
        session.flush()
        picture = session.scalars(select(Image.sha256).limit(1)).one()
        for number in range(20):
            words = f"a small thing, number {number}"
            image = Image(data_set_id=2, key=f"{number}.png", sha256=picture, width=72, height=72)
            caption = Caption(data_set_id=2, text=words, sha256=text_hash(words))
            session.add_all([image, caption])
            session.flush()
            session.add(Pair(data_set_id=2, image_id=image.id, caption_id=caption.id, split="train"))
        session.add(Job(id=1, kind="fine_tune", queue="gpu", data_set_id=2, state="finished"))
        session.flush()
        session.add(Snapshot(id=1, data_set_id=2, hash="0" * 64, pairs_key="", verdicts_key="", counts={}))
        session.flush()
        session.add(
            Run(id=1, job_id=1, data_set_id=2, snapshot_id=1, model_id=1, name="over", config_yaml="")
        )
        session.execute(text("select setval('jobs_id_seq', 1), setval('snapshots_id_seq', 1)"))
        admin = PersonRow(name="admin", role="admin", password_hash="none")
        session.add(admin)
        session.flush()
        token = issue(session, person_id=admin.id, kind="token", lives_s=7 * 86400.0)
    tokens = [token, *add_people(database, ANNOTATORS)]
    database.close()
    return tokens


class Soak:
    """The load, the outages, and what was seen."""

    def __init__(self, nearmiss: Installation, postgres: Postgres, broker: Broker, tokens: list[str]):
        self.nearmiss, self.tokens = nearmiss, tokens
        self.services: dict[str, Postgres | Broker] = {"broker": broker, "database": postgres}
        self.admin = httpx.Client(
            base_url=nearmiss.address,
            headers={"X-Nearmiss": "1", "Authorization": f"Bearer {tokens[0]}"},
            timeout=30,
        )
        self.ledger: set[str] = set()
        self.times_ms: list[float] = []
        self.errors: list[str] = []
        self.refused = self.broken_off = 0
        self.recovery_s: dict[str, list[float]] = defaultdict(list)
        self.submit_s: list[float] = []
        self.export_s = 0.0  # of an export while nothing is away and nobody works
        self.seen: dict[str, list[tuple[int, int]]] = {name: [] for name in PROCESSES}
        self.away = False  # something is killed, or has not recovered yet
        self.last_saved = 0.0
        self.until = 0.0

    def num_workers(self) -> int:
        """Workers that the page shows as connected."""
        return len(self.admin.get("/api/workers").raise_for_status().json())

    # -- pages that are only open --------------------------------------------------------------------------------

    async def idle(self, seconds: float) -> dict[str, float]:
        """Shares of a core, by process, while 200 pages are open and no run is active.

        A page holds Gradio's heartbeat open; half of them show Curate, which asks for its panel once a minute, half a run
        that is over, which is asked every half minute whether it was resumed.
        """
        limits = httpx.Limits(max_connections=None, keepalive_expiry=KEPT_S)
        async with httpx.AsyncClient(base_url=self.nearmiss.address, timeout=None, limits=limits) as client:

            async def page(number: int) -> None:
                mine = {"Authorization": f"Bearer {self.tokens[1 + number % ANNOTATORS]}"}
                await asyncio.sleep(PANEL_EVERY_S * number / OPEN_PAGES / 4)
                asked, every_s = PAGES[number % 2]
                while True:
                    try:
                        await stay(f"/gradio_api/heartbeat/page{number}", asked, every_s, mine)
                    except httpx.HTTPError as error:
                        self.errors.append(f"an open page: {error!r}")
                    await asyncio.sleep(1)

            async def stay(path: str, asked: str, every_s: float, mine: dict[str, str]) -> None:
                async with client.stream("GET", path, headers=mine) as heartbeat:
                    heartbeat.raise_for_status()
                    while True:
                        (await client.get(asked, headers=mine)).raise_for_status()
                        await asyncio.sleep(every_s)

            pages = [asyncio.create_task(page(number)) for number in range(OPEN_PAGES)]
            await asyncio.sleep(PANEL_EVERY_S / 4 + 5)  # all are open
            before = {name: self._processor_s(words) for name, words in PROCESSES.items()}
            began = time.monotonic()
            await asyncio.sleep(max(seconds, PANEL_EVERY_S))
            took = time.monotonic() - began
            after = {name: self._processor_s(words) for name, words in PROCESSES.items()}
            for task in pages:
                task.cancel()
            await asyncio.gather(*pages, return_exceptions=True)
        return {name: round((after[name] - before[name]) / took, 3) for name in PROCESSES}

    def _processor_s(self, words: str) -> float:
        return sum(processor_s(pid) for pid in self.nearmiss.pids(words)[:1])

    # -- the load ------------------------------------------------------------------------------------------------

    async def load(self, seconds: float, outages: int, outage_s: float) -> None:
        """Fifty annotators; outages evenly in between; memory and open files."""
        began = time.monotonic()
        first = self._export()
        while self.admin.get(f"/api/jobs/{first}").raise_for_status().json()["state"] != "finished":
            await asyncio.sleep(0.25)
        self.export_s = round(time.monotonic() - began, 1)
        watcher = threading.Thread(target=self._watch)
        self.until = time.monotonic() + seconds
        watcher.start()
        breaker = threading.Thread(target=self._break, args=(seconds, outages, outage_s))
        breaker.start()
        limits = httpx.Limits(max_connections=None, keepalive_expiry=KEPT_S)
        async with httpx.AsyncClient(
            base_url=self.nearmiss.address, timeout=30, limits=limits, headers={"X-Nearmiss": "1"}
        ) as client:
            await asyncio.gather(*(self._annotate(client, number) for number in range(ANNOTATORS)))
        breaker.join()
        watcher.join()

    async def _annotate(self, client: httpx.AsyncClient, number: int) -> None:
        rng = random.Random(number)
        items: list[dict[str, Any]] = []
        mine = {"Authorization": f"Bearer {self.tokens[1 + number]}"}
        await asyncio.sleep(EVERY_S * number / ANNOTATORS)
        while time.monotonic() < self.until or self.away:  # the last outage is seen to its end
            began = time.monotonic()
            if not items:
                answer = await self._persist(client, "/api/data-sets/1/queue", {"limit": 30}, mine)
                items = answer.json()["items"]
            if not items:
                self.errors.append(f"annotator {number}: the queue is empty")
                return
            body = {"verdicts": [verdict(items, rng)]}
            answer = await self._persist(client, "/api/verdicts", body, mine)
            self.ledger.update(answer.json()["saved"])
            self.last_saved = time.monotonic()
            await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))

    async def _persist(self, client: httpx.AsyncClient, path: str, body: Any, mine: dict[str, str]) -> Any:
        """The answer; asked for again as the page's outbox does. Whatever fails while nothing is away is an error."""
        for attempt in itertools.count():
            away, began = self.away, time.monotonic()
            try:
                answer = await client.post(path, json=body, headers=mine)
            except httpx.HTTPError as error:
                if away or self.away:
                    self.broken_off += 1
                else:
                    self.errors.append(f"{path}: {error!r}")
            else:
                if answer.status_code == 200:
                    if not away and path == "/api/verdicts":
                        self.times_ms.append(1000 * (time.monotonic() - began))
                    return answer
                if answer.status_code == 503 and (away or self.away):
                    self.refused += 1
                else:
                    self.errors.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            await asyncio.sleep(min(5.0, 0.5 * 2**attempt))

    # -- outages -------------------------------------------------------------------------------------------------

    def _break(self, seconds: float, outages: int, outage_s: float) -> None:
        began = time.monotonic()
        for number in range(outages):
            wait_s = began + seconds * (number + 1) / (outages + 1) - time.monotonic()
            time.sleep(max(0.0, wait_s))
            name = ("broker", "database")[number % 2]
            try:
                self._one_outage(name, outage_s)
            except Exception as error:  # the load must end, and the report must say it
                self.errors.append(f"outage {number} of the {name}: {error!r}")
            self.away = False

    def _one_outage(self, name: str, outage_s: float) -> None:
        self.away = True
        service = self.services[name]
        service.kill()
        back_at = time.monotonic() + outage_s
        job_id = None
        if name == "broker":
            time.sleep(outage_s / 2)
            began = time.monotonic()
            job_id = self._export()
            self.submit_s.append(round(time.monotonic() - began, 3))
        time.sleep(max(0.0, back_at - time.monotonic()))
        service.start()
        back = time.monotonic()
        missing = "the page"
        while missing and time.monotonic() < back + GIVE_UP_S:
            try:
                job_id = job_id or self._export()
                state = self.admin.get(f"/api/jobs/{job_id}").raise_for_status().json()["state"]
                if state == "failed":
                    raise RuntimeError(f"the export failed after an outage of the {name}")
                seen = {
                    f"the export is {state}": state == "finished",
                    "no verdict was saved": self.last_saved > back,
                    f"{(num := self.num_workers())} of 3 workers are seen": num == 3,
                }
                missing = next((what for what, true in seen.items() if not true), "")
            except httpx.HTTPError as error:
                missing = f"the page does not answer: {error!r}"
            time.sleep(0.25)
        if missing:
            self.errors.append(f"the {name} was back and {missing} for {GIVE_UP_S:.0f} s")
        took = time.monotonic() - back
        self.recovery_s[name].append(round(took, 1))
        print(
            f"{time.strftime('%H:%M:%S')} {name} away for {outage_s:.0f} s: recovered {took:.1f} s later",
            flush=True,
        )

    def _export(self) -> int:
        answer = self.admin.post("/api/data-sets/2/export", json={"format": "tsv"})
        return int(answer.raise_for_status().json()["job"]["id"])

    # -- what is seen --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        pids = {name: self.nearmiss.pids(words)[0] for name, words in PROCESSES.items()}
        while time.monotonic() < self.until:
            for name, pid in pids.items():
                try:
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                except OSError as error:
                    self.errors.append(f"{name} ended: {error}")
                    return
                self.seen[name].append((pages * os.sysconf("SC_PAGE_SIZE"), files))
            time.sleep(SAMPLE_S)

    def growth(self) -> tuple[dict[str, float], dict[str, int]]:
        """Of each process: memory of the last fifth against the second fifth (a share), and the same for open files."""
        memory, files = {}, {}
        for name, seen in self.seen.items():
            fifth = max(1, len(seen) // 5)
            early, late = seen[fifth : 2 * fifth], seen[-fifth:]
            bytes_early, bytes_late = (statistics.median(m for m, _ in part) for part in (early, late))
            memory[name] = round(bytes_late / bytes_early - 1, 4)
            files[name] = round(
                statistics.median(f for _, f in late) - statistics.median(f for _, f in early)
            )
        return memory, files


if __name__ == "__main__":
    sys.exit(main())
