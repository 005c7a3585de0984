"""The door: every route, the page's and its files' too, asks here who comes. Inside the gate."""

import re
from http.cookies import CookieError, SimpleCookie

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.actions.accounts import Who, anybody, bearer
from app.store.database import Database

COOKIE = "nearmiss_session"
OPEN = {"/log-in", "/healthz", "/readyz"}
SAFE = {"GET", "HEAD", "OPTIONS"}
# what names or lists a path on the server (imports, previews, uploads, the folder chooser, models), or cannot be undone
ADMIN_ONLY = re.compile(
    r"/api/(data-sets(/\d+/import)?|previews|uploads(/.*)?|folders|models|(images|captions)/\d+/erase)/?"
)


class Door:
    """401 (or the log-in page) for strangers, 403 for what a role may not do; else `request.state.who`."""

    def __init__(self, app: ASGIApp, *, database: Database) -> None:
        self._app = app
        self._database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN:
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        who = await to_thread.run_sync(self._who, headers)
        refusal = _refusal(scope, headers, who)
        if refusal is None:
            scope.setdefault("state", {})["who"] = who
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        await refusal(scope, receive, send)

    def _who(self, headers: Headers) -> Who | None:
        with self._database.reading() as session:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer":
                return bearer(session, secret=token.strip(), kind="token")
            secret = cookie(headers)
            who = bearer(session, secret=secret, kind="session") if secret else None
            if who is None and not anybody(session):
                return Who(self._database.settings.person, "admin")
            return who


def cookie(headers: Headers) -> str:
    """The session's secret from the cookie; empty without one."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _refusal(scope: Scope, headers: Headers, who: Who | None) -> Response | None:
    if who is None:
        if scope["type"] == "http" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/log-in", 303)
        return JSONResponse({"error": "log in first, at /log-in, or send a token"}, 401)
    changes = scope["type"] == "http" and scope["method"] not in SAFE
    if changes and who.role == "viewer" and scope["path"] != "/log-out":
        return JSONResponse({"error": "a viewer cannot change anything; ask an admin for another role"}, 403)
    reads_models = not changes and scope["path"].rstrip("/") in ("/api/models", "/api/data-sets")
    if who.role != "admin" and ADMIN_ONLY.fullmatch(scope["path"]) and not reads_models:
        return JSONResponse({"error": "only an admin imports, adds models and erases; ask one"}, 403)
    return None
