"""Our head in the page's first bytes: Gradio would add it only when its own start is over, a second later on two cores.

The browser then loads the modules of what the address asks for before Gradio's, all at once instead of import by import.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

IMPORTS = re.compile(r'from "\./([\w-]+\.js)"')


START, END = b'<meta charset="utf-8" />', b"</head>"  # of Gradio's head


@dataclass(frozen=True)
class Head:
    """What the browser should ask for first, and what must come after Gradio's own (styles)."""

    first: str
    last: str


class EarlyHead:
    """Puts `head(query string)` into the HTML answer to "/"; everything else passes as it is."""

    def __init__(self, app: ASGIApp, *, head: Callable[[str], Head]) -> None:
        self._app = app
        self._head = head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] != "/":
            return await self._app(scope, receive, send)
        head = self._head(scope["query_string"].decode("latin-1"))
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
                    first, last = head.first, head.last if START in body else head.first + head.last
                    whole = body.replace(START, START + first.encode(), 1)
                    whole = whole.replace(END, last.encode() + END, 1)
                    rest = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                    start["headers"] = [*rest, (b"content-length", str(len(whole)).encode())]
                    await send(start)
                    await send({"type": "http.response.body", "body": whole})

        await self._app(scope, receive, hold)


def modules(static: Path, *firsts: str) -> list[str]:
    """These modules and all that they import, the nearest first; what is imported only when it is needed is left out."""
    found = list(firsts)
    for name in found:
        text = (static / name).read_text(encoding="utf-8")
        found += [other for other in dict.fromkeys(IMPORTS.findall(text)) if other not in found]
    return found


def _is_plain_html(message: Message) -> bool:
    headers = {name.lower(): value for name, value in message["headers"]}
    return headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers
