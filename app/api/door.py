"""The door: every route, the page's and its files' too, asks here who comes. Inside the gate."""

import re
import time
from http.cookies import CookieError, SimpleCookie

from anyio import to_thread
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.actions.accounts import anybody
from app.actions.credentials import bearer
from app.actions.rights import Who
from app.api.attempts import Attempts
from app.api.sentences import database_away
from app.store.database import Database

COOKIE = "nearmiss_session"
OPEN = {"/log-in", "/healthz", "/readyz", "/join/{secret}", "/oidc/log-in", "/oidc/back"}
JOIN = re.compile(r"/join/[^/]+")
# a page full of pictures is some hundred requests; an annotator gives a verdict every few seconds
REQUESTS, CHANGES = Attempts(most=5000, window_s=10.0), Attempts(most=500, window_s=10.0)
FILES = re.compile(
    r"/(page|assets|static)/|/theme\.css$|/favicon\.ico$"
)  # the page's own, the same for everybody
FILES_S = 5.0  # a session that has ended may ask for them so long
MOST_LET_IN = 10_000
SAFE = {"GET", "HEAD"}
# whoever comes by a proxy need not sit at this machine
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
OURS = re.compile(r"/(api|page)/|/(log-out|metrics)$")
# All of Gradio that the page asks for; its uploads, queue, file and proxy routes are closed to everybody.
GRADIO = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|pwa_icon(/\w+)?|robots\.txt)/?|/(assets|static|svelte)/.*"
    r"|/gradio_api/(heartbeat/\w+|startup-events|app_id)"
)


class Door:
    """401 (or the log-in page) for strangers, 404 for what the page never asks of Gradio; else `request.state.who`.

    What a person may do behind it, `app.api.access.guard` says.
    """

    def __init__(self, app: ASGIApp, *, database: Database) -> None:
        self._app = app
        self._database = database
        self._let_in: dict[str, float] = {}  # secret → until when it need not be looked up for files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan" or _is_open(scope["path"]):
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if self._let_in_lately(scope, headers):
            return await self._app(scope, receive, send)
        try:
            who = await to_thread.run_sync(who_comes, self._database, headers)
        except (OperationalError, TimeoutError) as error:
            return await database_away(error)(scope, receive, send)
        refusal = _refusal(scope, headers, who)
        if refusal is None:
            scope.setdefault("state", {})["who"] = who
            self._remember(headers)
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        await refusal(scope, receive, send)

    def _let_in_lately(self, scope: Scope, headers: Headers) -> bool:
        """Whether the same secret was let in a moment ago; asked for the page's files only, which hold no data.

        A page asks for a hundred of them at once, and the look-up was half of the time of each.
        """
        if scope["type"] != "http" or scope["method"] != "GET" or not FILES.match(scope["path"]):
            return False
        return time.monotonic() < self._let_in.get(_secrets(headers), 0.0)

    def _remember(self, headers: Headers) -> None:
        if len(self._let_in) > MOST_LET_IN:
            self._let_in.clear()
        self._let_in[_secrets(headers)] = time.monotonic() + FILES_S


def who_comes(database: Database, headers: Headers) -> Who | None:
    """The person behind a token or a session; without accounts the single local user, but not through a proxy."""
    with database.reading() as session:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return bearer(session, secret=token.strip(), kind="token")
        secret = cookie(headers)
        who = bearer(session, secret=secret, kind="session") if secret else None
        if who is None and not any(name in headers for name in FORWARDED) and not anybody(session):
            return Who(database.settings.person, "admin")
        return who


def _in_time(scope: Scope, who: Who) -> bool:
    """Whether this person's program is not running wild; the single local user's may."""
    if who.person_id is None:
        return True
    changes = scope["method"] not in SAFE and not scope["path"].startswith("/api/uploads/")
    return (CHANGES if changes else REQUESTS).allow(str(who.person_id))


def _is_open(path: str) -> bool:
    return path in OPEN or JOIN.fullmatch(path) is not None


def _secrets(headers: Headers) -> str:
    return f"{headers.get('authorization', '')}\n{headers.get('cookie', '')}"


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
    if scope["type"] == "http" and scope["path"].startswith("/api/") and not _in_time(scope, who):
        return JSONResponse({"error": "too many requests at once; wait some seconds and try again"}, 429)
    if scope["type"] == "http" and OURS.match(scope["path"]):
        return None
    if scope["type"] != "http" or scope["method"] not in SAFE or not GRADIO.fullmatch(scope["path"]):
        return JSONResponse({"error": "there is nothing at this address; use the page or the API"}, 404)
    return None
