"""The FastAPI application: guard, routes, errors as one sentence each."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware

from app.api import data_sets, desk, runs
from app.api.guard import Guard
from app.errors import NearmissError
from app.jobs.reconcile import Reconciler
from app.settings import Settings
from app.store.database import Database


def create_app(settings: Settings) -> FastAPI:
    """The application on the settings' database; API documentation is off in public."""
    database = Database(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        reconciler = Reconciler(database)
        reconciler.start()
        yield
        threading.Thread(target=reconciler.stop).start()

    server = FastAPI(
        title="Nearmiss",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        middleware=[Middleware(Guard, port=settings.port)],
    )
    server.state.database, server.state.settings = database, settings
    for part in (data_sets, desk, runs):
        server.include_router(part.routes)
    server.add_exception_handler(NearmissError, _sentence)
    server.add_exception_handler(RequestValidationError, _invalid)

    @server.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"state": "up"}

    return server


def _sentence(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NearmissError)
    return JSONResponse({"error": str(error)}, status_code=error.status)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": f"{where} is not as it should be: {first['msg']}"}, status_code=422)
