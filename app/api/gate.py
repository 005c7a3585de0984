"""The outer middleware: who may speak to us, how much they may send, and what browsers must refuse.

Gradio reflects any Origin with credentials and has no limit of its own for all routes, so this stands before it.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import NearmissError
from app.settings import Settings

MAX_BODY_BYTES = 2 * 2**20  # uploads come in pieces of 1 MiB
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]@:/?#\\]+)(:\d+)?")  # urlsplit reads [::1].evil as ::1
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Gradio runs inline scripts and builds functions from text; everything comes from this server all the same.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # under no-referrer a form of our own arrives with `Origin: null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def refuse_open_bind(settings: Settings) -> None:
    """Raises NearmissError for an address that other machines reach, where nobody would have to log in."""
    if settings.reached_by_others:
        raise NearmissError(
            f"{(settings.hosts or settings.host)!r} can be reached by other machines and there is no account yet; run"
            " `nearmiss add-person NAME --role admin` first, or bind 127.0.0.1"
        )


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Names that the Host and Origin headers may bear; others would be a page that rebinds its own name to us."""
    named = {name.lower() for name in settings.hosts.split()}
    return frozenset({*LOOPBACK, settings.host.strip("[]").lower(), *named})


class Gate:
    """Host and Origin by allow-list, a header on what changes something, a cap on bodies, headers for browsers."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal is None:
            secure = scope.get("scheme") in ("https", "wss")
            return await self._app(scope, _capped(receive), _with_headers(send, secure=secure))
        status, sentence = refusal
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        await JSONResponse({"error": sentence}, status)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        said = headers.get("host", "")
        host = _name(f"//{said}") if HOST.fullmatch(said) else said
        if host not in self._hosts:
            return (
                421,
                f"this server does not answer for the host {host!r}; open it as http://127.0.0.1,"
                " or name that host in NEARMISS_HOSTS",
            )
        origin = headers.get("origin")
        if origin is not None and _name(origin) not in self._hosts:
            return 403, f"requests from {origin!r} are refused; use Nearmiss's own page"
        # other ports of this host are "same-site": their cookies are ours, their programs are not
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_navigation(headers):
            return 403, "requests from other sites are refused; use Nearmiss's own page"
        if scope["type"] == "websocket" or scope["method"] in SAFE_METHODS:
            return None
        if scope["path"].startswith("/api/") and headers.get("x-nearmiss") is None:
            return 403, "a request that changes something needs the header `X-Nearmiss: 1`; add it"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return (
                413,
                f"the request has {length} bytes; at most {MAX_BODY_BYTES} are taken: send less at a time",
            )
        return None


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _is_navigation(headers: Headers) -> bool:
    """A link from elsewhere may open the page, nothing else."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _capped(receive: Receive) -> Receive:
    """Also a body without a length ends at the cap: the application then sees a client that went away."""
    num_bytes = 0

    async def receive_capped() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        return message if num_bytes <= MAX_BODY_BYTES else {"type": "http.disconnect"}

    return receive_capped


def _with_headers(send: Send, *, secure: bool = False) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if secure:
                headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        await send(message)

    return send_with_headers
