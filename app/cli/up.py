"""`nearmiss up`: everything on this machine, as child processes that die with it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import typer

from app.actions.first_start import say_first_password
from app.actions.import_data_set import import_data_set
from app.broker import start_broker
from app.cli.gpus import visible_gpus
from app.demo import NAME
from app.errors import NearmissError, Unavailable
from app.media.lift import lift_second_level
from app.settings import Settings, get_settings
from app.store.database import Database
from app.store.reads.data_sets import list_data_sets
from app.store.schema import migrate

STOP_S = 8.0  # for what holds no work
SAVES_WITHIN_S = 110.0  # a worker gives its job 100 s to reach the next step and save it
SAY_AFTER_S = 2.0
ANSWER_S = 600.0  # of a web process that lives; on a busy machine it imports for minutes


def run() -> None:
    """Starts, waits until the page answers, prints the address, and stays until Ctrl+C or SIGTERM."""
    settings = get_settings()
    _check_port(settings)
    (settings.home / "logs").mkdir(parents=True, exist_ok=True)
    children = Children(settings.home / "logs")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # what a script starts with & is born with SIGINT ignored, and Python then leaves it so
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _say("database")
        database = Database(settings)
        migrate(database.engine)
        lift_second_level(settings.resolved_media_url)
        say_first_password(settings)
        if not settings.broker_url:
            _say("broker")
            start_broker(settings, children.start)
        _say("web and workers")
        children.start("web", [sys.executable, "-m", "app.web"])
        for name, arguments in _workers(settings):
            children.start(name, [sys.executable, "-m", "app.cli.main", "worker", *arguments])
        _first_import(database, settings)
        _wait(settings, children)
        typer.echo(f"\nNearmiss is at http://{settings.host}:{settings.port}  (Ctrl+C stops it)")
        children.watch()
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one ends the waiting, not this process
            signal.signal(number, lambda *_: children.hurry())
        typer.echo("\nstopping …")
        children.stop()


def _workers(settings: Settings) -> list[tuple[str, list[str]]]:
    """Names and arguments of the workers: one of each queue, and a further gpu worker for every further GPU."""
    gpus = visible_gpus()
    num = settings.gpu_workers or max(1, len(gpus))
    found = [("cpu", ["cpu"]), ("search", ["search"])]
    for i in range(num):
        own = ["--gpus", gpus[i % len(gpus)]] if gpus else []
        found.append((f"gpu-{i + 1}" if num > 1 else "gpu", ["gpu", *own]))
    return found


class Children:
    """The started processes by name, each with its log."""

    def __init__(self, logs: Path):
        self.logs = logs
        self.running: dict[str, tuple[subprocess.Popen[bytes], list[str]]] = {}
        self._in_a_hurry = False

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Starts `command` in its own session; it gets SIGTERM when this process dies."""
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_follow,
            )
        self.running[name] = process, command
        return process

    def watch(self) -> None:
        """Starts again what dies, and says so."""
        while True:
            time.sleep(0.5)
            for name, (process, command) in list(self.running.items()):
                if process.poll() is not None:
                    typer.echo(
                        f"{name} ended with code {process.returncode} and is started again; see {self.logs / name}.log"
                    )
                    time.sleep(1.0)
                    self.start(name, command)

    def stop(self) -> None:
        """Workers and web first, the broker last; a job is waited for until it has saved, then all are killed."""
        broker = [name for name in self.running if name == "broker"]
        self._end([name for name in self.running if name != "broker"])
        self._end(broker)

    def hurry(self) -> None:
        """Waits no longer."""
        self._in_a_hurry = True

    def _end(self, names: list[str]) -> None:
        for name in names:
            self.running[name][0].terminate()
        began, said = time.monotonic(), False
        while alive := [name for name in names if self.running[name][0].poll() is None]:
            waited = time.monotonic() - began
            saving = [name for name in alive if name.startswith(("gpu", "cpu"))]
            if saving and waited > SAY_AFTER_S and not said:
                typer.echo(
                    f"waiting for {' and '.join(saving)}: a job is saved and goes on at the next start; Ctrl+C ends it at once"
                )
                said = True
            late = alive if waited > SAVES_WITHIN_S or self._in_a_hurry else []
            late = late or [name for name in alive if name not in saving and waited > STOP_S]
            for name in late:
                for pid in _below(self.running[name][0].pid):
                    with suppress(ProcessLookupError):  # it has just ended
                        os.kill(pid, signal.SIGKILL)
                self.running[name][0].kill()
                self.running[name][0].wait()
            time.sleep(0.05)


def _below(pid: int) -> list[int]:
    """The processes that `pid` has started, and theirs; none where the system does not tell."""
    try:
        started = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [found for child in map(int, started) for found in (*_below(child), child)]


def _first_import(database: Database, settings: Settings) -> None:
    with database.transaction() as session:
        if settings.demo and not list_data_sets(session):
            _say(f"import of the demo ({NAME}); it goes on while you look around")
            import_data_set(session, name=NAME, source="demo", person=settings.person)


def _wait(settings: Settings, children: Children) -> None:
    give_up = time.monotonic() + ANSWER_S
    while time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(f"http://{settings.host}:{settings.port}/healthz", timeout=1):  # nosec B310  # our own address
                return
        except OSError:
            if children.running["web"][0].poll() is not None:
                break
            time.sleep(0.1)
    raise Unavailable(f"the web process does not answer; look into {children.logs / 'web.log'}")


def _check_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            raise NearmissError(
                f"port {settings.port} is in use; stop what uses it or set NEARMISS_PORT to another"
            ) from None


def _follow() -> None:
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)


def _say(what: str) -> None:
    typer.echo(f"· {what}")


os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
