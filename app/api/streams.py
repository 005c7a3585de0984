"""Server-sent events for API clients: what a run reports, as it reports it. The page polls instead (six connections a host)."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import StreamingResponse

from app.actions.rights import Who
from app.actions.view_run import EventPage, page_of_events
from app.api.access import MAX_ID, Caller, Db, Id
from app.api.door import who_comes
from app.errors import Conflict
from app.jobs.states import OVER
from app.store.database import Database
from app.store.reads.owners import owner_of
from app.store.reads.runs import get_run

router = APIRouter(prefix="/api")
LOOK_EVERY_S = 1.0
KEEP_ALIVE_EVERY = 15  # looks without news
ASK_AGAIN_EVERY = 5  # looks, until whoever may no longer see the run is sent away
MAX_STREAMS, MAX_STREAMS_OF_ONE = 500, 100
_open: Counter[str] = Counter()  # by person


@router.get("/runs/{run_id}/events/stream", response_class=StreamingResponse)
def stream(
    run_id: Id,
    request: Request,
    database: Db,
    caller: Caller,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> StreamingResponse:
    """Events after the id `after`, each `id: N` and `data: {…}`; ends with `event: end` when the run is over."""
    _look(database, run_id, after)  # 404 before the stream begins
    too_many = caller.person_id is not None and _open[caller.name] >= MAX_STREAMS_OF_ONE
    if too_many or _open.total() >= MAX_STREAMS:
        raise Conflict("too many event streams are open; close some, or poll the events instead")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _events(database, run_id, after, request.headers, caller),
        media_type="text/event-stream",
        headers=headers,
    )


async def _events(
    database: Database, run_id: int, after: int, headers: Headers, caller: Who
) -> AsyncIterator[str]:
    _open[caller.name] += 1
    try:
        quiet = 0
        for looks in itertools.count(1):
            ask = looks % ASK_AGAIN_EVERY == 0
            if ask and not await run_in_threadpool(_still_sees, database, run_id, headers):
                return  # logged out, or access was taken away
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
        _open[caller.name] -= 1
        if not _open[caller.name]:
            del _open[caller.name]


def _still_sees(database: Database, run_id: int, headers: Headers) -> bool:
    who = who_comes(database, headers)
    with database.reading() as session:
        found, data_set_id = owner_of(session, "run_id", run_id)
    return who is not None and found and who.sees(data_set_id)


def _look(database: Database, run_id: int, after: int) -> tuple[EventPage, bool]:
    with database.reading() as session:
        _, job = get_run(session, run_id)
        over = job.state in OVER
        return page_of_events(session, job, after=after, limit=500), over
