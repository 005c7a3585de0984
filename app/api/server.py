"""The FastAPI application, without the page (see `app.web`)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.actions.accounts import anybody
from app.actions.sweep import EVERY_S, sweep
from app.api import (
    bulk,
    data_sets,
    desk,
    duplicates,
    erasing,
    explore,
    exports,
    guidelines,
    health,
    images,
    items,
    jobs,
    log_in,
    maps,
    metrics,
    pairs,
    people,
    probes,
    run_results,
    runs,
    search,
    sources,
    streams,
    verdict_files,
    verdicts,
)
from app.api.access import ANYBODY, guard
from app.api.audit_lines import leave_a_line
from app.api.door import Door
from app.api.gate import Gate, allowed_hosts, refuse_open_bind
from app.api.metrics import Metrics
from app.api.oidc import add_oidc
from app.api.sentences import say_errors
from app.api.watch import Watch
from app.jobs.reconcile import Reconciler
from app.logs import hide_secrets
from app.settings import Settings
from app.store.database import Database
from app.store.schema import check

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """All routes behind the gate; the reconciler runs while it serves.

    Raises NearmissError for a database that is not migrated or newer, and for an address that others reach.
    """
    database = Database(settings)
    check(database.engine)
    if settings.reached_by_others:
        with database.reading() as session:
            if not anybody(session):
                refuse_open_bind(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reconciler = Reconciler(database)
        reconciler.start()
        sweeping = asyncio.create_task(_sweep(settings))
        yield
        sweeping.cancel()
        reconciler.stop()
        database.close()

    app = FastAPI(
        title="Nearmiss",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        dependencies=[Depends(guard), Depends(leave_a_line)],
    )
    app.state.database = database
    app.state.metrics = Metrics(database)
    hide_secrets(settings)
    parts = (
        data_sets,
        sources,
        exports,
        bulk,
        desk,
        erasing,
        guidelines,
        explore,
        duplicates,
        items,
        maps,
        pairs,
        images,
        verdicts,
        verdict_files,
        jobs,
        streams,
        probes,
        run_results,
        runs,
        search,
        health,
        log_in,
        people,
        metrics,
    )
    for part in parts:
        app.include_router(part.router)

    @app.get("/api/openapi.json", include_in_schema=False, dependencies=[ANYBODY])
    def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    say_errors(app)
    add_oidc(app, settings)
    app.add_middleware(Door, database=database)
    app.add_middleware(Gate, hosts=allowed_hosts(settings))
    app.add_middleware(Watch, metrics=app.state.metrics)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies.split())
    return app


async def _sweep(settings: Settings) -> None:
    """Every hour, as long as the server runs."""
    while True:
        try:
            await run_in_threadpool(sweep, settings)
        except OSError as error:
            log.warning("sweeping failed; it is tried again in an hour: %s", error)
        await asyncio.sleep(EVERY_S)
