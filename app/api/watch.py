"""The outermost layer: a request's id, its duration, its line in the log, and the count of all."""

import logging
import secrets
import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.metrics import Metrics
from app.logs import request_id

log = logging.getLogger("nearmiss.requests")


class Watch:
    """Ids are ours alone: one that a client sends could forge lines of the log."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        token = request_id.set(secrets.token_hex(8))
        began, status = time.perf_counter(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id.get()
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            duration_s = time.perf_counter() - began
            route = route_of(scope)
            self._metrics.saw(route, scope["method"], status, duration_s)
            said = {"method": scope["method"], "route": route, "status": status}
            said |= {"duration_ms": round(1000 * duration_s, 1), "person": _person(scope)}
            log.info("%s %s %s", scope["method"], route, status, extra=said)
            request_id.reset(token)


def route_of(scope: Scope) -> str:
    """The route's pattern: paths would fill the memory of what counts, and may bear an invitation's secret."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else "other"


def _person(scope: Scope) -> str:
    who: Any = scope.get("state", {}).get("who")
    return who.name if who is not None else ""
