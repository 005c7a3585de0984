"""Every error that leaves the server is {"error": "one sentence"}."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.errors import NearmissError
from app.redact import redact

log = logging.getLogger(__name__)


def say_errors(app: FastAPI) -> None:
    """Install the handlers."""
    app.add_exception_handler(NearmissError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for away in (OperationalError, TimeoutError):
        app.add_exception_handler(away, _database_away)
    app.add_exception_handler(Exception, _unforeseen)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    return _sentence(str(error), getattr(error, "status", 400))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _sentence(f"{place} is not as it must be: {first['msg']}; correct it and send again", 422)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    said = {404: "there is nothing at this address; check it", 405: "this address takes another method"}
    return _sentence(said.get(error.status_code, str(error.detail)), error.status_code)


async def _database_away(_request: Request, error: Exception) -> JSONResponse:
    return database_away(error)


def database_away(error: Exception) -> JSONResponse:
    """503; what was committed is safe."""
    log.warning("the database does not answer: %s", error)
    return _sentence("the database does not answer; nothing is lost, try again in a moment", 503)


async def _unforeseen(_request: Request, error: Exception) -> JSONResponse:
    log.error("unforeseen", exc_info=error)
    return _sentence("something went wrong on our side; the server's log says what", 500)


def _sentence(sentence: str, status: int) -> JSONResponse:
    return JSONResponse({"error": redact(sentence).encode("utf-8", "replace").decode()}, status)
