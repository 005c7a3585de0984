"""Fifty simulated annotators, each with an account: they lease a queue page and save one verdict every 3 s."""

import asyncio
import random
import sys
import time
import uuid
from typing import Any

import httpx
from result import ROOT
from sqlalchemy import select

sys.path.insert(0, str(ROOT))
from app.store.database import Database
from app.store.models import Control, Verdict

ANNOTATORS, EVERY_S = 50, 3.0


async def load(address: str, seconds: float, tokens: list[str]) -> tuple[set[str], list[float], int]:
    """A verdict every 3 s from the holder of each token: acknowledged UUIDs, milliseconds of each save, errors."""
    ledger: set[str] = set()
    times: list[float] = []
    errors = 0
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=address, timeout=30, limits=limits, headers={"X-Nearmiss": "1"}
    ) as client:

        async def annotator(number: int) -> None:
            nonlocal errors
            rng, items = random.Random(number), []
            mine = {"Authorization": f"Bearer {tokens[number]}"}
            await asyncio.sleep(EVERY_S * number / len(tokens))
            while time.monotonic() < until:
                began = time.perf_counter()
                try:
                    if not items:
                        wish = {"limit": 30}
                        answer = await client.post("/api/data-sets/1/queue", json=wish, headers=mine)
                        items = answer.raise_for_status().json()["items"]
                        began = time.perf_counter()
                    body = verdict(items, rng)
                    answer = await client.post("/api/verdicts", json={"verdicts": [body]}, headers=mine)
                    answer.raise_for_status()
                    ledger.update(answer.json()["saved"])
                    times.append(1000 * (time.perf_counter() - began))
                except (httpx.HTTPError, KeyError) as error:
                    errors += 1
                    print(f"annotator {number}: {error!r}")
                await asyncio.sleep(max(0.0, EVERY_S - (time.perf_counter() - began)))

        await asyncio.gather(*(annotator(number) for number in range(len(tokens))))
    return ledger, times, errors


def verdict(items: list[dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    """Any answer to any of the leased items, which is taken off the list."""
    item = items.pop(rng.randrange(len(items)))
    named = {key: item[key] for key in ("image_id", "caption_id", "suggestion_id")}
    return {"uuid": str(uuid.uuid4()), "answer": rng.choice(("match", "no_match", "unsure")), **named}


def lost(database: Database, ledger: set[str]) -> int:
    """Acknowledged verdicts that the database does not have."""
    with database.reading() as session:
        known = set(session.scalars(select(Verdict.uuid))) | set(session.scalars(select(Control.uuid)))
    return len(ledger - known)
