"""Server-sent events for API clients: what a run reports, as it reports it. The page polls instead (six connections a host)."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.actions.view_run import EventPage, page_of_events
from app.api.access import MAX_ID, Db, Id
from app.jobs.states import OVER
from app.store.database import Database
from app.store.reads.runs import get_run

router = APIRouter(prefix="/api")
LOOK_EVERY_S = 1.0
KEEP_ALIVE_EVERY = 15  # looks without news
MAX_STREAMS = 500
_open = 0


@router.get("/runs/{run_id}/events/stream", response_class=StreamingResponse)
def stream(run_id: Id, database: Db, after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0) -> StreamingResponse:
    """Events after the id `after`, each `id: N` and `data: {…}`; ends with `event: end` when the run is over."""
    _look(database, run_id, after)  # 404 before the stream begins
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _events(database, run_id, after), media_type="text/event-stream", headers=headers
    )


async def _events(database: Database, run_id: int, after: int) -> AsyncIterator[str]:
    global _open
    if _open >= MAX_STREAMS:
        yield 'event: end\ndata: {"reason": "too many streams are open; poll instead"}\n\n'
        return
    _open += 1
    try:
        quiet = 0
        while True:
            page, over = await run_in_threadpool(_look, database, run_id, after)
            for event in page.events:
                after = event.id
                yield f"id: {event.id}\ndata: {json.dumps(asdict(event), default=str)}\n\n"
            if over and not page.events:
                yield "event: end\ndata: {}\n\n"
                return
            if page.events:
                quiet = 0
                continue
            quiet += 1
            if quiet % KEEP_ALIVE_EVERY == 0:
                yield ": still here\n\n"
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        _open -= 1


def _look(database: Database, run_id: int, after: int) -> tuple[EventPage, bool]:
    with database.reading() as session:
        _, job = get_run(session, run_id)
        over = job.state in OVER
        return page_of_events(session, job, after=after, limit=500), over
