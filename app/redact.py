"""Keeps secrets out of logs, answers, reasons and events: passwords in URLs, keys in queries, and what was hidden."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "***"
IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/@:?#]*):[^\s/@]+@", re.IGNORECASE)
IN_QUERY = re.compile(
    r"([?&](?:[\w-]*(?:token|key|secret|password|signature|credential)[\w-]*)=)[^&\s'\"]+", re.IGNORECASE
)
BEARER = re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
LEAST = 6  # characters of a secret that is looked for as it stands; shorter ones would maim ordinary words

_known: set[str] = set()


def hide(secrets: Iterable[str]) -> None:
    """From now on these texts are hidden wherever they appear, also percent-encoded."""
    _known.update(s for secret in secrets for s in (secret, unquote(secret)) if len(s) >= LEAST)


def hide_passwords_of(urls: Iterable[str]) -> None:
    """The passwords inside these URLs, so that a driver's message may not say them either."""
    found = [re.search(r"://[^/@:?#]*:([^@/]+)@", url) for url in urls]
    hide(match.group(1) for match in found if match)


def redact(text: str) -> str:
    """`text` without secrets."""
    for secret in _known:
        text = text.replace(secret, HIDDEN)
    text = IN_URL.sub(rf"\1:{HIDDEN}@", text)
    return BEARER.sub(rf"\1{HIDDEN}", IN_QUERY.sub(rf"\1{HIDDEN}", text))
