"""The outermost layer: only this host's names, only this site's mutations, and safe headers on every answer."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 2 * 2**20
LOCAL = ("127.0.0.1", "localhost", "[::1]")
SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
}


class Guard:
    """Refuses foreign hosts and origins, and mutations of our API without the header that a form cannot send."""

    def __init__(self, app: ASGIApp, *, port: int):
        self.app = app
        self.hosts = {f"{name}:{port}" for name in LOCAL} | set(LOCAL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal:
            return await JSONResponse({"error": refusal}, status_code=403)(scope, receive, send)

        async def safe_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, safe_send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        if headers.get("host") not in self.hosts:
            return "this address is not served; open Nearmiss under 127.0.0.1 or localhost"
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://").removeprefix("https://") not in self.hosts:
            return "requests from other sites are refused"
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        if int(headers.get("content-length") or 0) > LARGEST_BODY:
            return f"the request is larger than {LARGEST_BODY // 2**20} MB; send less at once"
        if scope["path"].startswith("/api/") and headers.get("x-nearmiss") is None:
            return "the header X-Nearmiss is missing; send X-Nearmiss: 1"
        return None
