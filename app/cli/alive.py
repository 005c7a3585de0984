"""`nearmiss alive`: what a container's health check asks."""

import socket
import urllib.request

from app.jobs.presence import connected
from app.settings import get_settings
from app.store.database import Database


def run(what: str) -> bool:
    """Whether the web process here answers, or a worker of this host for the queue `what` said lately that it is there."""
    settings = get_settings()
    if what == "web":
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{settings.port}/healthz", timeout=5):  # nosec B310  # our own address
                return True
        except OSError:
            return False
    with Database(settings).reading() as session:
        host = socket.gethostname()
        return any(w.queue == what and w.about.get("host") == host for w in connected(session))
