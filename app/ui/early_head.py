"""Our head in the page's first bytes: Gradio would add it only when its own start is over, a second later on two cores.

The browser then loads our modules beside Gradio's, all at once instead of import by import.
"""

import re
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

IMPORTS = re.compile(r'from "\./([\w-]+\.js)"')


class EarlyHead:
    """Puts `head` before `</head>` of the HTML answer to "/"; everything else passes as it is."""

    def __init__(self, app: ASGIApp, *, head: str) -> None:
        self._app = app
        self._head = head.encode() + b"</head>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] != "/":
            return await self._app(scope, receive, send)
        start: Message | None = None
        body = b""

        async def hold(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_plain_html(message):
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    whole = body.replace(b"</head>", self._head, 1)
                    rest = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                    start["headers"] = [*rest, (b"content-length", str(len(whole)).encode())]
                    await send(start)
                    await send({"type": "http.response.body", "body": whole})

        await self._app(scope, receive, hold)


def preloads(static: Path, first: str = "app.js") -> str:
    """A <link rel="modulepreload"> for a module and all that it imports, the nearest first."""
    found = [first]
    for name in found:
        text = (static / name).read_text(encoding="utf-8")
        found += [other for other in dict.fromkeys(IMPORTS.findall(text)) if other not in found]
    return "\n".join(f'<link rel="modulepreload" href="/page/{name}">' for name in found) + "\n"


def _is_plain_html(message: Message) -> bool:
    headers = {name.lower(): value for name, value in message["headers"]}
    return headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers
